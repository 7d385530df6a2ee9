"""Runs plans: one seed, many seeds on several cores, and the search for the smallest failing set of faults."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import fields
from multiprocessing import Pool
from typing import Any

from tests.simulation.plan import PROFILES, Plan, make_plan
from tests.simulation.world import Outcome, World

Case = tuple[str, int]


def run_plan(plan: Plan, *, tracing: bool = False) -> Outcome:
    """Play one plan."""
    collects = gc.isenabled()
    gc.disable()  # a run makes no garbage in cycles but itself, and looking for some takes a tenth of the time
    try:
        return World(plan, tracing=tracing).run()
    finally:
        if collects:
            gc.enable()


def run_case(case: Case) -> tuple[Case, Outcome, int]:
    """Play one seed of one profile; the last value is the simulated time."""
    profile, seed = case
    plan = make_plan(seed, PROFILES[profile])
    outcome = run_plan(plan)
    return case, outcome, outcome.at


def run_cases(cases: Iterable[Case], jobs: int) -> Iterator[tuple[Case, Outcome, int]]:
    """Play many, on ``jobs`` cores, in any order."""
    if jobs <= 1:
        yield from map(run_case, cases)
        return
    with Pool(jobs) as pool:
        for case, values, at in pool.imap_unordered(_run_afar, cases, chunksize=4):
            yield case, Outcome(*values), at


def _run_afar(case: Case) -> tuple[Case, tuple[Any, ...], int]:
    """Play one seed in another process: a frozen class that was compiled cannot be unpickled."""
    _, outcome, at = run_case(case)
    return case, tuple(getattr(outcome, field.name) for field in fields(Outcome)), at


def shrink(plan: Plan, check: str) -> tuple[int, ...]:
    """Return the numbers of a smallest set of faults (no single one can be dropped) that still breaks ``check``."""
    kept = tuple(range(len(plan.faults)))
    size = max(1, len(kept) // 2)
    while True:
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if len(fewer) < len(kept) and run_plan(plan.keeping(fewer)).check == check:
                kept = fewer
                break
        else:
            if size == 1:
                return kept
            size //= 2
