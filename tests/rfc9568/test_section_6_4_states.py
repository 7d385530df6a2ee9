"""RFC 9568 6.4 and RFC 3768 6.4: every transition, its outputs in order and its timers to the nanosecond."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from builders import LOWER_PEER, OURS, PEER, START, V2, V3, backup, expecting, master, receive, router
from vectors import Row, each

from haagent.core.packet import Discard
from haagent.core.units import CENTISECOND, SECOND
from haagent.core.virtual_router import Backup, Initialize, Master, Output, VirtualRouter

BOTH = pytest.mark.parametrize("version", [2, 3])
DOWN_100 = 3_609_375_000
SKEW_100 = 609_375_000
TAKE_OVER = (Output.SEND_ADVERTISEMENT, Output.INSTALL_ADDRESSES, Output.ANNOUNCE_ADDRESSES)


# 6.4.1 Initialize


@BOTH
def test_SM_I01_startup_leads_to_backup_and_sends_nothing(version: int) -> None:
    fresh = router(version)
    assert fresh.startup(START) == ()
    assert fresh.state == Backup(SECOND, START + DOWN_100)
    assert fresh.next_deadline() == START + DOWN_100


@BOTH
def test_SM_I02_startup_of_an_owner_leads_to_master_at_once(version: int) -> None:
    fresh = router(version, 255)
    assert fresh.startup(START) == TAKE_OVER
    assert isinstance(fresh.state, Master)
    assert fresh.next_deadline() == START + SECOND


def test_SM_I02_an_owner_can_be_made_to_wait_as_a_backup_that_wants_master() -> None:
    fresh = router(3, 255)
    assert fresh.startup(START, owner_waits=True) == ()
    assert fresh.wants_master(START)
    assert fresh.deadline_reached(START + 5 * SECOND) == TAKE_OVER
    assert fresh.next_deadline() == START + 6 * SECOND


@BOTH
def test_SM_I03_shutdown_does_nothing(version: int) -> None:
    fresh = router(version)
    assert fresh.shutdown(START) == ()
    assert fresh.state == Initialize()


@BOTH
@pytest.mark.parametrize("priority", [0, 1, 100, 200, 255])
def test_SM_I04_advertisements_are_ignored(version: int, priority: int) -> None:
    fresh = router(version)
    assert fresh.advertisement_received(PEER, priority, SECOND, START) == ()
    assert fresh.state == Initialize()


@BOTH
def test_SM_I05_stale_timers_are_ignored(version: int) -> None:
    fresh = router(version)
    assert fresh.next_deadline() is None
    assert not fresh.wants_master(START)
    assert fresh.deadline_reached(START) == ()
    assert fresh.state == Initialize()


# 6.4.2 Backup


@BOTH
def test_SM_B01_shutdown_is_silent(version: int) -> None:
    fresh = backup(version)
    assert fresh.shutdown(START) == ()
    assert fresh.state == Initialize()
    assert fresh.next_deadline() is None


@BOTH
def test_SM_B02_the_down_timer_leads_to_master_advertisement_first(version: int) -> None:
    fresh = router(version)
    fresh.startup(START)
    assert fresh.deadline_reached(START + DOWN_100 - 1) == ()
    assert not fresh.wants_master(START + DOWN_100 - 1)
    assert fresh.wants_master(START + DOWN_100)
    assert fresh.deadline_reached(START + DOWN_100) == TAKE_OVER
    assert fresh.next_deadline() == START + DOWN_100 + SECOND


@BOTH
@pytest.mark.parametrize(("priority", "skew"), [
    (1, 996_093_750), (100, SKEW_100), (200, 218_750_000), (254, 7_812_500), (255, 3_906_250),
])  # fmt: skip
def test_SM_B03_a_resigning_master_leaves_skew_time(version: int, priority: int, skew: int) -> None:
    fresh = backup(version, priority)
    assert fresh.advertisement_received(PEER, 0, SECOND, START) == ()
    assert fresh.state == Backup(SECOND, START + skew)


def test_SM_B04_a_resigning_master_teaches_no_interval() -> None:
    fresh = backup()
    fresh.advertisement_received(PEER, 0, 4 * SECOND, START)
    assert fresh.state == Backup(SECOND, START + SKEW_100)


@pytest.mark.parametrize("source", [PEER, LOWER_PEER, OURS])
@pytest.mark.parametrize("priority", [100, 101, 200, 255])
def test_SM_B05_an_equal_or_higher_priority_re_arms_whatever_its_address(
    priority: int, source: IPv4Address
) -> None:
    fresh = backup()
    assert fresh.advertisement_received(source, priority, 4 * SECOND, START) == ()
    assert fresh.state == Backup(4 * SECOND, START + 4 * DOWN_100)


def test_SM_B05_it_re_arms_a_timer_that_has_long_expired() -> None:
    fresh = backup()
    fresh.advertisement_received(PEER, 200, SECOND, START)
    late = START + 60 * SECOND
    assert fresh.wants_master(late)
    fresh.advertisement_received(PEER, 200, SECOND, late)
    assert not fresh.wants_master(late)
    assert fresh.deadline_reached(late) == ()
    assert fresh.next_deadline() == late + DOWN_100


@BOTH
@pytest.mark.parametrize("priority", [1, 50, 99])
def test_SM_B06_a_lower_priority_is_discarded_when_preempting(version: int, priority: int) -> None:
    fresh = backup(version)
    before = fresh.state
    assert fresh.advertisement_received(PEER, priority, SECOND // 2, START + SECOND) == ()
    assert fresh.state is before


@BOTH
@pytest.mark.parametrize("priority", [1, 50, 99])
def test_SM_B07_a_lower_priority_re_arms_when_not_preempting(version: int, priority: int) -> None:
    fresh = backup(version, preempt_mode=False)
    fresh.advertisement_received(PEER, priority, SECOND, START)
    assert isinstance(fresh.state, Backup)
    assert fresh.state.master_down_at == START + DOWN_100


def test_SM_B08_interval_zero_never_reaches_the_machine() -> None:
    data = bytes.fromhex("313364010000053ec0000201")
    assert receive(data, expecting(V3)) is Discard.INTERVAL_ZERO


def test_SM_B09_a_v2_interval_mismatch_never_reaches_the_machine() -> None:
    data = bytes.fromhex("2133640100ffb7cac00002010000000000000000")
    assert receive(data, expecting(V2)) is Discard.INTERVAL


@BOTH
def test_SM_B10_a_stale_adver_timer_is_ignored(version: int) -> None:
    fresh = router(version)
    fresh.startup(START)
    before = fresh.state
    assert fresh.deadline_reached(START + SECOND) == ()
    assert fresh.state is before


@BOTH
def test_SM_B13_interface_down_leads_to_initialize_in_silence(version: int) -> None:
    fresh = backup(version)
    assert fresh.interface_down(START) == ()
    assert fresh.state == Initialize()


# 6.4.3 Master (RFC 9568: Active)


@BOTH
def test_SM_A01_shutdown_resigns_then_removes_the_addresses(version: int) -> None:
    fresh = master(version)
    assert fresh.shutdown(START) == (Output.RESIGN, Output.REMOVE_ADDRESSES)
    assert fresh.state == Initialize()
    assert fresh.next_deadline() is None


@BOTH
def test_SM_A02_the_adver_timer_sends_and_re_arms(version: int) -> None:
    fresh = master(version)
    assert fresh.deadline_reached(START + SECOND - 1) == ()
    assert fresh.deadline_reached(START + SECOND) == (Output.SEND_ADVERTISEMENT,)
    assert fresh.next_deadline() == START + 2 * SECOND


def test_SM_A03_after_learning_it_still_sends_at_its_own_interval() -> None:
    fresh = backup()
    fresh.advertisement_received(PEER, 200, SECOND // 2, START)
    at = START + DOWN_100 // 2 + 1
    assert fresh.deadline_reached(at) == TAKE_OVER
    assert fresh.deadline_reached(at + SECOND // 2) == ()
    assert fresh.deadline_reached(at + SECOND) == (Output.SEND_ADVERTISEMENT,)


@BOTH
def test_SM_A04_a_resigning_router_is_answered_at_once_and_the_timer_reset(version: int) -> None:
    fresh = master(version)
    at = START + SECOND // 2
    assert fresh.advertisement_received(PEER, 0, SECOND, at) == (Output.SEND_ADVERTISEMENT,)
    assert fresh.next_deadline() == at + SECOND


@BOTH
@pytest.mark.parametrize("preempt", [True, False])
@pytest.mark.parametrize("source", [PEER, LOWER_PEER])
def test_SM_A05_a_higher_priority_makes_it_backup(version: int, preempt: bool, source: IPv4Address) -> None:
    fresh = master(version, preempt_mode=preempt)
    assert fresh.advertisement_received(source, 101, SECOND, START) == (Output.REMOVE_ADDRESSES,)
    assert fresh.state == Backup(SECOND, START + DOWN_100)


def test_SM_A05_it_learns_the_winners_interval() -> None:
    fresh = master()
    fresh.advertisement_received(PEER, 200, 4 * SECOND, START)
    assert fresh.state == Backup(4 * SECOND, START + 4 * DOWN_100)


def test_SM_A05_it_can_send_one_more_advertisement_before_it_yields() -> None:
    fresh = master(higher_priority_send_advert=True)
    outputs = fresh.advertisement_received(PEER, 200, SECOND, START)
    assert outputs == (Output.SEND_ADVERTISEMENT, Output.REMOVE_ADDRESSES)
    assert isinstance(fresh.state, Backup)


@BOTH
@pytest.mark.parametrize("source", ["192.0.2.252", "192.0.3.1", "200.0.0.1"])
def test_SM_A06_an_equal_priority_and_a_greater_address_make_it_backup(version: int, source: str) -> None:
    fresh = master(version)
    assert fresh.advertisement_received(IPv4Address(source), 100, SECOND, START) == (Output.REMOVE_ADDRESSES,)
    assert fresh.state == Backup(SECOND, START + DOWN_100)


def test_SM_A06_without_a_primary_address_it_yields() -> None:
    fresh = master(primary=None)
    assert fresh.advertisement_received(LOWER_PEER, 100, SECOND, START) == (Output.REMOVE_ADDRESSES,)


@pytest.mark.parametrize(
    ("priority", "source"),
    [(50, "192.0.2.252"), (100, "192.0.2.250"), (100, "10.255.255.255"), (100, "99.0.0.1")],
)
def test_SM_A07_a_lesser_router_is_answered_at_once(priority: int, source: str) -> None:
    fresh = master()
    outputs = fresh.advertisement_received(IPv4Address(source), priority, SECOND, START + SECOND // 2)
    assert outputs == (Output.SEND_ADVERTISEMENT,)
    assert isinstance(fresh.state, Master)


def test_SM_A07_unless_told_to_stay_silent() -> None:
    fresh = master(lower_priority_no_advert=True)
    assert fresh.advertisement_received(PEER, 50, SECOND, START) == ()
    assert isinstance(fresh.state, Master)


def test_SM_A08_v2_is_silent_by_its_rfc_and_answers_like_keepalived_if_told() -> None:
    assert master(2).advertisement_received(PEER, 50, SECOND, START) == ()
    keepalived = master(2, lower_priority_no_advert=False)
    assert keepalived.advertisement_received(PEER, 50, SECOND, START) == (Output.SEND_ADVERTISEMENT,)


def test_SM_A09_an_equal_address_is_not_greater() -> None:
    fresh = master()
    assert fresh.advertisement_received(OURS, 100, SECOND, START) == (Output.SEND_ADVERTISEMENT,)
    assert isinstance(fresh.state, Master)


def test_SM_A10_between_two_owners_the_election_decides() -> None:
    fresh = master(3, 255)
    assert fresh.advertisement_received(LOWER_PEER, 255, SECOND, START) == (Output.SEND_ADVERTISEMENT,)
    assert fresh.advertisement_received(PEER, 255, SECOND, START) == (Output.REMOVE_ADDRESSES,)
    assert fresh.state == Backup(SECOND, START + 3_003_906_250)


@BOTH
def test_SM_A11_a_stale_down_timer_is_ignored(version: int) -> None:
    fresh = master(version)
    before = fresh.state
    assert not fresh.wants_master(START + SECOND // 2)
    assert fresh.deadline_reached(START + SECOND // 2) == ()
    assert fresh.state is before


@BOTH
def test_SM_A15_interface_down_leads_to_initialize_without_a_word(version: int) -> None:
    fresh = master(version)
    assert fresh.interface_down(START) == (Output.REMOVE_ADDRESSES,)
    assert fresh.state == Initialize()


@pytest.mark.parametrize(
    ("ours", "theirs", "yields"),
    [("fe80::10", "fe80::99", True), ("fe80::10", "fe80::5", False), ("fe80::ffff", "fe80::1:0", True)],
)
def test_SM_A17_ipv6_addresses_compare_as_numbers(ours: str, theirs: str, yields: bool) -> None:
    fresh = master(primary=IPv6Address(ours))
    fresh.advertisement_received(IPv6Address(theirs), 100, SECOND, START)
    assert isinstance(fresh.state, Backup) is yields


def test_SM_A18_answering_a_lower_priority_does_not_move_the_adver_timer() -> None:
    fresh = master()
    fresh.advertisement_received(PEER, 50, SECOND, START + SECOND // 2)
    assert fresh.next_deadline() == START + SECOND


# Preemption


def test_SM_P01_preempt_mode_is_on_by_default() -> None:
    assert router().parameters.preempt_mode


def test_SM_P02_a_better_router_waits_its_own_down_interval_before_it_preempts() -> None:
    fresh = router(3, 150)
    fresh.startup(START)
    for second in (1, 2, 3):
        fresh.advertisement_received(PEER, 100, SECOND, START + second * SECOND)
    assert fresh.next_deadline() == START + 3_414_062_500


def test_SM_P03_without_preemption_it_stays_backup_as_long_as_advertisements_come() -> None:
    fresh = router(3, 150, preempt_mode=False)
    fresh.startup(START)
    for second in range(1, 60):
        now = START + second * SECOND
        assert fresh.deadline_reached(now) == ()
        fresh.advertisement_received(PEER, 1, SECOND, now)
    assert fresh.next_deadline() == START + 59 * SECOND + 3_414_062_500


def test_SM_P04_an_owner_always_preempts() -> None:
    fresh = backup(3, 255, preempt_mode=False, preempt_delay=60 * SECOND)
    before = fresh.state
    fresh.advertisement_received(PEER, 254, SECOND, START)
    assert fresh.state is before


def delayed(adverts: list[int]) -> VirtualRouter:
    """Return a router of priority 150 with a preempt delay of 3 s after adverts of 100 at these milliseconds."""
    fresh = router(3, 150, preempt_delay=3 * SECOND)
    fresh.startup(START)
    for at in adverts:
        fresh.advertisement_received(PEER, 100, SECOND, START + at * SECOND // 1000)
    return fresh


def test_SM_P05_the_preempt_delay_counts_from_the_first_lower_advertisement() -> None:
    # keepalived's own timeline: starts at 5.0, hears 100 from 5.6283 on, becomes Master at 12.04 s.
    during = delayed([628, 1628, 2628])
    assert during.next_deadline() == START + 2_628 * SECOND // 1000 + 3_414_062_500
    after = delayed([628, 1628, 2628, 3627, 4628, 5628, 6628])
    assert after.next_deadline() == START + 3_627 * SECOND // 1000 + 3_414_062_500
    assert after.deadline_reached(START + 7_042 * SECOND // 1000) == TAKE_OVER


def test_SM_P05_the_delay_ends_to_the_nanosecond() -> None:
    ends = START + 4 * SECOND
    for now, deadline in ((ends - 1, ends - 1 + 3_414_062_500), (ends, START + SECOND + 3_414_062_500)):
        fresh = delayed([1000])
        fresh.advertisement_received(PEER, 100, SECOND, now)
        assert fresh.next_deadline() == deadline


def test_SM_P05_a_better_master_ends_the_delay() -> None:
    fresh = delayed([628])
    fresh.advertisement_received(PEER, 200, SECOND, START + SECOND)
    fresh.advertisement_received(PEER, 100, SECOND, START + 9 * SECOND)
    assert fresh.state == Backup(SECOND, START + 9 * SECOND + 3_414_062_500, START + 12 * SECOND)


# The whole table


def prepared(row: Row, version: int) -> VirtualRouter:
    config = row["config"]
    ours = config["primary_address"]
    fresh = router(
        version,
        config["priority"],
        primary=IPv6Address(ours) if ":" in ours else IPv4Address(ours),
        advertisement_interval=config["advertisement_interval_cs"] * CENTISECOND,
        preempt_mode=config["preempt"],
    )
    learned = (
        row["context"].get("active_adver_interval_cs", config["advertisement_interval_cs"]) * CENTISECOND
    )
    if row["state"] == "Backup":
        fresh._state = Backup(learned, START + 3 * SECOND)
    elif row["state"] == "Active":
        fresh._state = Master(START + SECOND, START)
    return fresh


def perform(fresh: VirtualRouter, event: Row) -> tuple[tuple[Output, ...], int]:
    """Return the outputs and the time of the event; timers that the row calls stale have not expired."""
    match event["type"]:
        case "startup":
            return fresh.startup(START), START
        case "shutdown":
            return fresh.shutdown(START), START
        case "interface_down":
            return fresh.interface_down(START), START
        case "adver_timer":
            now = START + SECOND
            return fresh.deadline_reached(now), now
        case "active_down_timer":
            now = START + 3 * SECOND if isinstance(fresh.state, Backup) else START
            return fresh.deadline_reached(now), now
        case _:
            source = event["src"]
            address = IPv6Address(source) if ":" in source else IPv4Address(source)
            interval = event["max_adver_int_cs"] * CENTISECOND
            return fresh.advertisement_received(address, event["priority"], interval, START), START


SPOKEN = {Output.RESIGN: "advert:0", Output.ANNOUNCE_ADDRESSES: "announce"}
NOT_OURS = {"arp_request", "neighbor_solicitation", "ip_packet", "config"}  # the kernel's, and instance's


@each("fsm-matrix.jsonl", keep=lambda row: row["event"]["type"] not in NOT_OURS)
def test_the_matrix(row: Row) -> None:
    for version in row["versions"]:
        fresh = prepared(row, version)
        before, deadline = fresh.state, fresh.next_deadline()
        outputs, now = perform(fresh, row["event"])
        silent = {Output.INSTALL_ADDRESSES, Output.REMOVE_ADDRESSES}
        sent = [SPOKEN.get(o, f"advert:{fresh.priority}") for o in outputs if o not in silent]
        expect = row["expect"]
        assert sent == expect["sent"]
        state = type(fresh.state).__name__
        assert state == {"Active": "Master"}.get(expect["state"], expect["state"])
        assert (Output.REMOVE_ADDRESSES in outputs) is (isinstance(before, Master) and state != "Master")
        for name, timer in expect["timers"].items():
            runs = {"adver": Master, "active_down": Backup}[name]
            if timer == "cancelled":
                assert not isinstance(fresh.state, runs)
            else:
                assert isinstance(fresh.state, runs)
                assert fresh.next_deadline() == (
                    deadline if timer == "unchanged" else now + timer["ns_floor"]
                )
        if isinstance(fresh.state, Backup) and "active_adver_interval_cs" in expect:
            assert fresh.state.master_adver_interval == expect["active_adver_interval_cs"] * CENTISECOND
