"""The stream of changes of one domain: hints by LISTEN and NOTIFY, on a connection of its own.

Promises to begin with everything the domain holds, to ask a silent server whether it is still there, and to end,
Unavailable, when the connection is lost: the caller asks again, and so sees what it missed. A notification
carries a name and no value, so anybody who may notify can at most make us read. Rows that are changed by hand
notify nobody: reading finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeAlias, TypeVar

from arbiters.postgresql.failures import explain
from arbiters.postgresql.link import Servers, attended
from arbiters.postgresql.server import Server
from arbiters.postgresql.statements import CHANNEL, Statements
from haagent.arbiter import Record, Unavailable

Change: TypeAlias = tuple[str, Record | None]
Answer = TypeVar("Answer")

PING_AFTER = 1.0  # seconds of silence until a ping
PING_TIMEOUT = 0.5  # seconds for each of a watch's own questions


class Watch:
    """The changes of every register of the domain, until ``closed``; one iteration each."""

    def __init__(self, servers: Servers, statements: Statements, closed: asyncio.Event) -> None:
        self._servers, self._statements, self._closed = servers, statements, closed
        self._domain = servers.settings.domain
        self._events: asyncio.Queue[str | None] = asyncio.Queue()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield registers and their changes. Raises Unavailable when the connection is lost."""
        closing = asyncio.create_task(self._close(), name="postgresql-watch-end")
        server: Server | None = None
        try:
            server = await self._unless_closed(self._servers.connect())
            server.connection.add_termination_listener(self._on_end)
            await self._in_time(server, server.connection.add_listener(CHANNEL, self._on_notification))
            rows = await self._in_time(server, server.connection.fetch(self._statements.list, self._domain))
            for row in rows:
                yield row["name"], server.record(row)
            while True:
                name = await self._next(server)
                row = await self._in_time(
                    server, server.connection.fetchrow(self._statements.read, self._domain, name)
                )
                yield name, None if row is None else server.record(row)
        finally:
            closing.cancel()
            if server is not None:
                server.connection.terminate()

    async def _next(self, server: Server) -> str:
        """Return the name of the next register that changed; ping while there is none."""
        while True:
            try:
                async with asyncio.timeout(PING_AFTER):
                    name = await self._events.get()
            except TimeoutError:
                await self._in_time(server, server.connection.fetchval("SELECT 1"))
                continue
            if name is None:
                raise Unavailable(f"{server.target}: the connection of the watch ended")
            return name

    async def _unless_closed(self, connecting: Awaitable[Server]) -> Server:
        """Return the connection, unless the arbiter is closed first."""
        task = asyncio.ensure_future(connecting)
        closed = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait((task, closed), return_when=asyncio.FIRST_COMPLETED)
            if not self._closed.is_set():
                return task.result()
            raise Unavailable("this arbiter is closed")
        except BaseException:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled() and task.exception() is None:
                task.result().connection.terminate()
            raise
        finally:
            closed.cancel()
            await asyncio.wait((closed,))

    @staticmethod
    async def _in_time(server: Server, asking: Awaitable[Answer]) -> Answer:
        """Return the answer to a question of the watch's own. Raises ArbiterError; the connection ends with us."""
        task = attended(asking)
        done, _ = await asyncio.wait((task,), timeout=PING_TIMEOUT)
        if not done:
            server.connection.terminate()
            await asyncio.wait((task,))
            raise Unavailable(f"{server.target}: the watch hears nothing")
        try:
            return task.result()
        except Exception as error:
            raise explain(error, server.target) from error

    async def _close(self) -> None:
        await self._closed.wait()
        self._events.put_nowait(None)

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        domain, slash, name = payload.partition("/")
        if domain == self._domain and slash and self._events.qsize() < 10_000:
            self._events.put_nowait(name)

    def _on_end(self, _connection: Any) -> None:
        self._events.put_nowait(None)
