"""One campaign: clients work, faults come and go by a seed, and the history is judged when enough was recorded.

A shield around nothing: whatever a client is told must be one of the contract's errors, else the campaign fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from haagent.conformance.history import History, Outcome
from haagent.conformance.linearizability import Violation, check
from haagent.conformance.workload import Workload
from tests.histories.backends import BACKENDS, NODES, Backend

CALL = 1.0  # seconds a call may take
TASKS = 4  # that use one connection at a time
REGISTERS = tuple(f"claims/{number}" for number in range(16))
QUIET = (0.5, 2.0)  # seconds between faults
LASTING = (0.2, 1.5)  # seconds a fault lasts


@dataclass(slots=True)
class Result:
    """What a campaign found. ``seconds`` are of the work, without starting servers and judging."""

    kind: str
    history: History
    seconds: float
    judging: float
    faults: Counter[str] = field(default_factory=Counter)
    violations: tuple[Violation, ...] = ()

    def __str__(self) -> str:
        made = len(self.history)
        counts = ", ".join(f"{self.history.count(one)} {one.value}" for one in Outcome)
        return (
            f"{self.kind}: {made} operations in {self.seconds:.0f} s ({made / self.seconds:.0f}/s), swaps: {counts}; "
            f"{self.history.failed_reads} reads failed; {sum(self.faults.values())} faults; "
            f"{len(self.violations)} violations, judged in {self.judging:.1f} s"
        )


async def run(
    kind: str, directory: Path, operations: int, seconds: float, seed: int = 0, pace: float = 1.0
) -> Result:
    """Run one campaign of at most ``seconds``, with ``pace`` times the usual pauses between faults.

    It makes more than ``operations`` where they were over before the first fault. Raises ServerError where the
    arbiter's server is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    async with BACKENDS[kind](directory) as backend:
        workload = Workload(operations, seed=seed, registers=REGISTERS, timeout=CALL)
        arbiters = [await backend.open(node) for node in NODES[: backend.clients]]
        faults: Counter[str] = Counter()
        begun = time.monotonic()
        nemesis = asyncio.create_task(_break(backend, random.Random(seed), faults, pace))
        try:
            await workload.run(arbiters * TASKS, seconds)
            while not faults and time.monotonic() - begun < seconds:  # so fast that nothing was broken yet
                workload.operations += operations
                await workload.run(arbiters * TASKS, seconds)
            took = time.monotonic() - begun
        finally:
            nemesis.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await nemesis
            for arbiter in arbiters:
                await arbiter.aclose()
    begun = time.monotonic()
    violations = check(workload.history.operations, fresh_reads=backend.fresh_reads)
    return Result(kind, workload.history, took, time.monotonic() - begun, faults, violations)


async def _break(backend: Backend, choice: random.Random, faults: Counter[str], pace: float) -> None:
    """Inject one fault after the other until cancelled; the last one is healed."""
    while True:
        await asyncio.sleep(pace * choice.uniform(*QUIET))
        name = choice.choice(sorted(backend.faults))
        fault = backend.faults[name]
        faults[name] += 1
        try:
            await _step(fault.inject, name)
            await asyncio.sleep(min(pace, 1.0) * choice.uniform(*LASTING))
        finally:
            await asyncio.shield(asyncio.create_task(_step(fault.heal, name)))


async def _step(step: object, name: str) -> None:
    """Run a step where it may block; what acts on our own connections must run in the loop."""
    assert callable(step)
    if any(word in name for word in ("connections", "black hole")):
        step()
    else:
        await asyncio.to_thread(step)
