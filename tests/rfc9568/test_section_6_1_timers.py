"""RFC 9568 6.1 and RFC 3768 6.1: Skew_Time, Active_Down_Interval, and what they are computed from."""

from __future__ import annotations

from fractions import Fraction

import pytest
from builders import PEER, START, backup, master, router
from vectors import Row, each

from haagent.core.units import CENTISECOND, MILLISECOND, SECOND
from haagent.core.virtual_router import Backup, Master, Output, master_down_interval, skew_time


def test_TM_01_v3_skew_is_a_fraction_of_the_masters_interval() -> None:
    assert skew_time(3, 100, SECOND) == 609_375_000
    assert skew_time(3, 254, SECOND) == 7_812_500
    assert skew_time(3, 100, CENTISECOND) == 6_093_750


@pytest.mark.parametrize("interval", [SECOND, 3 * SECOND, 255 * SECOND])
def test_TM_02_v2_skew_is_a_fraction_of_a_second_whatever_the_interval(interval: int) -> None:
    assert skew_time(2, 100, interval) == 609_375_000
    assert skew_time(2, 255, interval) == 3_906_250


def test_TM_03_the_down_interval_is_three_intervals_and_the_skew() -> None:
    assert master_down_interval(3, 100, SECOND) == 3_609_375_000
    assert master_down_interval(3, 150, SECOND) == 3_414_062_500
    assert master_down_interval(2, 100, 3 * SECOND) == 9_609_375_000
    assert master_down_interval(3, 100, SECOND, adverts=5) == 5_609_375_000


@each("timers.jsonl")
def test_TM_03_agrees_with_the_exact_fractions(row: Row) -> None:
    interval = (
        row.get("active_adver_interval_cs", 0) * CENTISECOND or row["advertisement_interval_s"] * SECOND
    )
    version, priority = row["version"], row["priority"]
    computed = {
        "skew_time": skew_time(version, priority, interval),
        "active_down_interval": master_down_interval(version, priority, interval),
    }
    for name, nanoseconds in computed.items():
        assert nanoseconds == row[name]["ns_floor"]
        assert nanoseconds == int(Fraction(row[name]["centiseconds"]) * CENTISECOND)


def test_TM_04_skew_is_never_rounded_away() -> None:
    for centiseconds in (1, 2, 7, 100, 4095):
        for priority in range(1, 256):
            exact = Fraction((256 - priority) * centiseconds * CENTISECOND, 256)
            assert exact - 1 < skew_time(3, priority, centiseconds * CENTISECOND) <= exact
            assert skew_time(3, priority, centiseconds * CENTISECOND) > 0


def test_TM_05_v3_learns_the_interval_of_every_accepted_advertisement() -> None:
    fresh = router()
    fresh.startup(START)
    assert fresh.state == Backup(SECOND, START + 3_609_375_000)
    fresh.advertisement_received(PEER, 200, SECOND // 2, START)
    assert fresh.state == Backup(SECOND // 2, START + 1_804_687_500)


def test_TM_05_v2_never_learns() -> None:
    fresh = backup(2)
    fresh.advertisement_received(PEER, 200, 7 * SECOND, START)
    assert fresh.state == Backup(SECOND, START + 3_609_375_000)


def test_TM_06_the_interval_of_a_resigning_master_is_not_learned() -> None:
    fresh = backup()
    fresh.advertisement_received(PEER, 200, SECOND // 2, START)
    fresh.advertisement_received(PEER, 0, SECOND, START)
    assert fresh.state == Backup(SECOND // 2, START + 304_687_500)


def test_TM_07_a_master_sends_at_its_own_interval() -> None:
    fresh = backup()
    fresh.advertisement_received(PEER, 200, SECOND // 2, START)
    assert Output.SEND_ADVERTISEMENT in fresh.deadline_reached(START + 2 * SECOND)
    assert fresh.next_deadline() == START + 3 * SECOND


def test_TM_09_the_send_timer_does_not_drift() -> None:
    sender = master(advertisement_interval=10 * CENTISECOND)
    sent = 0
    for _ in range(100):
        deadline = sender.next_deadline()
        assert deadline is not None
        late = deadline + sent % 7 * MILLISECOND  # the loop is never quite on time
        sent += sender.deadline_reached(late) == (Output.SEND_ADVERTISEMENT,)
    assert sent == 100
    assert sender.next_deadline() == START + 101 * 10 * CENTISECOND


@pytest.mark.parametrize("late", [SECOND, 5 * SECOND, 5 * SECOND + 1])
def test_TM_09_a_late_loop_sends_one_advertisement_and_keeps_the_beat(late: int) -> None:
    sender = master()
    assert sender.deadline_reached(START + SECOND + late) == (Output.SEND_ADVERTISEMENT,)
    assert isinstance(sender.state, Master)
    assert START + SECOND + late < sender.state.adver_at <= START + 2 * SECOND + late
    assert (sender.state.adver_at - START) % SECOND == 0
    assert sender.deadline_reached(START + SECOND + late) == ()
