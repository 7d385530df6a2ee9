"""A bounded sample of ``make fuzz``, and a test of the targets themselves."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import PROFILES, TARGETS, advert_seeds, configuration_seeds

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = {"configuration": 300, "http": 300}  # inputs; the others are quick


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for seed in seeds:
        TARGETS[name].run(seed)


def test_the_seeds_are_what_they_say() -> None:
    """A seed that is dropped at the first check would leave the search outside."""
    assert len(advert_seeds()) == 2 * len(PROFILES)
    assert any(b"vrrp_instance" in seed for seed in configuration_seeds())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", TARGETS)
def test_a_sample_finds_nothing(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it has no wheel for this Python or machine")
    inputs = str(SAMPLE.get(name, 10_000))
    argv = ["-m", "tests.fuzz", "--target", name, "--inputs", inputs, "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
