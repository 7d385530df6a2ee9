"""A test of the tests: every planted defect is caught, and the core without it is clean in the very same runs."""

from __future__ import annotations

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, hunt
from tests.simulation.plan import PROFILES, make_plan
from tests.simulation.runner import run_plan


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_planted_defects_are_caught(mutation: Mutation) -> None:
    caught = hunt(mutation)
    assert caught is not None, f"{mutation.name}: not caught"
    if mutation.situation is None:
        assert run_plan(make_plan(caught.seed, PROFILES[mutation.profile])).clean
    else:
        assert [outcome.text for outcome in mutation.situation() if not outcome.clean] == []
