"""The claim machine: what makes a node the holder when the fate of its swap was unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import ReadRegister, SwapRegister
from haagent.core.claim import Claim
from haagent.core.neighbours import Neighbours
from haagent.core.records import Bid, ClaimRecord, ClaimState, Holder
from haagent.core.register import Record
from haagent.core.witnesses import Witnesses
from tests.unit.core.test_session import at, established, swap_in

REGISTER = "claims/VI_1"
RELEASED = Record(ClaimRecord(ClaimState.RELEASED, 4, by="b").encode(), "1")


@pytest.fixture
def doubtful() -> tuple[Claim, SwapRegister]:
    """A claim whose taking got no answer, and a conflict when it was sent again."""
    session, _ = established()
    neighbours = Neighbours(session, lambda _seen: None, lambda _node: frozenset())
    claim = Claim("VI_1", session, neighbours.observe, Witnesses(neighbours))
    assert claim.step(at(0.02)) == (ReadRegister(REGISTER),)
    claim.read(RELEASED, at(0.03))
    taking = swap_in(claim.take(at(0.03)))
    claim.unavailable(at(0.1))
    assert swap_in(claim.step(at(0.5))) == taking
    assert claim.conflicted() == (ReadRegister(REGISTER),)
    return claim, taking


def test_a_read_that_shows_our_own_writing_does_not_make_us_the_holder_but_the_swap_after_it_does(
    doubtful,
) -> None:
    claim, taking = doubtful
    shown = Record(taking.value, "2")
    confirming = swap_in(claim.read(shown, at(0.6)))
    assert confirming.expected == shown
    assert claim.uncertain
    assert not claim.held
    claim.swapped(Record(confirming.value, "3"), at(0.7))
    assert claim.held
    assert claim.usable
    assert claim.epoch == 5


def test_it_was_a_read_of_a_history_that_the_store_has_lost(doubtful) -> None:
    claim, taking = doubtful
    claim.read(Record(taking.value, "2"), at(0.6))
    assert claim.conflicted() == (ReadRegister(REGISTER),)
    other = ClaimRecord(ClaimState.HELD, 5, Holder("b", "inc"), by="b")
    claim.read(Record(other.encode(), "2"), at(0.7))
    assert not claim.held
    assert not claim.uncertain
    assert claim.holder == Holder("b", "inc")


def test_a_bid_upon_our_doubtful_success_does_not_cost_us_the_claim(doubtful) -> None:
    claim, taking = doubtful
    bid = Bid(Holder("b", "inc"), 200)
    taken = replace(ClaimRecord.decode(taking.value), bid=bid, by="b")
    confirming = swap_in(claim.read(Record(taken.encode(), "3"), at(0.6)))
    claim.swapped(Record(confirming.value, "4"), at(0.7))
    assert claim.held
    assert claim.bid == bid
