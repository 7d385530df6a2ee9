"""The one-shot timer, on the real CLOCK_BOOTTIME."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.timer import Timer


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@contextmanager
def timer() -> Iterator[tuple[Timer, list[int]]]:
    fired: list[int] = []
    one = Timer(asyncio.get_running_loop(), lambda: fired.append(boottime()))
    try:
        yield one, fired
    finally:
        one.close()


async def test_fires_once_and_never_early() -> None:
    with timer() as (one, fired):
        deadline = boottime() + 20 * MILLISECOND
        one.arm(deadline)
        await asyncio.sleep(0.1)
        assert len(fired) == 1
        assert fired[0] >= deadline


async def test_a_deadline_in_the_past_fires_at_once() -> None:
    with timer() as (one, fired):
        for past in (boottime() - SECOND, 0, -5):
            one.arm(past)
            await asyncio.sleep(0.01)
        assert len(fired) == 3


async def test_arming_again_replaces_the_deadline() -> None:
    with timer() as (one, fired):
        one.arm(boottime() + 5 * MILLISECOND)
        later = boottime() + 40 * MILLISECOND
        one.arm(later)
        one.arm(later)
        await asyncio.sleep(0.1)
        assert len(fired) == 1
        assert fired[0] >= later


async def test_an_expiry_that_was_replaced_before_the_loop_ran_is_forgotten() -> None:
    with timer() as (one, fired):
        one.arm(boottime() + MILLISECOND)
        time.sleep(0.01)  # expired, but the loop has not looked
        one.arm(boottime() + SECOND)
        await asyncio.sleep(0.02)
        assert not fired


async def test_an_expiry_the_loop_has_seen_but_not_yet_told_is_forgotten_too() -> None:
    fired: list[int] = []

    def postpone(mine: int) -> None:
        fired.append(mine)
        timers[1 - mine].arm(boottime() + SECOND)

    loop = asyncio.get_running_loop()
    timers = [Timer(loop, lambda mine=mine: postpone(mine)) for mine in (0, 1)]
    for one in timers:
        one.arm(boottime() + MILLISECOND)
    time.sleep(0.01)  # both expire, the loop finds both at once
    await asyncio.sleep(0.02)
    for one in timers:
        one.close()
    assert len(fired) == 1


async def test_disarmed_it_stays_silent_and_can_be_armed_again() -> None:
    with timer() as (one, fired):
        deadline = boottime() + 10 * MILLISECOND
        one.arm(deadline)
        one.disarm()
        await asyncio.sleep(0.03)
        assert not fired
        one.arm(deadline)
        await asyncio.sleep(0.03)
        assert len(fired) == 1


async def test_the_callback_may_arm_it() -> None:
    fired: list[int] = []

    def again() -> None:
        fired.append(boottime())
        if len(fired) < 3:
            one.arm(fired[-1] + MILLISECOND)

    one = Timer(asyncio.get_running_loop(), again)
    one.arm(1)
    await asyncio.sleep(0.1)
    one.close()
    assert len(fired) == 3


async def test_closing_frees_the_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    one = Timer(asyncio.get_running_loop(), lambda: None)
    one.arm(boottime() + SECOND)
    one.close()
    one.close()
    assert os.listdir("/proc/self/fd") == before
