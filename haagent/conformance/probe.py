"""Tries an arbiter that is in use: its behaviours, concurrent swaps, how long it takes, what a lost connection costs.

Promises to take about as long as it is given, to change nothing outside its scratch domains, and to say of each thing
that was not tried why. Measures with CLOCK_MONOTONIC, from this machine, at this moment: nothing else follows from it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

from haagent.arbiter import Arbiter, ArbiterError, Record, Unavailable
from haagent.conformance.checks import CHECKS, Check, changes_show_what_another_node_writes
from haagent.conformance.demands import NotTried
from haagent.conformance.linearizability import check
from haagent.conformance.relay import Relay
from haagent.conformance.scratch import NODES, Scratch, Target
from haagent.conformance.workload import Workload, unique
from haagent.core.units import Duration, from_seconds

CONTRACT, CONTENTION, LATENCY, CONNECTION = 0.55, 0.15, 0.15, 0.15  # of the time given
LONGEST_CHECK = 10.0  # seconds; also how much longer than it was given the whole may take
REACHING = 3.0  # seconds in which the first answer must come
REACHED = "it answers"
CALL = 2.0  # seconds a measured call may take
RENEWAL = 0.25  # seconds a call has after its connection was lost, as by default
MOST_SAMPLES = 500
BETWEEN = 0.01  # seconds between measured calls, so that they do not measure each other
REGISTER = "claims/check"
TLS_WORDS = frozenset({"ca", "cert", "tls"})


class Verdict(StrEnum):
    """What came of one thing."""

    PASSED = "ok"
    FAILED = "FAILED"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried; ``detail`` says what was wrong, or why it was not tried."""

    what: str
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long ``count`` calls took that were answered; ``failed`` others were not."""

    count: int
    failed: int
    p50: Duration
    p99: Duration
    longest: Duration


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a loss of every connection cost: calls that failed, how long the first one took that did not, and all of it."""

    fault: str
    failed: int
    answered: Duration
    back: Duration


@dataclass(slots=True)
class Report:
    """Everything that was found out; ``left`` are scratch domains that could not be removed."""

    kind: str
    endpoints: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    operations: int = 0
    reads: Latencies | None = None
    swaps: Latencies | None = None
    recoveries: list[Recovery] = field(default_factory=list)
    left: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Say whether anything is wrong."""
        return any(one.verdict is Verdict.FAILED for one in self.findings)

    def note(self, what: str, verdict: Verdict, detail: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(what, verdict, detail))


async def probe(target: Target, seconds: float) -> Report:
    """Try ``target`` for about ``seconds``. Raises Misconfigured where nothing can be tried at all."""
    report = Report(target.kind, target.options.endpoints)
    scratch = Scratch(target)
    parts = (
        ("the contract", CONTRACT, _try_contract),
        ("concurrent swaps", CONTENTION, _try_contention),
        ("latency", LATENCY, _measure),
        ("lost connections", CONNECTION, _lose_connections),
    )
    if not await _answers(scratch, report):
        return report
    try:
        for what, share, part in parts:
            scratch.renew_domain()
            try:
                await part(scratch, report, share * seconds)
            except NotTried as reason:
                report.note(what, Verdict.NOT_TRIED, str(reason))
            except ArbiterError as error:
                report.note(what, Verdict.FAILED, f"{type(error).__name__}: {error}")
    finally:
        report.left = await scratch.remove()
    return report


async def _answers(scratch: Scratch, report: Report) -> bool:
    """Say whether there is somebody to try. Raises Misconfigured."""
    until = time.monotonic() + REACHING
    async with scratch.opened("a") as (arbiter,):
        while True:
            try:
                await arbiter.read(REGISTER, timeout=CALL)
            except Unavailable as error:
                if time.monotonic() > until:
                    report.note(REACHED, Verdict.FAILED, str(error))
                    return False
                await asyncio.sleep(10 * BETWEEN)
            else:
                report.note(REACHED, Verdict.PASSED)
                return True


async def _try_contract(scratch: Scratch, report: Report, seconds: float) -> None:
    until = time.monotonic() + seconds
    for one in CHECKS:
        what = (one.__doc__ or one.__name__).splitlines()[0].rstrip(".")
        what = what[0].lower() + what[1:]
        if time.monotonic() > until:
            report.note(what, Verdict.NOT_TRIED, "no time left: needs more seconds")
            continue
        scratch.renew_domain()
        report.findings.append(await _try(one, what, scratch))


async def _try(one: Check, what: str, scratch: Scratch) -> Finding:
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            await one(scratch)
    except NotTried as reason:
        return Finding(what, Verdict.NOT_TRIED, str(reason))
    except AssertionError as broken:
        if one is changes_show_what_another_node_writes:  # hints are not owed
            return Finding(what, Verdict.NOT_TRIED, f"{broken}; news is read at every renewal instead")
        return Finding(what, Verdict.FAILED, str(broken))
    except TimeoutError:
        return Finding(what, Verdict.FAILED, f"not over after {LONGEST_CHECK:.0f} s")
    except Exception as error:  # whatever a third party's plugin raises
        return Finding(what, Verdict.FAILED, f"{type(error).__name__}: {error}")
    return Finding(what, Verdict.PASSED)


async def _try_contention(scratch: Scratch, report: Report, seconds: float) -> None:
    what = "the history of concurrent swaps is linearizable"
    workload = Workload(operations=100_000, registers=("claims/one", "claims/two"), timeout=CALL)
    async with scratch.opened(*NODES) as arbiters:
        history = await workload.run(arbiters, seconds)
    report.operations = len(history)
    violations = check(history.operations)
    if violations:
        report.note(what, Verdict.FAILED, "; ".join(map(str, violations[:2])))
    elif workload.failures > len(history):
        report.note(what, Verdict.FAILED, f"{workload.failures} of its calls failed")
    else:
        report.note(what, Verdict.PASSED, f"{len(history)} operations by {len(NODES)} clients at once")


async def _measure(scratch: Scratch, report: Report, seconds: float) -> None:
    async with scratch.opened("a") as (arbiter,):
        register = Register(arbiter)
        await register.swap()  # the first call connects
        report.swaps = await _latencies(register.swap, seconds / 2)
        report.reads = await _latencies(register.read, seconds / 2)
    for what, found in (("swap", report.swaps), ("read", report.reads)):
        if not found.count:
            report.note(f"a {what} is answered", Verdict.FAILED, f"{found.failed} calls failed")


class Register:
    """One register that only we write: a swap that is refused, or whose outcome is unknown, is followed by a read."""

    def __init__(self, arbiter: Arbiter) -> None:
        self._arbiter = arbiter
        self._held: Record | None = None
        self._sure = True

    async def swap(self) -> None:
        """Write a new value. Raises ArbiterError."""
        if not self._sure:
            self._held = await self._arbiter.read(REGISTER, timeout=CALL)
            self._sure = True
        value = unique()
        self._sure = False
        version = await self._arbiter.swap(REGISTER, value, self._held, timeout=CALL)
        self._held, self._sure = Record(value, version), True

    async def read(self) -> None:
        """Read it. Raises ArbiterError."""
        await self._arbiter.read(REGISTER, timeout=CALL)


async def _latencies(call: Callable[[], Awaitable[None]], seconds: float) -> Latencies:
    until, took, failed = time.monotonic() + seconds, list[Duration](), 0
    for _ in range(MOST_SAMPLES):
        begun = time.monotonic_ns()
        try:
            await call()
            took.append(time.monotonic_ns() - begun)
        except ArbiterError:
            failed += 1
        if time.monotonic() >= until:
            break
        await asyncio.sleep(BETWEEN)
    took.sort()
    return Latencies(len(took), failed, _percentile(took, 50), _percentile(took, 99), took[-1] if took else 0)


def _percentile(ordered: Sequence[Duration], percent: int) -> Duration:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0


async def _lose_connections(scratch: Scratch, report: Report, seconds: float) -> None:
    target = scratch.target
    if not target.endpoints:
        raise NotTried("not one kind of server with a network endpoint")
    if TLS_WORDS & set(target.options.settings) or any("://" in one for one in target.endpoints):
        raise NotTried("with TLS the servers' certificates do not name the relay")
    async with AsyncExitStack() as stack:
        try:
            relays = [await stack.enter_async_context(Relay(one)) for one in target.endpoints]
        except ValueError:
            raise NotTried("the endpoints are not host:port") from None
        arbiter = await scratch.open_behind(tuple(relays))
        stack.push_async_callback(arbiter.aclose)
        register = Register(arbiter)
        await register.swap()
        for fault, lose in (("reset", Relay.cut), ("black hole", Relay.swallow)):
            await asyncio.sleep(0.2)
            for relay in relays:
                lose(relay)
            found = await _recover(arbiter, fault, from_seconds(seconds / 2))
            report.recoveries.append(found) if found else report.note(
                f"lost connections: {fault}", Verdict.FAILED, f"no answer for {seconds / 2:.1f} s"
            )
    if len(report.recoveries) == 2:
        report.note("lost connections are replaced (reset; swallowed by a black hole)", Verdict.PASSED)


async def _recover(arbiter: Arbiter, fault: str, patience: Duration) -> Recovery | None:
    """Read with the deadlines of a renewal until one is answered; None if that takes longer than ``patience``."""
    begun = time.monotonic_ns()
    for failed in count():
        called = time.monotonic_ns()
        try:
            await arbiter.read(REGISTER, timeout=RENEWAL)
        except ArbiterError:
            if time.monotonic_ns() - begun > patience:
                return None
            await asyncio.sleep(BETWEEN)
        else:
            now = time.monotonic_ns()
            return Recovery(fault, failed, now - called, now - begun)
    return None
