"""TCP connections from anybody, within bounds: so many at a time, so long each.

Promises: a connection is over ``DEADLINE`` after it was accepted, whatever its client does; when ``MOST`` are open the
oldest one of the host that has most is dropped for the new one, so that neither idle connections nor a flood from a
few hosts can keep a health check out; nothing a client does ends the listener. The address may be one that this host
does not have yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TypeAlias

from haagent.config.model import Listen
from haagent.control.crowd import Crowd, host_of

LOG = logging.getLogger("haagent.control")
Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DEADLINE = 5.0  # seconds for one connection in all
MOST = 64
_BUFFER = 16_384
_BACKLOG = 128
_FREEBIND = {4: (socket.IPPROTO_IP, 15), 6: (socket.IPPROTO_IPV6, 78)}


class Listener:
    """Serves every connection to ``listen`` by ``serve``, which may leave closing to the listener."""

    def __init__(self, listen: Listen, serve: Serve, *, deadline: float = DEADLINE, most: int = MOST) -> None:
        self.listen, self._serve, self._deadline = listen, serve, deadline
        self._crowd: Crowd[asyncio.Task[None]] = Crowd(most)
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, bound: socket.socket | None = None) -> None:
        """Listen, on a socket that somebody else has ``bound`` if it is given. Raises OSError."""
        self._server = await asyncio.start_server(
            self._accept, sock=bound or listening(self.listen), limit=_BUFFER, backlog=_BACKLOG
        )

    async def retire(self, patience: float) -> None:
        """Take no more connections, and close when those that are open have ended, or after ``patience`` seconds."""
        if self._server is not None:
            self._server.close()
        if self._open:
            await asyncio.wait(self._open, timeout=patience)
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening and drop every connection. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        leaving = self._crowd.enter(task, host_of(writer))
        if leaving is not None:
            leaving.cancel()
        try:
            async with asyncio.timeout(self._deadline):
                await self._serve(reader, writer)
                await _linger(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client left or is slow, or we stop; streams log a cancelled handler as a defect
        except Exception:
            LOG.exception("a connection to %s failed", self.listen)
        finally:
            self._crowd.leave(task)
            self._open.discard(task)
            writer.transport.abort()


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the client read to the end before the connection is dropped: unread input would make it a reset."""
    await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
    while await reader.read(_BUFFER):
        pass


def listening(listen: Listen) -> socket.socket:
    """Return a socket that listens. Raises OSError."""
    version = ip_address(listen.host).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(*_FREEBIND[version], 1)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((listen.host, listen.port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made
