"""The state machine's own promises, beside the RFC's rules (tests/rfc9568): totality, priorities, waiting."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.units import CENTISECOND, SECOND
from haagent.core.virtual_router import (
    Backup,
    Initialize,
    Master,
    Output,
    RouterParameters,
    VirtualRouter,
    master_down_interval,
)

OURS = IPv4Address("192.0.2.251")
PEER = IPv4Address("192.0.2.252")
T = 77 * SECOND


def router(priority: int = 100, **parameters: object) -> VirtualRouter:
    fields = {"version": 3, "vrid": 51, "priority": priority, "advertisement_interval": SECOND} | parameters
    return VirtualRouter(RouterParameters(**fields), OURS)  # type: ignore[arg-type]


def started(priority: int = 100, **parameters: object) -> VirtualRouter:
    fresh = router(priority, **parameters)
    fresh.startup(T)
    return fresh


def test_a_change_of_priority_moves_the_running_timer_by_its_skew() -> None:
    fresh = started(100)
    fresh.set_priority(200, T + SECOND)
    assert fresh.priority == 200
    assert fresh.next_deadline() == T + master_down_interval(3, 200, SECOND)
    fresh.set_priority(100, T + SECOND)
    assert fresh.next_deadline() == T + master_down_interval(3, 100, SECOND)


def test_a_change_of_priority_after_a_resignation_moves_the_shorter_timer() -> None:
    fresh = started(100)
    fresh.advertisement_received(PEER, 0, SECOND, T)
    fresh.set_priority(200, T)
    assert fresh.next_deadline() == T + 218_750_000


def test_an_expired_timer_stays_expired_when_the_priority_falls() -> None:
    fresh = started(200)
    late = T + master_down_interval(3, 200, SECOND)
    fresh.set_priority(1, late)
    assert fresh.wants_master(late)


def test_a_new_priority_is_compared_at_once() -> None:
    fresh = started(100)
    fresh.set_priority(50, T)
    fresh.advertisement_received(PEER, 60, SECOND, T + SECOND)
    assert fresh.next_deadline() == T + SECOND + master_down_interval(3, 50, SECOND)


def test_a_priority_that_means_resigning_is_our_own_bug() -> None:
    for priority in (0, 256):
        with pytest.raises(AssertionError):
            router().set_priority(priority, T)


def test_the_number_of_missed_advertisements_can_be_set() -> None:
    assert started(100, down_timer_adverts=1).next_deadline() == T + 1_609_375_000


def test_startup_counts_only_once() -> None:
    fresh = started()
    before = fresh.state
    assert fresh.startup(T + SECOND) == ()
    assert fresh.state is before


def test_an_advertisement_to_a_backup_returns_the_shared_empty_tuple() -> None:
    fresh = started()
    first = fresh.advertisement_received(PEER, 200, SECOND, T)
    assert first is fresh.advertisement_received(PEER, 1, SECOND, T)
    assert first == ()


def test_a_router_that_waits_for_permission_is_master_from_the_moment_it_gets_it() -> None:
    fresh = started()
    late = T + 50 * SECOND
    assert fresh.wants_master(late)
    assert fresh.deadline_reached(late)[0] is Output.SEND_ADVERTISEMENT
    assert fresh.state == Master(adver_at=late + SECOND, answer_at=late)


def test_better_evidence_than_silence_expires_the_timer_of_a_backup_only() -> None:
    fresh = started()
    fresh.expire(T + SECOND)
    assert fresh.wants_master(T + SECOND)
    assert fresh.next_deadline() == T + SECOND
    fresh.expire(T + 2 * SECOND)
    assert fresh.next_deadline() == T + SECOND
    for other in (router(), started(255)):
        before = other.state
        other.expire(T)
        assert other.state is before


def test_a_source_of_the_other_family_is_compared_not_tripped_over() -> None:
    fresh = started()
    fresh.deadline_reached(T + 4 * SECOND)
    fresh.advertisement_received(IPv6Address("fe80::1"), 100, SECOND, T + 4 * SECOND)
    assert isinstance(fresh.state, Backup)


steps = st.lists(
    st.tuples(
        st.sampled_from(["startup", "wait", "shutdown", "down", "deadline", "advert", "priority"]),
        st.integers(0, 255),
        st.integers(1, 4095).map(lambda cs: cs * CENTISECOND),
        st.integers(0, 5 * SECOND),
    ),
    max_size=40,
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.sampled_from([2, 3]),
    st.integers(1, 255),
    st.booleans(),
    st.sampled_from([0, 3 * SECOND]),
    st.none() | st.booleans(),
    steps,
)
def test_any_order_of_events_keeps_the_promises(
    version: int,
    priority: int,
    preempt: bool,
    delay: int,
    silent: bool | None,
    events: list[tuple[str, int, int, int]],
) -> None:
    fresh = router(
        priority, version=version, preempt_mode=preempt, preempt_delay=delay, lower_priority_no_advert=silent
    )
    now, installed = T, False
    for kind, number, interval, pause in events:
        now += pause
        outputs = perform(fresh, kind, number, interval, now)
        if Output.INSTALL_ADDRESSES in outputs:
            assert not installed
            installed = True
        if Output.REMOVE_ADDRESSES in outputs:
            assert installed
            installed = False
        if Output.RESIGN in outputs:
            assert outputs == (Output.RESIGN, Output.REMOVE_ADDRESSES)
        # Addresses are there exactly while it is Master, and a timer runs exactly while it takes part.
        assert installed is isinstance(fresh.state, Master)
        assert (fresh.next_deadline() is None) is isinstance(fresh.state, Initialize)


def perform(fresh: VirtualRouter, kind: str, number: int, interval: int, now: int) -> tuple[Output, ...]:
    match kind:
        case "startup":
            return fresh.startup(now)
        case "wait":
            return fresh.startup(now, owner_waits=True)
        case "shutdown":
            return fresh.shutdown(now)
        case "down":
            return fresh.interface_down(now)
        case "deadline":
            return fresh.deadline_reached(now)
        case "priority":
            fresh.set_priority(max(1, number), now)
            return ()
        case _:
            source = IPv4Address(int(OURS) + number % 3 - 1)
            return fresh.advertisement_received(source, number, interval, now)


def heard(fresh: VirtualRouter, *priorities: int, source: IPv4Address = PEER) -> bool:
    """Let a Backup hear one advertisement a second; return whether its timer was never reset by the last one."""
    for number, priority in enumerate(priorities, 1):
        fresh.advertisement_received(source, priority, SECOND, T + number * SECOND)
    state = fresh.state
    assert isinstance(state, Backup)
    return state.master_down_at < T + len(priorities) * SECOND + master_down_interval(
        3, fresh.priority, SECOND
    )


@pytest.mark.parametrize(
    ("priorities", "replaced"),
    [
        ((90, 90), False),  # it was never better: we only came back
        ((150, 90), True),
        ((150, 120), False),  # lowered, and still not worse than we
        ((150, 90, 150), False),
        ((150, 0, 90), False),  # another time as Master
        ((80, 90, 85), True),
    ],
)
def test_a_master_that_sinks_is_replaced_without_preemption(
    priorities: tuple[int, ...], replaced: bool
) -> None:
    fresh = started(100, preempt_mode=False, preempt_lowered=True)
    assert heard(fresh, *priorities) is replaced
    assert fresh.preempts is (priorities in ((150, 90), (150, 120), (80, 90, 85)))
    assert heard(started(100, preempt_mode=False), *priorities) is False


def test_a_backup_that_was_away_does_not_measure_by_what_it_heard_before() -> None:
    fresh = started(100, preempt_mode=False, preempt_lowered=True)
    heard(fresh, 150)
    fresh.interface_down(T + SECOND)
    fresh.startup(T + SECOND)
    assert heard(fresh, 90) is False
    assert not fresh.preempts


def test_another_master_is_not_measured_by_the_one_before() -> None:
    fresh = started(100, preempt_mode=False, preempt_lowered=True)
    heard(fresh, 150)
    assert heard(fresh, 90, source=IPv4Address("192.0.2.253")) is False
    assert not fresh.preempts
