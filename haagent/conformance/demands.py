"""What checks of an arbiter are made of: demands, writes that must succeed, reads that may be stale, a silent server.

Raises ``BrokenContract`` for what must not be, or ``NotTried`` where something cannot be shown.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeAlias

from haagent.arbiter import Arbiter, ArbiterError, Conflict, Record, Unavailable
from haagent.conformance.workload import unique

TIMEOUT = 5.0  # seconds for calls that must succeed, also on a busy machine
SHORT = 0.2  # seconds for calls that must not
LATENESS = 0.15  # seconds by which a call may overrun its timeout
HINT = 2.0  # seconds in which a change should be seen

Changes: TypeAlias = "asyncio.Queue[tuple[str, Record | None]]"


class BrokenContract(AssertionError):  # noqa: N818 - what happened
    """The arbiter did what the contract forbids, or not what it demands."""


class NotTried(Exception):  # noqa: N818 - as above
    """This bench cannot show the behaviour, and why."""


def ensure(condition: bool, text: str) -> None:
    """Raise BrokenContract, saying ``text``, unless ``condition``."""
    if not condition:
        raise BrokenContract(text)


async def raises(kind: type[ArbiterError], call: Awaitable[object]) -> None:
    """Await ``call``, which must raise ``kind``; what else it raises is passed on."""
    try:
        answer = await call
    except kind:
        return
    raise BrokenContract(f"answered {answer!r} where {kind.__name__} is due")


async def write(arbiter: Arbiter, name: str, expected: Record | None) -> Record:
    """Swap a new value in, which must succeed, and return the record."""
    value = unique()
    return Record(value, await arbiter.swap(name, value, expected, timeout=TIMEOUT))


async def shows(arbiter: Arbiter, name: str, record: Record) -> None:
    """Wait until the register shows ``record``, at most HINT: reads may be stale. Raises BrokenContract."""
    found = await eventually(arbiter, name, record.version)
    ensure(found == record, f"{name} shows {found} where {record} was written")


async def eventually(arbiter: Arbiter, name: str, version: str) -> Record | None:
    """Return what the register holds once it shows ``version``, or after HINT: reads may be stale."""
    until = time.monotonic() + HINT
    while True:
        record = await arbiter.read(name, timeout=TIMEOUT)
        if (record is not None and record.version == version) or time.monotonic() > until:
            return record
        await asyncio.sleep(0.01)


async def increment(arbiter: Arbiter, name: str, times: int) -> int:
    """Add one ``times`` times, reading again after each conflict; return the number of successes."""
    successes = 0
    until = time.monotonic() + 20
    while successes < times and time.monotonic() < until:
        record = await arbiter.read(name, timeout=TIMEOUT)
        if record is None:  # a stale read: it was written on another connection
            await asyncio.sleep(0.01)
            continue
        value = unique(count=json.loads(record.value)["count"] + 1)
        try:
            await arbiter.swap(name, value, record, timeout=TIMEOUT)
        except Conflict:
            continue
        successes += 1
    return successes


async def highest_count(arbiter: Arbiter, name: str, wanted: int) -> int:
    """Return the counter, giving stale reads HINT seconds to reach ``wanted``."""
    until = time.monotonic() + HINT
    while True:
        record = await arbiter.read(name, timeout=TIMEOUT)
        reached = int(json.loads(record.value)["count"]) if record is not None else -1
        if reached >= wanted or time.monotonic() > until:
            return reached
        await asyncio.sleep(0.01)


async def collect(arbiter: Arbiter, seen: Changes) -> None:
    """Put every change into ``seen`` until the stream ends."""
    try:
        async for change in arbiter.changes():
            seen.put_nowait(change)
    except ArbiterError:
        return


async def hint(seen: Changes, name: str, record: Record) -> None:
    """Wait until ``record`` is among the changes seen. Raises BrokenContract after HINT seconds."""
    try:
        async with asyncio.timeout(HINT):
            while await seen.get() != (name, record):
                pass
    except TimeoutError:
        raise BrokenContract(f"no hint of {name} at version {record.version} within {HINT} s") from None


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Run a server that accepts connections and never says a word; yields its host:port."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


async def takes_its_timeout(call: Awaitable[object]) -> None:
    """Await ``call``, which was given SHORT seconds and must be Unavailable by then."""
    begun = time.monotonic()
    await raises(Unavailable, call)
    took = time.monotonic() - begun
    ensure(took < SHORT + LATENESS, f"a call with {SHORT} s took {took:.3f} s")
