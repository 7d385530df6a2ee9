"""The pair of clocks: what counts, what is noise, what is a jump."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.core.units import MICROSECOND, MILLISECOND, SECOND
from haagent.effects.clock import RESOLUTION, Clock
from haagent.errors import EffectError


def clock_at(boot: int = 0, raw: int = 0) -> Clock:
    clock = Clock()
    clock._boot, clock._skew = boot, raw - boot
    clock._fast = clock._slow = boot
    return clock


def test_readings_advance_with_the_host() -> None:
    clock = Clock()
    before = clock.read()
    time.sleep(0.02)
    after = clock.read()
    assert 20 * MILLISECOND <= after.now.fast - before.now.fast < SECOND
    assert after.jump == 0
    assert after.boot > before.boot


def test_a_deadline_is_converted_with_its_own_reading() -> None:
    clock = clock_at()
    reading = clock.advance(10 * SECOND, 11 * SECOND)
    assert reading.now.fast == 11 * SECOND
    deadline = reading.now.fast + 300 * MILLISECOND
    clock.advance(20 * SECOND, 21 * SECOND)  # a pause before the result is used changes nothing
    assert reading.boottime(deadline) == 10 * SECOND + 300 * MILLISECOND


def test_slewing_counts_to_the_fast_side_and_against_the_slow_side() -> None:
    clock = clock_at()
    reading = clock.advance(1_080 * MILLISECOND, SECOND)
    assert reading.now == (1_080 * MILLISECOND, SECOND)
    reading = clock.advance(2_080 * MILLISECOND, 2_080 * MILLISECOND)
    assert reading.now == (2_160 * MILLISECOND, 2 * SECOND)
    assert reading.jump == 0


def test_suspend_is_a_jump() -> None:
    reading = clock_at().advance(60 * SECOND, SECOND)
    assert reading.jump == -59 * SECOND
    assert reading.now == (60 * SECOND, SECOND)


def test_boottime_standing_still_is_a_jump() -> None:
    reading = clock_at().advance(SECOND, 3 * SECOND)
    assert reading.jump == 2 * SECOND
    assert reading.now == (3 * SECOND, SECOND)


def test_a_clock_that_goes_back_is_fatal() -> None:
    clock = clock_at(boot=SECOND, raw=SECOND)
    with pytest.raises(EffectError, match="went back by 1 ns"):
        clock.advance(SECOND - 1, SECOND)


def test_the_noise_of_reading_does_not_add_up() -> None:
    clock = clock_at()
    for at in range(1, 10_001):
        noise = 10 * MICROSECOND if at % 2 else 0
        reading = clock.advance(at * MILLISECOND, at * MILLISECOND + noise)
    assert reading.now == (10 * SECOND, 10 * SECOND)


steps = st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)), max_size=30)


@given(steps)
def test_fast_is_never_behind_and_slow_never_ahead(progress: list[tuple[int, int]]) -> None:
    clock, boot, raw, least, most = clock_at(), 0, 0, 0, 0
    last = (0, 0)
    for d_boot, d_raw in progress:
        boot, raw = boot + d_boot, raw + d_raw
        least, most = least + min(d_boot, d_raw), most + max(d_boot, d_raw)
        fast, slow = clock.advance(boot, raw).now
        assert fast >= last[0]
        assert slow >= last[1]
        assert slow <= min(boot, raw) + RESOLUTION
        assert fast >= max(boot, raw) - RESOLUTION
        assert slow <= fast
        last = (fast, slow)
    assert least <= last[1] + RESOLUTION * len(progress)
    assert last[0] <= most + RESOLUTION * len(progress)


def test_reading_is_cheap() -> None:
    clock = Clock()
    best = min(_nanoseconds_a_reading(clock) for _ in range(5))
    assert best < 10 * MICROSECOND  # 0.6 measured; it is read for every event


def _nanoseconds_a_reading(clock: Clock) -> float:
    start = time.perf_counter_ns()
    for _ in range(1000):
        clock.read()
    return (time.perf_counter_ns() - start) / 1000
