"""The watch over other nodes' sessions: when it looks again."""

from __future__ import annotations

from haagent.core.events import RegisterChanged, RegisterRead, RegisterUnavailable
from haagent.core.neighbours import Neighbours
from haagent.core.observation import patience
from haagent.core.records import Holder, SessionRecord
from haagent.core.register import Record
from haagent.core.session import Session, SessionParameters
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, Now

LEASE = 200 * MILLISECOND
BEGIN: Instant = 1_000 * SECOND


def at(after: Duration) -> Now:
    return Now(BEGIN + after, BEGIN + after)


def neighbours() -> Neighbours:
    parameters = SessionParameters("b", "b1", "host-b", LEASE, LEASE // 4, LEASE // 20)
    return Neighbours(Session(parameters), lambda _seen: None, lambda _node: frozenset())


def record(node: str, seq: int, renew: Duration) -> Record:
    session = SessionRecord(Holder(node, f"{node}1"), seq, LEASE, renew, f"host-{node}", by=f"{node}{seq}")
    return Record(session.encode(), str(seq))


def test_the_expiry_of_a_session_that_writes_seldom_is_looked_for() -> None:
    """Under failsafe a holder writes every three seconds, and its lease is much shorter (seed crash 71908)."""
    watch = neighbours()
    watch.answered("a", RegisterRead("sessions/a", record("a", 1, 3 * SECOND)), at(0))
    watch.watch(["a"], at(2 * LEASE))  # late by now, as always between two writes
    watch.answered("a", RegisterChanged("sessions/a", record("a", 2, 3 * SECOND)), at(3 * SECOND))
    assert watch.watch_at == BEGIN + 3 * SECOND + patience(LEASE)
    watch.watch(["a"], at(3 * SECOND + patience(LEASE)))
    assert watch.stirred[-1:] == ["a"]


def test_what_was_heard_puts_the_look_off() -> None:
    """A BACKUP that hears of every renewal has nothing to look at in between."""
    watch = neighbours()
    watch.begin(["a"], at(0))
    assert watch.watch_at == BEGIN
    for seq in range(1, 5):
        now = at(seq * LEASE // 4)
        watch.answered("a", RegisterChanged("sessions/a", record("a", seq, LEASE // 4)), now)
        assert watch.watch_at is not None
        assert watch.watch_at > now.fast + LEASE // 4


def test_an_arbiter_that_does_not_answer_brings_the_look_forward() -> None:
    watch = neighbours()
    watch.answered("a", RegisterRead("sessions/a", record("a", 1, SECOND)), at(0))
    before = watch.watch_at
    watch.arbiter_away(at(MILLISECOND))
    watch.answered("a", RegisterUnavailable("sessions/a", swap=False, error="no answer"), at(MILLISECOND))
    assert before is not None
    assert watch.watch_at is not None
    assert watch.watch_at < before
    assert watch.watch(["a"], at(before - BEGIN)) != ()  # it is read again


def test_a_node_that_a_claim_newly_names_is_looked_at() -> None:
    watch = neighbours()
    watch.answered("a", RegisterChanged("sessions/a", record("a", 1, SECOND)), at(0))
    watch.watch([], at(LEASE * 2))  # nobody names it: forgotten
    assert watch.watch_at is None
    watch.begin(["a", "b"], at(LEASE * 3))
    assert watch.watch_at == BEGIN + LEASE * 3


def test_a_record_that_is_gone_may_have_said_a_lease_that_was_never_seen_there() -> None:
    """Its last one was not heard of: seed regrouped 933 of a later core."""
    watch = neighbours()
    watch.answered("a", RegisterRead("sessions/a", record("a", 1, SECOND)), at(0))
    watch.session.longest_lease = 10 * LEASE  # as another node showed
    watch.answered("a", RegisterChanged("sessions/a", None), at(LEASE))
    observation = watch.observe("a")
    assert not observation.expired(at(LEASE + patience(LEASE)).slow)
    assert observation.expired(at(LEASE + patience(10 * LEASE)).slow)
