"""Every request is answered by one event, in time, whatever the arbiter does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from haagent.arbiter import Arbiter, ArbiterOptions, Misconfigured, Record, Unavailable
from haagent.config.model import ArbiterConfig
from haagent.core.actions import ReadRegister, SwapRegister
from haagent.core.events import (
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
)
from haagent.core.reports import Noticed, Report
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects import arbitration
from haagent.effects.arbitration import IN_FLIGHT, Arbitration, ArbitrationEvent, Latency, arbiter_options
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore

OPTIONS = ArbiterOptions((), "d", "me", 0.5, {})
MINE = "sessions/me"


class Bench:
    """An Arbitration on an arbiter in memory, and everything it said."""

    def __init__(self, arbiter: Arbiter | None = None, timeout: int = 200 * MILLISECOND) -> None:
        self.store = MemoryStore()
        self.arbiter = arbiter or MemoryArbiter(self.store)
        self.events: asyncio.Queue[ArbitrationEvent] = asyncio.Queue()
        self.hints: asyncio.Queue[RegisterChanged] = asyncio.Queue()
        self.reports: list[Report] = []
        self.openings: list[Exception] = []
        self.arbitration = Arbitration(
            self.open, OPTIONS, timeout=timeout, deliver=self.deliver, tell=self.reports.append
        )

    @property
    def faults(self) -> Faults:
        assert isinstance(self.arbiter, MemoryArbiter)
        return self.arbiter.faults

    async def open(self, options: ArbiterOptions) -> Arbiter:
        if self.openings:
            raise self.openings.pop(0)
        return self.arbiter

    def deliver(self, event: ArbitrationEvent) -> None:
        (self.hints if isinstance(event, RegisterChanged) else self.events).put_nowait(event)

    async def ask(self, request: ReadRegister | SwapRegister) -> ArbitrationEvent:
        self.arbitration.perform(request)
        return await asyncio.wait_for(self.events.get(), 2.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        self.arbitration.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            yield self
        finally:
            await self.arbitration.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2.0):
        while not condition():
            await asyncio.sleep(0.005)


def swap(name: str, value: bytes = b"v", expected: Record | None = None) -> SwapRegister:
    return SwapRegister(name, value, expected)


async def test_answers() -> None:
    async with Bench().running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        assert await bench.ask(ReadRegister("claims/web")) == RegisterRead("claims/web", None)
        record = Record(b"v", "1")
        assert await bench.ask(swap("claims/web")) == RegisterSwapped("claims/web", record)
        assert await bench.ask(ReadRegister("claims/web")) == RegisterRead("claims/web", record)
        assert await bench.ask(swap("claims/web", b"w")) == RegisterConflicted("claims/web")
        assert bench.events.empty()


@pytest.mark.parametrize("fault", ["before", "after", "late", "misconfigured"])
async def test_failures_are_unavailable(fault: str) -> None:
    async with Bench().running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        setattr(bench.faults, fault, 1)
        answer = await bench.ask(swap("claims/web"))
        assert isinstance(answer, RegisterUnavailable)
        assert (answer.name, answer.swap) == ("claims/web", True)
        assert "fault" in answer.error


async def test_when_it_answered_last_is_known_whatever_it_answered() -> None:
    async with Bench().running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        assert bench.arbitration.status().answered is None
        begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        await bench.ask(swap("claims/web"))
        first = bench.arbitration.status().answered
        assert first is not None
        assert begun < first <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        bench.faults.before = 1
        assert isinstance(await bench.ask(ReadRegister("claims/web")), RegisterUnavailable)
        assert bench.arbitration.status().answered == first
        assert await bench.ask(swap("claims/web", b"w")) == RegisterConflicted("claims/web")
        second = bench.arbitration.status().answered
        assert second is not None
        assert second > first


async def test_not_open_is_answered_soon_and_not_in_a_spin() -> None:
    bench = Bench()
    bench.openings = [Unavailable("no route")] * 100
    async with bench.running():
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await bench.ask(ReadRegister("claims/web"))
        assert answer == RegisterUnavailable("claims/web", swap=False, error="no route")
        assert 0.015 < loop.time() - begun < 0.2
        assert not bench.arbitration.status().opened


async def test_opening_is_tried_again() -> None:
    bench = Bench()
    bench.openings = [Unavailable("down"), ValueError("a bug")]
    async with bench.running():
        await until(lambda: bench.arbitration.status().opened)
        assert isinstance(await bench.ask(ReadRegister("claims/web")), RegisterRead)
    assert bench.reports == []


async def test_misconfigured_opening_is_told_once_and_tried_slowly() -> None:
    bench = Bench()
    bench.openings = [Misconfigured("no such file")] * 2
    async with bench.running():
        await asyncio.sleep(0.3)
        assert bench.reports == [Noticed("arbiter", "misconfigured", "no such file")]
        assert len(bench.openings) == 1


async def test_misconfigured_arbiter_is_told_once_left_alone_and_asked_again() -> None:
    async with Bench().running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.misconfigured = 1
        for _ in range(5):
            answer = await bench.ask(ReadRegister("claims/web"))
            assert isinstance(answer, RegisterUnavailable)
        assert isinstance(bench.arbiter, MemoryArbiter)
        assert bench.arbiter.reads == 1, "asked again at once"
        assert [report.what for report in bench.reports if isinstance(report, Noticed)] == ["misconfigured"]
        await asyncio.sleep(arbitration.FIRST_REFUSAL)
        assert isinstance(await bench.ask(ReadRegister("claims/web")), RegisterRead)
        assert bench.arbitration.status().available


class FullArbiter(MemoryArbiter):
    """Has no room for one more claim, as voting files whose registers are all taken."""

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        if name.startswith("claims/full"):
            raise Misconfigured(f"none is left for {name}")
        return await super().swap(name, value, expected, timeout=timeout)


async def test_what_one_register_is_refused_for_costs_no_other_one_its_turn() -> None:
    async with Bench(FullArbiter(MemoryStore())).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        assert isinstance(await bench.ask(swap("claims/full-1")), RegisterUnavailable)
        assert isinstance(await bench.ask(swap(MINE, b"1")), RegisterSwapped)
        for number in range(IN_FLIGHT):
            bench.arbitration.perform(swap(f"claims/full-{number}"))
        bench.arbitration.perform(swap("claims/web"))  # waits for one of those to be answered
        answers = [await asyncio.wait_for(bench.events.get(), 2.0) for _ in range(IN_FLIGHT + 1)]
        assert RegisterSwapped("claims/web", Record(b"v", "2")) in answers


async def test_each_refusal_is_told_once_although_others_are_answered_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arbitration, "FIRST_REFUSAL", 0.02)
    async with Bench(FullArbiter(MemoryStore())).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        for number in range(4):
            await bench.ask(swap("claims/full-1"))
            await bench.ask(swap("claims/full-2"))
            await bench.ask(swap(f"claims/web{number}"))
            await asyncio.sleep(0.03)
        told = [report.detail for report in bench.reports if isinstance(report, Noticed)]
        assert told == ["none is left for claims/full-1", "none is left for claims/full-2"]


async def test_hung_arbiter_is_cut_off_by_its_timeout() -> None:
    async with Bench(timeout=100 * MILLISECOND).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.hang = -1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert isinstance(await bench.ask(swap(MINE)), RegisterUnavailable)
        assert 0.09 < loop.time() - begun < 0.2


class Rogue(MemoryArbiter):
    """Breaks the contract in every way a plugin can."""

    def __init__(self, deed: Callable[[], None] | None = None) -> None:
        super().__init__(MemoryStore())
        self.deed = deed

    async def read(self, name: str, *, timeout: float) -> Record | None:
        if self.deed is None:
            await asyncio.sleep(60)
        else:
            self.deed()
        return None

    async def aclose(self) -> None:
        raise RuntimeError("cannot even close")


async def test_plugin_that_ignores_its_timeout_is_cut_off() -> None:
    async with Bench(Rogue(), timeout=50 * MILLISECOND).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        answer = await bench.ask(ReadRegister("claims/web"))
        assert isinstance(answer, RegisterUnavailable)
        assert "overran" in answer.error


@pytest.mark.parametrize("error", [KeyError("oops"), asyncio.CancelledError("grpc does that")])
async def test_foreign_errors_are_unavailable(error: BaseException) -> None:
    def deed() -> None:
        raise error

    async with Bench(Rogue(deed)).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        answer = await bench.ask(ReadRegister("claims/web"))
        assert isinstance(answer, RegisterUnavailable)
        assert type(error).__name__ in answer.error


async def test_session_does_not_wait_behind_claims() -> None:
    async with Bench(timeout=SECOND).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.delay = 0.1
        for number in range(3 * IN_FLIGHT):
            bench.arbitration.perform(swap(f"claims/{number}"))
        bench.arbitration.perform(swap(MINE))
        await asyncio.sleep(0.01)
        status = bench.arbitration.status()
        assert (status.in_flight, status.waiting) == (IN_FLIGHT + 1, 2 * IN_FLIGHT)
        first = [(await bench.events.get()).name for _ in range(IN_FLIGHT + 1)]
        assert MINE in first
        rest = [(await asyncio.wait_for(bench.events.get(), 2)).name for _ in range(2 * IN_FLIGHT)]
        assert len({*first, *rest}) == 3 * IN_FLIGHT + 1


async def test_those_who_wait_behind_a_dead_arbiter_share_its_answer() -> None:
    """Else 1000 claims would wait out 32 timeouts in a row."""
    async with Bench(timeout=100 * MILLISECOND).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.hang = -1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(10 * IN_FLIGHT):
            bench.arbitration.perform(swap(f"claims/{number}"))
        for _ in range(10 * IN_FLIGHT):
            assert isinstance(await bench.events.get(), RegisterUnavailable)
        assert loop.time() - begun < 0.5


async def test_changes_are_delivered_and_resumed() -> None:
    class Fickle(MemoryArbiter):
        rounds = 0

        async def changes(self):  # type: ignore[no-untyped-def]
            self.rounds += 1
            yield "claims/web", Record(b"%d" % self.rounds, "1")
            if self.rounds % 2:
                raise Unavailable("the stream broke")

    async with Bench(Fickle(MemoryStore())).running() as bench:
        for number in (b"1", b"2", b"3"):
            hint = await asyncio.wait_for(bench.hints.get(), 2.0)
            assert hint == RegisterChanged("claims/web", Record(number, "1"))


async def test_changes_are_asked_for_at_once_when_the_arbiter_is_back() -> None:
    class Streamless(MemoryArbiter):
        asked = 0

        async def changes(self):  # type: ignore[no-untyped-def]
            self.asked += 1
            raise Unavailable("no stream")
            yield

    arbiter = Streamless(MemoryStore())
    async with Bench(arbiter).running() as bench:
        await until(lambda: arbiter.asked == 3)  # the next time by itself is 0.8 s later
        await bench.ask(ReadRegister(MINE))
        await asyncio.sleep(0.1)
        assert arbiter.asked == 3, "an arbiter that was never away has no news"
        bench.faults.before = 1
        assert isinstance(await bench.ask(ReadRegister(MINE)), RegisterUnavailable)
        assert isinstance(await bench.ask(ReadRegister(MINE)), RegisterRead)
        async with asyncio.timeout(0.2):
            await until(lambda: arbiter.asked == 4)


async def test_statistics() -> None:
    assert Latency().after(100).after(200) == Latency(count=2, last=200, average=110, longest=200)
    async with Bench().running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.delay = 0.02
        await bench.ask(swap(MINE))
        await bench.ask(swap(MINE, b"w"))
        swaps = bench.arbitration.status().swaps
        assert swaps.count == 2, "a conflict is an answer as well"
        assert 15 * MILLISECOND < swaps.last < 100 * MILLISECOND


async def test_calls_are_bound_by_what_a_reload_makes_of_the_lease() -> None:
    async with Bench(timeout=3600 * SECOND).running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.delay = 3600.0
        bench.arbitration.bound_calls(50 * MILLISECOND)
        assert isinstance(await bench.ask(swap(MINE)), RegisterUnavailable)


async def test_one_that_another_takes_over_from_answers_everything_once() -> None:
    """A core that is owed an answer asks nothing again: not even for its session."""
    async with Bench().running() as bench:
        await until(lambda: bench.arbitration.status().opened)
        bench.faults.delay = 3600.0
        asked = [swap(MINE), *(ReadRegister(f"claims/{number}") for number in range(IN_FLIGHT + 2))]
        for request in asked:
            bench.arbitration.perform(request)
        await asyncio.sleep(0)
        bench.arbitration.retire()
        answers = [await asyncio.wait_for(bench.events.get(), 2.0) for _ in asked]
        assert {
            (answer.name, answer.swap) for answer in answers if isinstance(answer, RegisterUnavailable)
        } == {(request.name, isinstance(request, SwapRegister)) for request in asked}
        await asyncio.sleep(0.3)  # longer than the timeout
        assert bench.events.empty()


async def test_close_abandons_silently_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    bench = Bench(Rogue(), timeout=SECOND)
    async with bench.running():
        await until(lambda: bench.arbitration.status().opened)
        bench.arbitration.perform(ReadRegister("claims/web"))
        await asyncio.sleep(0.01)
    await bench.arbitration.aclose()
    bench.arbitration.perform(ReadRegister("claims/web"))
    await asyncio.sleep(0.05)
    assert bench.events.empty()
    assert asyncio.all_tasks() == before


def test_options_are_the_configuration_in_the_plugin_s_words() -> None:
    config = ArbiterConfig("etcd", ("e1:2379",), "prod", settings=(("username", "ha"),))
    assert arbiter_options(config, "n1", 500 * MILLISECOND, 60 * SECOND) == ArbiterOptions(
        ("e1:2379",), "prod", "n1", 0.5, {"username": "ha"}, keep=60.0
    )


def test_members_of_a_quorum_learn_the_lease_and_how_long_to_keep_as_it_does() -> None:
    member = ArbiterConfig("file", ("/v",), "prod")
    options = arbiter_options(
        ArbiterConfig("quorum", domain="prod", members=(member,)), "n1", SECOND, 60 * SECOND
    )
    assert options.members == (("file", ArbiterOptions(("/v",), "prod", "n1", 1.0, {}, keep=60.0)),)
