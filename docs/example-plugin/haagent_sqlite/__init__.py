"""One SQLite file as an arbiter for agents that share a host.

Promises what ``haagent.arbiter`` asks for: a swap is one transaction that is on the disk when it is answered. Gives no
hints: the agents read at every renewal.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from haagent.arbiter import Arbiter, ArbiterOptions, Conflict, Misconfigured, Record, Unavailable

Answer = TypeVar("Answer")
SCHEMA = """
create table if not exists registers (
    domain text not null, name text not null, value blob not null, version integer not null,
    primary key (domain, name)
)
"""


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return the arbiter; the entry point. Misconfigured tells the operator what to change, and ends the attempts."""
    if options.endpoints or set(options.settings) != {"path"}:
        raise Misconfigured("arbiter sqlite: accepted are domain and path, the absolute path of a local file")
    return SqliteArbiter(options.settings["path"], options.domain)


class SqliteArbiter:
    """The registers of one domain. SQLite blocks, so a thread does the work and the event loop only waits."""

    def __init__(self, path: str, domain: str) -> None:
        self._path, self._domain = path, domain
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="haagent-sqlite")
        self._base: sqlite3.Connection | None = None
        self._closed = False

    async def read(self, name: str, *, timeout: float) -> Record | None:
        return await self._run(timeout, lambda base: self._held(base, name))

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        return await self._run(timeout, lambda base: self._swap(base, name, value, expected))

    async def changes(self) -> AsyncGenerator[tuple[str, Record | None], None]:
        return
        yield  # makes this an iterator; there is nothing SQLite would tell us

    async def erase(self) -> None:
        """Optional: lets `haagent arbiter check` clean up behind itself."""
        await self._run(5.0, lambda base: base.execute("delete from registers where domain = ?", (self._domain,)))

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._thread.submit(self._close)
            self._thread.shutdown(wait=False)  # a disk that hangs must not hang us

    async def _run(self, timeout: float, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do ``work`` in one transaction in the thread. Whatever is not certain is Unavailable."""
        if self._closed:
            raise Unavailable("this arbiter is closed")
        until = time.monotonic() + timeout
        working = asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work, until)
        try:
            return await asyncio.wait_for(working, timeout)
        except TimeoutError:  # the thread may still succeed, later: nothing is known
            raise Unavailable(f"{self._path}: no answer within {timeout:.3f} s") from None
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from error

    def _transaction(self, work: Callable[[sqlite3.Connection], Answer], until: float) -> Answer:
        base = self._base or self._open()
        base.execute(f"pragma busy_timeout = {max(1, int(1000 * (until - time.monotonic())))}")
        base.execute("begin immediate")
        try:
            answer = work(base)
            base.execute("commit")
            return answer
        finally:
            if base.in_transaction:
                base.execute("rollback")

    def _open(self) -> sqlite3.Connection:
        self._base = sqlite3.connect(self._path, isolation_level=None)
        self._base.execute("pragma synchronous = full")
        self._base.execute(SCHEMA)
        return self._base

    def _close(self) -> None:
        if self._base is not None:
            self._base.close()

    def _held(self, base: sqlite3.Connection, name: str) -> Record | None:
        row = base.execute(
            "select value, version from registers where domain = ? and name = ?", (self._domain, name)
        ).fetchone()
        return None if row is None else Record(row[0], str(row[1]))

    def _swap(self, base: sqlite3.Connection, name: str, value: bytes, expected: Record | None) -> str:
        held = self._held(base, name)
        if held is not None and held.value == value:
            return held.version  # our own, by an earlier attempt
        if held != expected:  # value and version: versions repeat when a file is restored
            raise Conflict(f"{name} holds {'nothing' if held is None else f'version {held.version}'}")
        version = 1 if held is None else int(held.version) + 1
        base.execute(
            "insert or replace into registers values (?, ?, ?, ?)", (self._domain, name, value, version)
        )
        return str(version)
