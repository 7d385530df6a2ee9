"""A sample of each campaign: some operations under some faults, and the history is possible."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.lab.members import ServerError
from tests.histories.backends import BACKENDS
from tests.histories.campaign import run

OPERATIONS = {"memory": 10_000}
USUAL, SECONDS = 1000, 10.0
LEAST = 50  # operations, from an arbiter that is broken most of the time


@pytest.mark.parametrize("kind", BACKENDS)
async def test_history_under_faults_is_linearizable(kind: str, tmp_path: Path) -> None:
    try:
        result = await run(kind, tmp_path, OPERATIONS.get(kind, USUAL), SECONDS, seed=1, pace=0.4)
    except ServerError as error:
        pytest.skip(str(error))
    print(result)
    assert not result.violations, "\n".join(map(str, result.violations))
    assert len(result.history) >= LEAST
    assert result.faults, "nothing was broken"
