"""The formal model of the arbitration: its rules hold, and every defect planted in it is caught.

The bounded runs of ``models/run.py --quick``, one test each; the exhaustive ones are run by hand.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUNNER = Path(__file__).resolve().parents[2] / "models" / "run.py"


def _load_runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("arbitration_model_runner", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


runner = _load_runner()

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("spin", "gcc", "timeout")),
        reason="spin or gcc is not installed",
    ),
]


@pytest.mark.parametrize("run", [run for run in runner.ALL if run.quick], ids=lambda run: run.name)
def test_spin_finds_what_is_expected(run):
    outcome = runner.check(run, limit=240)

    story = "\n".join(outcome.words) or "no counterexample"
    assert outcome.found is run.expect, f"{run.about}: {outcome.broken or 'search unfinished'}\n{story}"
    assert outcome.states > 400, "the search was too small to mean anything"


def test_names_are_unique():
    names = [run.name for run in runner.ALL]
    assert len(names) == len(set(names))
