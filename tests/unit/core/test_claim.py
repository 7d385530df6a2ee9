"""The claim machine: what makes a node the holder when the fate of its swap was unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import ReadRegister, SwapRegister
from haagent.core.claim import Claim
from haagent.core.neighbours import Neighbours
from haagent.core.records import Bid, ClaimRecord, ClaimState, Holder
from haagent.core.register import Record
from haagent.core.session import Session
from haagent.core.witnesses import Witnesses
from tests.unit.core.test_session import at, established, swap_in

REGISTER = "claims/VI_1"
RELEASED = Record(ClaimRecord(ClaimState.RELEASED, 4, by="b").encode(), "1")


def free() -> tuple[Claim, Session, Record]:
    """A claim that may be taken, our session, and what the session's register holds."""
    session, record = established()
    neighbours = Neighbours(session, lambda _seen: None, lambda _node: frozenset())
    claim = Claim("VI_1", session, neighbours.observe, Witnesses(neighbours))
    assert claim.step(at(0.02)) == (ReadRegister(REGISTER),)
    claim.read(RELEASED, at(0.03))
    return claim, session, record


@pytest.fixture
def doubtful() -> tuple[Claim, SwapRegister]:
    """A claim whose taking got no answer, and a conflict when it was sent again."""
    claim, _, _ = free()
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


def test_a_success_that_is_learned_after_the_lease_ran_out_is_confirmed_by_a_swap_before_it_counts() -> None:
    claim, session, _ = free()
    taking = swap_in(claim.take(at(0.03)))
    renewal = swap_in(session.step(at(2.5)))  # and lapses
    claim.swapped(Record(taking.value, "2"), at(2.5))
    assert claim.held
    assert not claim.usable
    assert claim.step(at(2.5)) == ()  # not while the session is dead
    session.swapped(Record(renewal.value, "2"), at(2.51))
    assert session.live(at(2.52))
    assert not claim.usable
    confirming = swap_in(claim.step(at(2.52)))
    assert confirming.expected == Record(taking.value, "2")
    claim.swapped(Record(confirming.value, "3"), at(2.53))
    assert claim.usable
    assert claim.epoch == 5


def test_what_was_won_before_the_lease_ran_out_is_not_used_after_it() -> None:
    claim, session, _ = free()
    taking = swap_in(claim.take(at(0.03)))
    claim.swapped(Record(taking.value, "2"), at(0.04))
    assert claim.usable
    renewal = swap_in(session.step(at(2.5)))
    session.swapped(Record(renewal.value, "2"), at(2.51))
    assert not claim.usable
    assert swap_in(claim.step(at(2.52))).expected == Record(taking.value, "2")


@pytest.mark.parametrize("first", ["hint", "silence"])
def test_a_swap_that_a_hint_shows_is_sent_again_at_once_when_its_answer_is_missing(first: str) -> None:
    claim, _, _ = free()
    taking = swap_in(claim.take(at(0.03)))
    shown = Record(taking.value, "2")
    if first == "hint":
        claim.hinted(shown, at(0.1))
        assert claim.step(at(0.1)) == ()  # one at a time
        claim.unavailable(at(0.2))
    else:
        claim.unavailable(at(0.1))
        assert claim.step(at(0.1)) == ()
        claim.hinted(shown, at(0.2))
    assert claim.next_deadline() == at(0.2).fast
    assert swap_in(claim.step(at(0.2))) == taking
    assert not claim.held


def test_a_hint_hastens_one_attempt_only() -> None:
    claim, _, _ = free()
    taking = swap_in(claim.take(at(0.03)))
    claim.hinted(Record(taking.value, "2"), at(0.1))
    claim.unavailable(at(0.2))
    claim.step(at(0.2))
    claim.unavailable(at(0.2))  # refused at once: whoever asks again at once asks without end
    assert claim.step(at(0.2)) == ()
