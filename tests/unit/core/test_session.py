"""The session machine: what counts, what does not, and what closes everything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import Actions, ExtendGate, ReadRegister, SwapRegister, Tell
from haagent.core.namesake import patience_with
from haagent.core.records import Holder, SessionRecord
from haagent.core.register import Record
from haagent.core.session import PRESENCE, QUIET, Session, SessionParameters
from haagent.core.units import MILLISECOND, SECOND, Now

L, R, G = 2 * SECOND, SECOND // 2, 20 * MILLISECOND
PARAMETERS = SessionParameters("a", "inc", "host-a", L, R, G)


def at(seconds: float) -> Now:
    instant = 1000 * SECOND + round(seconds * SECOND)
    return Now(instant, instant)


def swap_in(actions: Actions) -> SwapRegister:
    (found,) = [action for action in actions if isinstance(action, SwapRegister)]
    return found


def deadline_in(actions: Actions) -> float | None:
    found = [action.until for action in actions if isinstance(action, ExtendGate)]
    return (found[-1] - 1000 * SECOND) / SECOND if found else None


def begin(session: Session, held: Record | None = None) -> SwapRegister:
    """Take a fresh session to its first write, at time 0."""
    session.activate(at(0), active=True)
    assert session.step(at(0)) == (ReadRegister("sessions/a"),)
    session.read(held, at(0))
    return swap_in(session.step(at(0)))


def established(answered: float = 0.01) -> tuple[Session, Record]:
    session = Session(PARAMETERS)
    first = begin(session)
    record = Record(first.value, "1")
    session.swapped(record, at(answered))
    return session, record


def of(holder: Holder, version: str = "9", **changes: object) -> Record:
    record = SessionRecord(holder, 7, L, R, "host-b", by="x")
    return Record(replace(record, **changes).encode(), version)  # type: ignore[arg-type]


def test_the_deadline_counts_from_before_the_write_was_sent() -> None:
    session = Session(PARAMETERS)
    first = begin(session)
    actions = session.swapped(Record(first.value, "1"), at(1.2))
    assert deadline_in(actions) == 2.0 - 0.02
    assert session.live(at(1.97))
    assert not session.live(at(1.98))


def test_a_renewal_is_due_every_r_and_swaps_exactly_the_last_record() -> None:
    session, record = established()
    assert session.step(at(0.49)) == ()
    renewal = swap_in(session.step(at(0.5)))
    assert renewal.expected == record
    assert deadline_in(session.swapped(Record(renewal.value, "2"), at(0.51))) == 2.5 - 0.02


def test_a_resumed_run_whose_lease_is_made_shorter_first_covers_the_gate_it_took_over() -> None:
    session = Session(replace(PARAMETERS, lease=5 * L, resumed=True))
    session.activate(at(0), active=True)
    session.step(at(0))
    session.parameters = replace(PARAMETERS, resumed=True)
    session.read(of(Holder("a", "inc")), at(0.1))
    first = swap_in(session.step(at(0.1)))
    assert SessionRecord.decode(first.value).lease == 5 * L, "the gate may run for that long"
    assert deadline_in(session.swapped(Record(first.value, "10"), at(0.2))) == 10.1 - 0.02
    second = swap_in(session.step(at(0.6)))
    assert SessionRecord.decode(second.value).lease == 5 * L - SECOND // 2, "what is left of it"


def test_success_after_the_deadline_extends_nothing() -> None:
    session, _ = established()
    renewal = swap_in(session.step(at(0.5)))
    session.step(at(1.99))  # the lease lapses
    late = session.swapped(Record(renewal.value, "2"), at(2.1))  # its t0 + L lies ahead all the same
    assert deadline_in(late) is None
    assert not session.live(at(2.1))


def test_a_write_sent_after_the_lapse_begins_a_new_term_on_the_unbroken_chain() -> None:
    session, _ = established()
    renewal = swap_in(session.step(at(0.5)))
    session.step(at(1.99))
    session.swapped(Record(renewal.value, "2"), at(2.1))
    again = swap_in(session.step(at(2.1)))
    assert deadline_in(session.swapped(Record(again.value, "3"), at(2.2))) == 4.1 - 0.02
    assert session.live(at(2.2))


def test_no_answer_changes_nothing_and_the_same_write_goes_again_with_its_first_t0() -> None:
    session, _ = established()
    renewal = swap_in(session.step(at(0.5)))
    session.unavailable("timeout", at(1.0))
    assert session.live(at(1.1))
    again = swap_in(session.step(at(1.1)))
    assert again == renewal
    assert deadline_in(session.swapped(Record(again.value, "2"), at(1.2))) == 2.5 - 0.02


def test_a_definite_conflict_suspends_at_once_and_asks() -> None:
    session, _ = established()
    session.step(at(0.5))
    assert session.conflicted(at(0.51)) == (ReadRegister("sessions/a"),)
    assert session.suspended
    assert not session.live(at(0.52))


def test_a_conflict_with_our_own_write_is_a_success_with_its_t0() -> None:
    session, _ = established()
    renewal = swap_in(session.step(at(0.5)))
    session.unavailable("timeout", at(0.9))
    session.step(at(1.0))
    session.conflicted(at(1.01))
    actions = session.read(Record(renewal.value, "2"), at(1.02))
    assert deadline_in(actions) == 2.5 - 0.02
    assert session.live(at(1.03))


def test_an_ended_session_is_lost_and_comes_back_under_another_incarnation() -> None:
    session, _ = established()
    session.step(at(0.5))
    session.conflicted(at(0.51))
    actions = session.read(of(session.holder, ended_by="b"), at(0.52))
    assert deadline_in(actions) is not None  # the gate's deadline is taken back
    assert session.incarnation == "inc.1"
    assert not session.live(at(0.53))
    fresh = SessionRecord.decode(swap_in(session.step(at(0.53))).value)
    assert fresh.holder == Holder("a", "inc.1")


def test_a_record_that_is_gone_is_not_revived() -> None:
    session, _ = established()
    session.step(at(0.5))
    session.conflicted(at(0.51))
    session.read(None, at(0.52))
    assert session.incarnation == "inc.1"
    assert swap_in(session.step(at(0.53))).expected is None


def test_an_older_record_of_ours_keeps_the_incarnation_but_breaks_the_chain() -> None:
    session, _ = established()
    session.step(at(0.5))
    session.conflicted(at(0.51))
    rolled_back = of(session.holder, seq=0)
    session.read(rolled_back, at(0.52))
    assert session.breaks == 1
    assert session.incarnation == "inc"
    assert not session.live(at(0.53))
    again = swap_in(session.step(at(0.53)))
    assert again.expected == rolled_back
    session.swapped(Record(again.value, "10"), at(0.55))
    assert session.live(at(0.56))


def test_a_twin_on_another_host_is_waited_for_and_noticed_when_it_renews() -> None:
    session = Session(PARAMETERS)
    session.activate(at(0), active=True)
    session.step(at(0))
    told = session.read(of(Holder("a", "other")), at(0))
    assert "another agent named a" in str(told)
    assert not [a for a in session.step(at(0)) if isinstance(a, SwapRegister)]
    clock = 0.0
    while clock < 5:  # the twin renews all the time: we never replace it
        clock += 0.5
        for action in session.step(at(clock)):
            assert isinstance(action, ReadRegister)
            session.read(of(Holder("a", "other"), version=str(clock)), at(clock))
    while clock < 8:  # it stops
        clock += 0.25
        for action in session.step(at(clock)):
            if isinstance(action, SwapRegister):
                assert clock >= 5 + 2.2
                return
            session.read(of(Holder("a", "other"), version="5.0"), at(clock))
    raise AssertionError("the dead twin was never replaced")


def test_a_namesake_that_may_live_on_promises_is_waited_for_in_its_own_rhythm() -> None:
    """It writes every QUIET, and its record says so; without electors or claims there is nothing to live on."""
    wait = L * 11 // 10
    quiet = SessionRecord(Holder("a", "other"), 7, L, QUIET, "host-b", ("a", "b"), ("VI_1",), by="x")
    assert patience_with(quiet) == QUIET * 3 // 2 + wait
    assert patience_with(replace(quiet, electors=())) == wait
    assert patience_with(replace(quiet, claims=(), renew=PRESENCE)) == wait


def test_a_namesake_that_is_in_the_way_is_told_of_once() -> None:
    session = Session(PARAMETERS)
    session.activate(at(0), active=True)
    told: Actions = session.step(at(0))
    for number in range(20):
        told += session.read(of(Holder("a", "other"), version=str(number)), at(number / 2))
        told += session.step(at((number + 1) / 2))
    assert str(told).count("another agent named a was seen on host host-b") == 1


@pytest.mark.parametrize(
    ("host", "seq", "usurped"),
    [("host-b", 3, True), ("host-b", 1, False), ("host-a", 3, False)],
    ids=["elsewhere", "old news", "same host"],
)
def test_a_session_lost_to_another_host_says_to_which(host: str, seq: int, usurped: bool) -> None:
    session, _ = established()
    session.step(at(0.5))
    session.conflicted(at(0.51))
    told = session.read(of(Holder("a", "other"), host=host, seq=seq), at(0.52))
    assert deadline_in(told) == -1000
    reports = {a.report.what: a.report.detail for a in told if isinstance(a, Tell)}  # type: ignore[union-attr]
    assert "lost" in reports
    assert ("usurped" in reports) is usurped
    assert "on host host-b" in reports.get("usurped", "on host host-b")


def test_no_write_is_due_later_than_the_record_says() -> None:
    """The one that is under way when the promises take over says R, so R it is until one says QUIET."""
    session, _ = established()
    renewal = swap_in(session.step(at(0.5)))
    session.quiet = True
    session.swapped(Record(renewal.value, "2"), at(0.51))
    quiet = swap_in(session.step(at(1.0)))
    assert SessionRecord.decode(quiet.value).renew == QUIET
    session.swapped(Record(quiet.value, "3"), at(1.01))
    assert session.step(at(1.5)) == ()


def test_the_same_host_is_not_waited_for() -> None:
    session = Session(PARAMETERS)
    first = begin(session, of(Holder("a", "earlier"), host="host-a"))
    assert SessionRecord.decode(first.value).holder.incarnation == "inc"


def test_a_hint_that_our_record_is_not_ours_closes_until_a_write_proves_it() -> None:
    session, _ = established()
    session.hinted(of(Holder("a", "someone")), at(0.1))
    assert not session.live(at(0.11))
    proof = swap_in(session.step(at(0.11)))
    session.swapped(Record(proof.value, "2"), at(0.13))
    assert session.live(at(0.14))


def test_a_proof_must_be_newer_than_the_doubt() -> None:
    session, _ = established()
    renewal = swap_in(session.step(at(0.5)))
    session.revalidate(at(0.51))
    session.swapped(Record(renewal.value, "2"), at(0.52))
    assert not session.valid_as_of(at(0.51).fast)
    proof = swap_in(session.step(at(0.52)))
    session.swapped(Record(proof.value, "3"), at(0.53))
    assert session.valid_as_of(at(0.51).fast)


def test_a_promise_renews_but_begins_no_term() -> None:
    session, _ = established()
    assert deadline_in(session.renewed_by_promise(at(1.0).fast, L, at(1.01))) == 3.0 - 0.02
    session.step(at(3.0))
    assert session.renewed_by_promise(at(3.1).fast, L, at(3.11)) == ()
    assert not session.live(at(3.12))


def test_quiet_sessions_write_rarely_and_say_so() -> None:
    session, _ = established()
    session.quiet = True
    renewal = swap_in(session.step(at(0.5)))
    assert SessionRecord.decode(renewal.value).renew == QUIET
    session.swapped(Record(renewal.value, "2"), at(0.51))
    assert session.next_deadline() == min(at(2.48).fast, at(0.5).fast + QUIET)


def test_a_clean_stop_ends_the_record_itself() -> None:
    session, _ = established()
    session.stop(at(0.1))
    last = swap_in(session.step(at(0.1)))
    assert SessionRecord.decode(last.value).ended_by == "a"
    session.swapped(Record(last.value, "2"), at(0.11))
    assert session.closed
