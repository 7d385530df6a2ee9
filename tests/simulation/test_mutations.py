"""A test of the tests: every planted defect is caught, and the core without it is clean on the very same seed."""

from __future__ import annotations

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, hunt
from tests.simulation.plan import PROFILES, make_plan
from tests.simulation.runner import run_plan


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_planted_defects_are_caught(mutation: Mutation) -> None:
    caught = hunt(mutation)
    assert caught is not None, f"{mutation.name}: not caught"
    assert run_plan(make_plan(caught.seed, PROFILES[mutation.profile])).clean
