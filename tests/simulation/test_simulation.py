"""Random seeds from a fixed base, the seeds that once failed, and the promise that a seed always means the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.core.units import SECOND
from tests.simulation.cli import campaign, replay_command
from tests.simulation.plan import PROFILES, make_plan
from tests.simulation.runner import run_plan, shrink

ROOT = Path(__file__).resolve().parents[2]
JUDGED = [name for name, profile in PROFILES.items() if profile.judged]
BASE, EACH = 500, 3


def known() -> list[tuple[str, int]]:
    """Return the seeds of seeds.txt: tab-separated profile, seed, what it found."""
    lines = Path(__file__).with_name("seeds.txt").read_text().splitlines()
    fields = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(profile, int(seed)) for profile, seed, *_ in fields]


def check(profile: str, seed: int) -> None:
    outcome = run_plan(make_plan(seed, PROFILES[profile]))
    assert outcome.clean, f"{outcome.text}\n{replay_command(profile, seed)}"


@pytest.mark.parametrize(("profile", "seed"), known())
def test_seeds_that_once_found_a_defect(profile: str, seed: int) -> None:
    check(profile, seed)


@pytest.mark.parametrize("seed", range(BASE, BASE + EACH))
@pytest.mark.parametrize("profile", JUDGED)
def test_random_seeds(profile: str, seed: int) -> None:
    check(profile, seed)


def test_a_campaign_gives_every_profile_its_share() -> None:
    cases = campaign("all", 100, 240)
    assert len(set(cases)) == 240
    assert {profile for profile, _ in cases} == set(JUDGED)
    assert {sum(profile == name for profile, _ in cases) for name in JUDGED} == {20}
    assert campaign("storm", 5, 2) == [("storm", 5), ("storm", 6)]


def test_a_seed_means_the_same_in_every_process() -> None:
    program = (
        "from tests.simulation.plan import PROFILES, make_plan\n"
        "from tests.simulation.runner import run_plan\n"
        "print(run_plan(make_plan(7, PROFILES['failsafe'])).digest)\n"
    )
    digests = set()
    for seed in ("0", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(ran.stdout)
    assert len(digests) == 1


def test_shrinking_keeps_only_what_breaks_the_promise() -> None:
    """Stopping everything for good just before the end breaks convergence; nothing else is needed for that."""
    plan = make_plan(3, PROFILES["crash"])
    outcome = run_plan(plan)
    assert outcome.clean
    assert outcome.takeover is not None
    assert 0 < outcome.takeover < 10 * SECOND
    assert run_plan(plan.keeping(())).takeover is None
    assert shrink(plan, "no such check") == (0,)
