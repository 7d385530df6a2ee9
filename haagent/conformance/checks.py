"""The behaviours every arbiter must show, one function each; its docstring's first line is what it is called.

Each works in the fresh domain of the ``Bench`` it is given and raises ``BrokenContract`` for what must not be, or
``NotTried`` where the bench cannot show it. ``CHECKS`` are all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias

from haagent.arbiter import Arbiter, ArbiterError, Conflict, Record
from haagent.conformance.demands import (
    SHORT,
    TIMEOUT,
    Changes,
    NotTried,
    collect,
    ensure,
    highest_count,
    hint,
    increment,
    raises,
    shows,
    silent_server,
    takes_its_timeout,
    write,
)
from haagent.conformance.workload import unique

NAMES = ("claims/a", "claims/a.b", "claims/a-b_c:d@e", "claims/VI_1", "sessions/a", f"sessions/{'n' * 63}")
TEXTS = ("é ✓ 字 🙂", "x" * 3_900, '\\"\n\t')


class Bench(Protocol):
    """What a check needs: arbiters on one fresh domain. ``gives_changes`` is False where hints are not offered."""

    domain: str
    gives_changes: bool

    def opened(self, *nodes: str) -> AbstractAsyncContextManager[list[Arbiter]]:
        """Open one arbiter per node on ``domain``, and close them all."""

    async def open(self, node: str) -> Arbiter:
        """Return a new arbiter on ``domain``; the check closes it."""

    async def open_at(self, endpoint: str) -> Arbiter:
        """Return a new arbiter that knows only ``endpoint`` (host:port). Raises NotTried."""


class Opening:
    """What benches have in common: several arbiters at once."""

    async def open(self, node: str) -> Arbiter:
        """Return a new arbiter for ``node``."""
        raise NotImplementedError("define open(self, node)")

    @asynccontextmanager
    async def opened(self, *nodes: str) -> AsyncIterator[list[Arbiter]]:
        """Open one arbiter per node, and close them all."""
        arbiters: list[Arbiter] = []
        try:
            for node in nodes:
                arbiters.append(await self.open(node))  # noqa: PERF401 - those that were opened are closed
            yield arbiters
        finally:
            for arbiter in arbiters:
                await arbiter.aclose()


Check: TypeAlias = Callable[[Bench], Coroutine[Any, Any, None]]


async def is_an_arbiter(bench: Bench) -> None:
    """It has every method of an arbiter."""
    async with bench.opened("a") as (arbiter,):
        ensure(isinstance(arbiter, Arbiter), f"{type(arbiter).__name__} lacks a method of Arbiter")


async def absent_register_reads_as_none(bench: Bench) -> None:
    """An absent register reads as nothing."""
    async with bench.opened("a") as (arbiter,):
        found = await arbiter.read("claims/nothing", timeout=TIMEOUT)
        ensure(found is None, f"a register of a new domain holds {found}")


async def created_register_is_read_back_by_another_node(bench: Bench) -> None:
    """What one node creates, another reads."""
    async with bench.opened("a", "b") as (a, b):
        value = unique(holder="a")
        version = await a.swap("claims/web", value, None, timeout=TIMEOUT)
        ensure(bool(version), "a version is empty")
        await shows(b, "claims/web", Record(value, version))


async def creating_twice_is_a_conflict(bench: Bench) -> None:
    """Creating what is there is a conflict."""
    async with bench.opened("a", "b") as (a, b):
        await a.swap("claims/web", unique(), None, timeout=TIMEOUT)
        await raises(Conflict, b.swap("claims/web", unique(), None, timeout=TIMEOUT))


async def swap_on_what_it_holds_succeeds_and_changes_the_version(bench: Bench) -> None:
    """A swap on what a register holds succeeds and changes the version."""
    async with bench.opened("a") as (arbiter,):
        first = await write(arbiter, "claims/web", None)
        second = await write(arbiter, "claims/web", first)
        ensure(second.version != first.version, f"the version stays {first.version}")
        await shows(arbiter, "claims/web", second)


async def swap_on_an_old_record_is_a_conflict_and_writes_nothing(bench: Bench) -> None:
    """A swap on an old record is a conflict and writes nothing."""
    async with bench.opened("a", "b") as (a, b):
        first = await write(a, "claims/web", None)
        second = await write(a, "claims/web", first)
        await raises(Conflict, b.swap("claims/web", unique(), first, timeout=TIMEOUT))
        await shows(a, "claims/web", second)


async def swap_on_an_absent_register_is_a_conflict(bench: Bench) -> None:
    """A swap on an absent register is a conflict and creates nothing."""
    async with bench.opened("a") as (arbiter,):
        elsewhere = await write(arbiter, "claims/other", None)
        await raises(Conflict, arbiter.swap("claims/web", unique(), elsewhere, timeout=TIMEOUT))
        ensure(await arbiter.read("claims/web", timeout=TIMEOUT) is None, "the refused swap created it")


async def repeating_ones_own_swap_succeeds_with_the_same_version(bench: Bench) -> None:
    """Repeating one's own swap succeeds with the same version: a hedge, or a retry inside one call."""
    async with bench.opened("a") as (arbiter,):
        for expected in (None, await write(arbiter, "claims/other", None)):
            name, value = "claims/web" if expected is None else "claims/other", unique()
            version = await arbiter.swap(name, value, expected, timeout=TIMEOUT)
            again = await arbiter.swap(name, value, expected, timeout=TIMEOUT)
            ensure(again == version, f"version {version} first, then {again}")


async def of_concurrent_swaps_on_one_record_exactly_one_succeeds(bench: Bench) -> None:
    """Of concurrent swaps on one record exactly one succeeds."""
    async with bench.opened("a", "b", "c", "d") as arbiters:
        record: Record | None = None
        for _ in range(5):
            values = [unique() for _ in arbiters]
            swaps = [
                arbiter.swap("claims/web", value, record, timeout=TIMEOUT)
                for arbiter, value in zip(arbiters, values, strict=True)
            ]
            outcomes = await asyncio.gather(*swaps, return_exceptions=True)
            won = [Record(v, o) for v, o in zip(values, outcomes, strict=True) if isinstance(o, str)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
            ensure(len(won) == 1, f"{len(won)} succeeded: {outcomes}")
            ensure(len(lost) == len(arbiters) - 1, f"not all others are conflicts: {outcomes}")
            record = won[0]


async def concurrent_increments_are_all_counted(bench: Bench) -> None:
    """Concurrent increments are all counted, by eight tasks on four connections."""
    async with bench.opened("a", "b", "c", "d") as arbiters:
        await arbiters[0].swap("claims/counter", unique(count=0), None, timeout=TIMEOUT)
        successes = sum(
            await asyncio.gather(*(increment(arbiter, "claims/counter", times=4) for arbiter in arbiters * 2))
        )
        counted = await highest_count(arbiters[0], "claims/counter", successes)
        ensure(counted == successes == 32, f"{successes} of 32 succeeded, {counted} were counted")


async def values_survive_unchanged(bench: Bench) -> None:
    """Values survive unchanged: any text up to 4 KiB."""
    async with bench.opened("a") as (arbiter,):
        record: Record | None = None
        for text in TEXTS:
            value = unique(text=text) if len(text) < 3_000 else text.encode() + unique()
            record = Record(value, await arbiter.swap("claims/web", value, record, timeout=TIMEOUT))
            await shows(arbiter, "claims/web", record)


async def names_are_independent(bench: Bench) -> None:
    """Names are independent: dots, dashes, underscores, colons, at signs, one letter, 63 letters."""
    async with bench.opened("a") as (arbiter,):
        records = {name: await write(arbiter, name, None) for name in NAMES}
        for name, record in records.items():
            await shows(arbiter, name, record)


async def domains_are_independent(bench: Bench) -> None:
    """Domains are independent."""
    async with bench.opened("a") as (here,):
        await write(here, "claims/web", None)
        bench.domain += "-other"
        async with bench.opened("a") as (there,):
            found = await there.read("claims/web", timeout=TIMEOUT)
            ensure(found is None, f"another domain shows {found}")
            await write(there, "claims/web", None)


async def registers_outlive_a_connection(bench: Bench) -> None:
    """Registers outlive the connection that wrote them."""
    async with bench.opened("a") as (arbiter,):
        record = await write(arbiter, "claims/web", None)
    async with bench.opened("a") as (arbiter,):
        await shows(arbiter, "claims/web", record)
        await write(arbiter, "claims/web", record)


async def changes_show_what_another_node_writes(bench: Bench) -> None:
    """Changes show what another node writes."""
    if not bench.gives_changes:
        raise NotTried("this arbiter gives no hints")
    async with bench.opened("a", "b") as (a, b):
        seen: Changes = asyncio.Queue()
        watching = asyncio.create_task(collect(b, seen))
        try:
            record = await write(a, "claims/web", None)
            await hint(seen, "claims/web", record)
            await hint(seen, "claims/web", await write(a, "claims/web", record))
        finally:
            watching.cancel()
            await asyncio.wait((watching,))


async def silent_endpoint_costs_the_timeout_and_no_more(bench: Bench) -> None:
    """An endpoint that accepts connections and says nothing costs each call its timeout."""
    async with silent_server() as endpoint:
        arbiter = await bench.open_at(endpoint)
        try:
            await takes_its_timeout(arbiter.read("claims/web", timeout=SHORT))
            await takes_its_timeout(arbiter.swap("claims/web", unique(), None, timeout=SHORT))
        finally:
            begun = time.monotonic()
            await arbiter.aclose()
            ensure(time.monotonic() - begun < 1.0, "aclose waits for a silent endpoint")


async def cancelled_calls_leave_the_arbiter_usable(bench: Bench) -> None:
    """Cancelled calls leave the arbiter usable."""
    async with bench.opened("a") as (arbiter,):
        for pause in (0.0, 0.0, 0.001, 0.002, 0.004):
            swap = asyncio.ensure_future(arbiter.swap("claims/web", unique(), None, timeout=TIMEOUT))
            read = asyncio.ensure_future(arbiter.read("claims/web", timeout=TIMEOUT))
            await asyncio.sleep(pause)
            swap.cancel()
            read.cancel()
            await asyncio.wait((swap, read))
        await write(arbiter, "claims/other", None)


async def aclose_may_be_called_twice_and_ends_everything(bench: Bench) -> None:
    """Closing may be done twice, ends the stream of changes, and leaves no task."""
    before = asyncio.all_tasks()
    arbiter = await bench.open("a")
    await write(arbiter, "claims/web", None)
    watching = asyncio.create_task(collect(arbiter, asyncio.Queue()))
    await asyncio.sleep(0.05)
    await arbiter.aclose()
    await arbiter.aclose()
    await raises(ArbiterError, arbiter.read("claims/web", timeout=SHORT))
    done, _ = await asyncio.wait((watching,), timeout=1.0)
    watching.cancel()
    ensure(bool(done), "changes() goes on after aclose()")
    await asyncio.sleep(0.05)
    left = asyncio.all_tasks() - before
    ensure(not left, f"tasks left behind: {left}")


CHECKS: tuple[Check, ...] = (
    is_an_arbiter,
    absent_register_reads_as_none,
    created_register_is_read_back_by_another_node,
    creating_twice_is_a_conflict,
    swap_on_what_it_holds_succeeds_and_changes_the_version,
    swap_on_an_old_record_is_a_conflict_and_writes_nothing,
    swap_on_an_absent_register_is_a_conflict,
    repeating_ones_own_swap_succeeds_with_the_same_version,
    of_concurrent_swaps_on_one_record_exactly_one_succeeds,
    concurrent_increments_are_all_counted,
    values_survive_unchanged,
    names_are_independent,
    domains_are_independent,
    registers_outlive_a_connection,
    changes_show_what_another_node_writes,
    silent_endpoint_costs_the_timeout_and_no_more,
    cancelled_calls_leave_the_arbiter_usable,
    aclose_may_be_called_twice_and_ends_everything,
)
