"""TCP connections from anybody, within bounds: so many at a time, so long each.

Promises: a connection is over ``DEADLINE`` after it was accepted, whatever its client does; when ``MOST`` are open the
oldest is dropped for the new one, so that idle ones cannot keep a health check out; nothing a client does ends the
listener. The address may be one that this host does not have yet.
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
        self.listen, self._serve, self._deadline, self._most = listen, serve, deadline, most
        self._open: dict[asyncio.Task[None], None] = {}  # in order of arrival
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(
            self._accept, sock=_bound(self.listen), limit=_BUFFER, backlog=_BACKLOG
        )

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
        if len(self._open) >= self._most:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        self._open[task] = None
        try:
            async with asyncio.timeout(self._deadline):
                await self._serve(reader, writer)
                await _linger(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client left or is slow, or we stop; streams log a cancelled handler as a defect
        except Exception:
            LOG.exception("a connection to %s failed", self.listen)
        finally:
            self._open.pop(task, None)
            writer.transport.abort()


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the client read to the end before the connection is dropped: unread input would make it a reset."""
    await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
    while await reader.read(_BUFFER):
        pass


def _bound(listen: Listen) -> socket.socket:
    version = ip_address(listen.host).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(*_FREEBIND[version], 1)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((listen.host, listen.port))
    except OSError:
        made.close()
        raise
    return made
