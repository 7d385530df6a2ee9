"""The suite every arbiter must pass.

A plugin's test file is six lines::

    from haagent.testing.contract import ArbiterContract
    from mypackage import open_arbiter

    class TestMyStore(ArbiterContract):
        async def open(self, node):
            return await open_arbiter(self.options(node, endpoints=("127.0.0.1:7000",)))

Needs pytest and pytest-asyncio. Each test works in a domain of its own, so a store may be shared by all of them.
Define ``open_at`` as well, and the suite tries the arbiter on an endpoint that accepts connections and stays silent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import uuid4

import pytest

from haagent.arbiter import Arbiter, ArbiterError, ArbiterOptions, Conflict, Record, Unavailable

TIMEOUT = 5.0  # seconds for calls that must succeed, also on a busy machine
SHORT = 0.2  # seconds for calls that must not
LATENESS = 0.05  # seconds by which a call may overrun its timeout
HINT = 2.0  # seconds in which a change should be seen

_serial = count()


def unique(**content: object) -> bytes:
    """Return a value as haagent writes them: small JSON, different every time."""
    return json.dumps({"serial": next(_serial), "nonce": uuid4().hex, **content}).encode()


@pytest.mark.asyncio
class ArbiterContract:
    """Subclass as ``Test...`` and define ``open``; ``domain`` is fresh in every test."""

    domain: str
    gives_changes = True  # set to False for a store whose ``changes`` yields nothing

    async def open(self, node: str) -> Arbiter:
        """Return a new arbiter of ``self.domain`` for ``node``. The suite closes it."""
        raise NotImplementedError("define open(self, node)")

    async def open_at(self, endpoint: str) -> Arbiter:
        """Return a new arbiter that knows only ``endpoint`` (host:port)."""
        pytest.skip("this arbiter has no network endpoint to try")

    def options(self, node: str, endpoints: tuple[str, ...], **settings: str) -> ArbiterOptions:
        """Return the options haagent would open this test's arbiter with."""
        return ArbiterOptions(endpoints, self.domain, node, ttl_hint=2.0, settings=settings)

    @pytest.fixture(autouse=True)
    def _fresh_domain(self) -> None:
        self.domain = f"contract-{uuid4().hex[:12]}"

    @asynccontextmanager
    async def opened(self, *nodes: str) -> AsyncIterator[list[Arbiter]]:
        """Open one arbiter per node, and close them all."""
        arbiters = [await self.open(node) for node in nodes]
        try:
            yield arbiters
        finally:
            for arbiter in arbiters:
                await arbiter.aclose()

    async def test_is_an_arbiter(self) -> None:
        async with self.opened("a") as (arbiter,):
            assert isinstance(arbiter, Arbiter), f"{type(arbiter).__name__} lacks a method of Arbiter"

    async def test_absent_register_reads_as_none(self) -> None:
        async with self.opened("a") as (arbiter,):
            assert await arbiter.read("claims/nothing", timeout=TIMEOUT) is None

    async def test_created_register_is_read_back_by_another_node(self) -> None:
        async with self.opened("a", "b") as (a, b):
            value = unique(holder="a")
            version = await a.swap("claims/web", value, None, timeout=TIMEOUT)
            assert version, "a version is never empty"
            assert await eventually(b, "claims/web", version) == Record(value, version)

    async def test_creating_twice_is_a_conflict(self) -> None:
        async with self.opened("a", "b") as (a, b):
            await a.swap("claims/web", unique(), None, timeout=TIMEOUT)
            with pytest.raises(Conflict):
                await b.swap("claims/web", unique(), None, timeout=TIMEOUT)

    async def test_swap_on_what_it_holds_succeeds_and_changes_the_version(self) -> None:
        async with self.opened("a") as (arbiter,):
            first = await write(arbiter, "claims/web", None)
            second = await write(arbiter, "claims/web", first)
            assert second.version != first.version
            assert await eventually(arbiter, "claims/web", second.version) == second

    async def test_swap_on_an_old_record_is_a_conflict_and_writes_nothing(self) -> None:
        async with self.opened("a", "b") as (a, b):
            first = await write(a, "claims/web", None)
            second = await write(a, "claims/web", first)
            with pytest.raises(Conflict):
                await b.swap("claims/web", unique(), first, timeout=TIMEOUT)
            assert await eventually(a, "claims/web", second.version) == second

    async def test_swap_on_an_absent_register_is_a_conflict(self) -> None:
        async with self.opened("a") as (arbiter,):
            elsewhere = await write(arbiter, "claims/other", None)
            with pytest.raises(Conflict):
                await arbiter.swap("claims/web", unique(), elsewhere, timeout=TIMEOUT)
            assert await arbiter.read("claims/web", timeout=TIMEOUT) is None

    async def test_repeating_ones_own_swap_succeeds_with_the_same_version(self) -> None:
        """A hedge or a retry inside one call finds its own value; values are unique per write."""
        async with self.opened("a") as (arbiter,):
            for expected in (None, await write(arbiter, "claims/other", None)):
                name, value = "claims/web" if expected is None else "claims/other", unique()
                version = await arbiter.swap(name, value, expected, timeout=TIMEOUT)
                assert await arbiter.swap(name, value, expected, timeout=TIMEOUT) == version

    async def test_of_concurrent_swaps_on_one_record_exactly_one_succeeds(self) -> None:
        async with self.opened("a", "b", "c", "d") as arbiters:
            record: Record | None = None
            for _ in range(5):
                values = [unique() for _ in arbiters]
                outcomes = await asyncio.gather(
                    *(
                        arbiter.swap("claims/web", value, record, timeout=TIMEOUT)
                        for arbiter, value in zip(arbiters, values, strict=True)
                    ),
                    return_exceptions=True,
                )
                won = [Record(v, o) for v, o in zip(values, outcomes, strict=True) if isinstance(o, str)]
                lost = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
                assert len(won) == 1, f"{outcomes}"
                assert len(lost) == len(arbiters) - 1, f"{outcomes}"
                record = won[0]

    async def test_concurrent_increments_are_all_counted(self) -> None:
        """Eight tasks on four connections; the register must end at the number of successes."""
        async with self.opened("a", "b", "c", "d") as arbiters:
            start = unique(count=0)
            await arbiters[0].swap("claims/counter", start, None, timeout=TIMEOUT)
            successes = await asyncio.gather(
                *(increment(arbiter, "claims/counter", times=4) for arbiter in arbiters * 2)
            )
            assert await highest_count(arbiters[0], "claims/counter", sum(successes)) == sum(successes) == 32

    async def test_values_survive_unchanged(self) -> None:
        async with self.opened("a") as (arbiter,):
            record: Record | None = None
            for text in ("é ✓ 字 🙂", "x" * 3_900, '\\"\n\t'):
                value = unique(text=text) if len(text) < 3_000 else text.encode() + unique()
                record = Record(value, await arbiter.swap("claims/web", value, record, timeout=TIMEOUT))
                assert await eventually(arbiter, "claims/web", record.version) == record

    async def test_names_are_independent(self) -> None:
        """Nodes and claims are named by people: dots, dashes, underscores, colons, at signs, one letter."""
        async with self.opened("a") as (arbiter,):
            names = [
                "claims/a",
                "claims/a.b",
                "claims/a-b_c:d@e",
                "claims/VI_1",
                "sessions/a",
                f"sessions/{'n' * 63}",
            ]
            records = {name: await write(arbiter, name, None) for name in names}
            for name, record in records.items():
                assert await eventually(arbiter, name, record.version) == record, name

    async def test_domains_are_independent(self) -> None:
        async with self.opened("a") as (here,):
            await write(here, "claims/web", None)
            self.domain += "-other"
            async with self.opened("a") as (there,):
                assert await there.read("claims/web", timeout=TIMEOUT) is None
                await write(there, "claims/web", None)

    async def test_registers_outlive_a_connection(self) -> None:
        async with self.opened("a") as (arbiter,):
            record = await write(arbiter, "claims/web", None)
        async with self.opened("a") as (arbiter,):
            assert await eventually(arbiter, "claims/web", record.version) == record
            await write(arbiter, "claims/web", record)

    async def test_changes_show_what_another_node_writes(self) -> None:
        if not self.gives_changes:
            pytest.skip("this arbiter gives no hints")
        async with self.opened("a", "b") as (a, b):
            seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
            watching = asyncio.create_task(collect(b, seen))
            try:
                record = await write(a, "claims/web", None)
                await hint(seen, "claims/web", record)
                await hint(seen, "claims/web", await write(a, "claims/web", record))
            finally:
                watching.cancel()
                await asyncio.wait((watching,))

    async def test_silent_endpoint_costs_the_timeout_and_no_more(self) -> None:
        async with silent_server() as endpoint:
            arbiter = await self.open_at(endpoint)
            try:
                for call in (
                    arbiter.read("claims/web", timeout=SHORT),
                    arbiter.swap("claims/web", unique(), None, timeout=SHORT),
                ):
                    begun = time.monotonic()
                    with pytest.raises(Unavailable):
                        await call
                    assert time.monotonic() - begun < SHORT + LATENESS
            finally:
                begun = time.monotonic()
                await arbiter.aclose()
                assert time.monotonic() - begun < 1.0, "aclose waits for a silent endpoint"

    async def test_cancelled_calls_leave_the_arbiter_usable(self) -> None:
        async with self.opened("a") as (arbiter,):
            for pause in (0.0, 0.0, 0.001, 0.002, 0.004):
                calls = [
                    asyncio.ensure_future(arbiter.swap("claims/web", unique(), None, timeout=TIMEOUT)),
                    asyncio.ensure_future(arbiter.read("claims/web", timeout=TIMEOUT)),
                ]
                await asyncio.sleep(pause)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
            await write(arbiter, "claims/other", None)

    async def test_aclose_may_be_called_twice_and_ends_everything(self) -> None:
        before = asyncio.all_tasks()
        arbiter = await self.open("a")
        await write(arbiter, "claims/web", None)
        watching = asyncio.create_task(collect(arbiter, asyncio.Queue()))
        await asyncio.sleep(0.05)
        await arbiter.aclose()
        await arbiter.aclose()
        with pytest.raises(ArbiterError):
            await arbiter.read("claims/web", timeout=SHORT)
        done, _ = await asyncio.wait((watching,), timeout=1.0)
        assert done, "changes() goes on after aclose()"
        await asyncio.sleep(0.05)
        left = asyncio.all_tasks() - before
        assert not left, f"tasks left behind: {left}"


async def write(arbiter: Arbiter, name: str, expected: Record | None) -> Record:
    """Swap a new value in, which must succeed, and return the record."""
    value = unique()
    return Record(value, await arbiter.swap(name, value, expected, timeout=TIMEOUT))


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
        assert record is not None, f"{name} vanished"
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


async def collect(arbiter: Arbiter, seen: asyncio.Queue[tuple[str, Record | None]]) -> None:
    """Put every change into ``seen`` until the stream ends."""
    try:
        async for change in arbiter.changes():
            seen.put_nowait(change)
    except ArbiterError:
        return


async def hint(seen: asyncio.Queue[tuple[str, Record | None]], name: str, record: Record) -> None:
    """Wait until ``record`` is among the changes seen; fail after HINT seconds."""
    try:
        async with asyncio.timeout(HINT):
            while await seen.get() != (name, record):
                pass
    except TimeoutError:
        pytest.fail(f"no hint of {name} at version {record.version} within {HINT} s")


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
