"""Talks to the process of one voting file (``block_io``): one request at a time, each waited for however long it takes.

Promises never to block the event loop, and that ``abandon`` leaves nothing of ours waiting for a stuck process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from arbiters.shared_file import block_io
from arbiters.shared_file.block_io import ANSWER, DIRECT, INODE, pack_exchange, pack_open
from haagent.arbiter import ENDS_BY_ITSELF

_ABANDONED: list[subprocess.Popen[bytes]] = []  # reaped when the next one is started
_LARGEST = 4 << 20


class Channel:
    """One helper process and the socket to it. Errors of the file come as OSError.

    ``ended``: the process has, although nobody asked it to; ``unfinished``: in the middle of a write, which on a network
    file system may still arrive at the server.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self.direct = self.ended = self.unfinished = False

    @staticmethod
    async def start() -> Channel:
        """Start the process. Raises OSError."""
        _ABANDONED[:] = [process for process in _ABANDONED if process.poll() is None]
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # vfork and exec, a millisecond
                [sys.executable, "-I", "-S", str(Path(block_io.__file__)), str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, ENDS_BY_ITSELF: "1"},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LARGEST)
        return Channel(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def open(self, path: str, lock: str) -> int:
        """Open the file anew; return its inode, 0 for a block device. Raises OSError."""
        return int(INODE.unpack(await self._ask(pack_open(path, lock)))[0])

    async def exchange(self, at: int, data: bytes, ranges: Sequence[tuple[int, int]]) -> bytes:
        """Write ``data`` if there is any, then read ``ranges`` and return them in one piece. Raises OSError."""
        return await self._ask(pack_exchange(at, data, ranges), writes=bool(data))

    async def _ask(self, request: bytes, *, writes: bool = False) -> bytes:
        if self._process.poll() is not None:
            raise self._end(unfinished=False)
        self._writer.write(request)
        try:
            code, flags, length = ANSWER.unpack(await self._reader.readexactly(ANSWER.size))
            found = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise self._end(unfinished=writes) from None
        if code:
            raise OSError(code, found.decode())
        self.direct = bool(flags & DIRECT)
        return found

    def _end(self, *, unfinished: bool) -> OSError:
        self.ended, self.unfinished = True, unfinished
        return OSError(os.EX_SOFTWARE, "the process that reads and writes it has ended")

    def abandon(self) -> None:
        """Let the process end as soon as it can. Never waits, and never kills: a write must not outlive its lock."""
        self._writer.transport.abort()
        if self._process.poll() is None:
            _ABANDONED.append(self._process)

    async def aclose(self, patience: float) -> None:
        """Let the process end, and wait ``patience`` seconds for it."""
        self.abandon()
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while self._process.poll() is None and loop.time() < until:
            await asyncio.sleep(0.002)
