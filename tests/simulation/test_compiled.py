"""Compiled or not, a seed means the same: event by event, as the digests say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import compiled
from tests.simulation.plan import PROFILES, make_plan
from tests.simulation.runner import run_plan

CASES = [(name, 300 + number) for number, (name, profile) in enumerate(PROFILES.items()) if profile.judged]
PROGRAM = """
import sys
import haagent.core.node, tests.simulation.world
from tests.simulation.plan import PROFILES, make_plan
from tests.simulation.runner import run_plan
assert all(module.__file__.endswith(".so") for module in (haagent.core.node, tests.simulation.world))
for case in sys.argv[1:]:
    profile, seed = case.split(":")
    print(run_plan(make_plan(int(seed), PROFILES[profile])).digest)
"""


@pytest.mark.timeout(600)  # compiling takes a minute of one core, once per state of the source
@pytest.mark.skipif(bool(compiled.lacking()), reason=f"{compiled.lacking()} is not installed")
def test_a_seed_means_the_same_when_compiled() -> None:
    home = compiled.build()
    arguments = [f"{profile}:{seed}" for profile, seed in CASES]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    plain = [run_plan(make_plan(seed, PROFILES[profile])).digest for profile, seed in CASES]
    assert [int(digest) for digest in ran.stdout.split()] == plain


def test_another_source_is_another_build(tmp_path: Path) -> None:
    """What runs compiled is never older than the source it is said to be."""
    source = tmp_path / "haagent" / "core" / "node.py"
    source.parent.mkdir(parents=True)
    source.write_text("one = 1\n")
    before = compiled._fingerprint(tmp_path)
    assert compiled._fingerprint(tmp_path) == before
    source.write_text("one = 2\n")
    assert compiled._fingerprint(tmp_path) != before
