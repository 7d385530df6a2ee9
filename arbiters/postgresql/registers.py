"""A PostgreSQL server as an ``Arbiter``: registers are rows of the table ``haagent.registers``.

Promises that a swap is one statement that compares number *and* value and is acknowledged when the write is on
disk, and on the synchronous standbys' disks where there are any. The row's lock makes swaps of one register wait
for each other's commit, and a statement that waited compares again; so a success is linearizable on one server.
What it is across a failover is said in ``server`` and on the arbiters' page.

Two links carry the calls, so that one statement that hangs costs its own call only. Every value is readable with
``SELECT * FROM haagent.registers``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from arbiters.failures import NotSent
from arbiters.options import as_text
from arbiters.postgresql.link import Link, Operation, Servers
from arbiters.postgresql.server import Server
from arbiters.postgresql.settings import KIND, Settings
from arbiters.postgresql.statements import Statements
from arbiters.postgresql.watch import Change, Watch
from haagent.arbiter import ArbiterError, Conflict, Misconfigured, Record, Unavailable

Answer = TypeVar("Answer")

LINKS = 2
ERASING = 4.0  # seconds


class PostgresqlArbiter:
    """The registers of one domain. Made inside a running event loop; connects in the background."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._statements = settings, Statements(settings.schema)
        self._servers = Servers(settings)
        self._waiting: list[asyncio.Future[None]] = []
        self._links = tuple(Link(self._servers, self._wake, self._distrust) for _ in range(LINKS))
        self._closed = asyncio.Event()

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds. Raises ArbiterError within ``timeout`` seconds."""

        async def look(server: Server) -> Record | None:
            return await self._held(server, name)

        return await self._ask(look, timeout)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new version. Raises as ``Arbiter.swap`` says."""
        text = as_text(KIND, value)

        async def swap_at(server: Server) -> str:
            number = await self._write(server, name, text, expected)
            if number is not None:
                return server.version(number)
            held = await self._held(server, name)
            if held is not None and held.value == value:
                return held.version
            found = "nothing" if held is None else f"version {held.version}"
            raise Conflict(f"{name} holds {found}")

        return await self._ask(swap_at, timeout)

    def changes(self) -> AsyncIterator[Change]:
        """Yield every register the domain holds, then each change; see ``watch``."""
        return Watch(self._servers, self._statements, self._closed).changes()

    async def erase(self) -> None:
        """Remove every register of the domain; needs the privilege DELETE, which nothing else does."""

        async def remove(server: Server) -> None:
            await server.connection.execute(self._statements.erase, self._settings.domain)

        await self._ask(remove, ERASING)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        self._closed.set()
        self._wake()
        await asyncio.gather(*(link.aclose() for link in self._links))

    async def _write(self, server: Server, name: str, text: str, expected: Record | None) -> int | None:
        """Send the compare-and-swap; return the row's new number, None if the register held something else."""
        where = (self._settings.domain, name)
        if expected is None:
            return _number(await server.connection.fetchval(self._statements.insert, *where, text))
        identity, _, number = expected.version.rpartition(".")
        if identity != server.identity:  # seen on another history: nothing here is that record
            return None
        arguments = (*where, text, int(number), as_text(KIND, expected.value))
        return _number(await server.connection.fetchval(self._statements.update, *arguments))

    async def _held(self, server: Server, name: str) -> Record | None:
        row = await server.connection.fetchrow(self._statements.read, self._settings.domain, name)
        return None if row is None else server.record(row)

    # -- which link

    async def _ask(self, operation: Operation[Answer], timeout: float) -> Answer:
        """Run ``operation`` on the first link that is free in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        link = await self._free_link(deadline)
        return await link.run(operation, max(0.001, deadline - loop.time()))

    async def _free_link(self, deadline: float) -> Link:
        """Return a free link. Raises NotSent at ``deadline``, or what is wrong with every server at once."""
        while True:
            if self._closed.is_set():
                raise Unavailable("this arbiter is closed")
            for link in self._links:
                if link.free:
                    return link
            complaints = [link.complaint for link in self._links]
            if all(isinstance(complaint, Misconfigured) for complaint in complaints):
                raise Misconfigured(str(complaints[0]))
            try:
                async with asyncio.timeout_at(deadline):
                    await self._turn()
            except TimeoutError:
                raise NotSent(self._excuse(complaints)) from None

    async def _turn(self) -> None:
        """Wait until a link may be free for us."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self._wake()  # our turn, if it just came, is the next one's
            raise
        finally:
            self._waiting.remove(waiter)

    def _excuse(self, complaints: Sequence[ArbiterError | None]) -> str:
        said = [str(complaint) for complaint in complaints if complaint is not None]
        targets = ",".join(self._settings.targets)
        return said[0] if said else f"postgresql {targets}: not connected, or busy with earlier calls"

    def _distrust(self, since: float) -> None:
        for link in self._links:
            link.distrust(since)

    def _wake(self) -> None:
        """Let the first who waits take the link that is free; let all look again when there is none."""
        waiting = [waiter for waiter in self._waiting if not waiter.done()]
        some_free = any(link.free for link in self._links)
        for waiter in waiting[:1] if some_free else waiting:
            waiter.set_result(None)


def _number(found: object) -> int | None:
    return None if found is None else int(str(found))
