"""Single situations the real core is led into: what must hold there, whatever the seeds of the simulation meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from haagent.core.units import SECOND
from tests.simulation.directed import deleted_claim, shortened_lease, stopped_holder, wiped_arbiter
from tests.simulation.world import Outcome


def broken(outcomes: Iterable[Outcome]) -> list[str]:
    return [outcome.text for outcome in outcomes if not outcome.clean]


@pytest.mark.parametrize("moment", ["end", "take"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_stopped_clock_is_found_out_within_a_renewal_and_a_round_trip(moment: str, restarts: bool) -> None:
    assert broken(stopped_holder(moment, restarts=restarts)) == []


@pytest.mark.parametrize("reloaded", ["first", "next", "nobody"])
def test_the_next_worker_s_first_record_covers_the_gate_that_a_longer_lease_has_left(reloaded: str) -> None:
    assert broken(shortened_lease(reloaded=reloaded)) == []


@pytest.mark.parametrize("situation", [wiped_arbiter, lambda: deleted_claim(blind=0)], ids=["all", "claim"])
def test_lost_records_are_waited_for(situation: Callable[[], Iterable[Outcome]]) -> None:
    assert broken(situation()) == []


def test_a_deleted_claim_whose_holder_cannot_look() -> None:
    """Nobody takes it, however long that lasts; and it comes back by itself as soon as the holder has looked."""
    assert broken(deleted_claim(blind=60 * SECOND)) == []
