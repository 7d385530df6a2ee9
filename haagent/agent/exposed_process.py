"""Starts the process that strangers talk to (``agent.exposed``), and answers its questions.

Promises that it gets nothing but listening sockets, the socket it asks through, and an environment without secrets;
and that whatever it says but a question ends it. May not know what is answered: ``view`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from haagent.config.model import Listen
from haagent.control.view import View

QUESTION = b"?"
LONGEST_ANSWER = 16 << 20  # bytes
_FOR_PYTHON = ("PATH", "LANG", "LC_ALL", "TZ", "JOURNAL_STREAM")


@dataclass(frozen=True, slots=True)
class PublicEndpoint:
    """An address, and what is spoken there: HAProxy's agent-check, or HTTP."""

    listen: Listen
    check: bool

    @property
    def address(self) -> tuple[str, int]:
        return self.listen.host, self.listen.port


class ExposedProcess:
    """One such process. ``start``, then ``serve`` until it has ended."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer

    @classmethod
    async def start(
        cls, sockets: Mapping[PublicEndpoint, socket.socket], *, level: str, form: str
    ) -> ExposedProcess:
        """Start it to serve ``sockets``, which listen. ``level`` and ``form`` are the log's. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            listeners = [
                {"host": at.listen.host, "port": at.listen.port, "subject": at.listen.subject, "check": at.check,
                 "fd": one.fileno()}
                for at, one in sockets.items()
            ]  # fmt: skip
            settings = {
                "front": theirs.fileno(), "parent": os.getpid(), "level": level, "form": form, "listeners": listeners,
            }  # fmt: skip
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "haagent.agent.exposed", json.dumps(settings),
                pass_fds=(theirs.fileno(), *(one.fileno() for one in sockets.values())),
                env=_environment(), stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        return cls(process, *await asyncio.open_connection(sock=ours))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def serve(self, view: Callable[[], Awaitable[View]]) -> None:
        """Answer its questions until it ends, or says something else."""
        try:
            while await self._reader.read(1) == QUESTION:
                self._writer.write(json.dumps((await view()).to_json()).encode() + b"\n")
                await self._writer.drain()
        except OSError:
            pass  # it ended before it had read the answer
        finally:
            self._writer.close()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def retire(self) -> None:
        """Let it answer what it has begun with, and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()


def _environment() -> dict[str, str]:
    """Return what Python and the log need of ours; a password may be in the rest."""
    return {
        name: text for name, text in os.environ.items() if name in _FOR_PYTHON or name.startswith("PYTHON")
    }
