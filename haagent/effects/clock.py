"""The node's time: one reading of the two clocks every decision is made with.

Promises: ``fast`` never advances less, and ``slow`` never more, than either clock did, but for ``RESOLUTION``;
neither goes back. It reads clocks and nothing else: no wall clock, no timer.

The two clocks cannot be read at one instant. A pause between the two calls shows up as a difference that was
not there, first in one direction, then in the other; counting each would let ``fast`` run away by the noise of
every reading. So a difference is counted only once it exceeds ``RESOLUTION``, which a real one soon does.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from haagent.core.units import MICROSECOND, MILLISECOND, Duration, Instant, Now
from haagent.errors import EffectError

RESOLUTION: Duration = 20 * MICROSECOND
# NTP slews BOOTTIME by at most about 10 %; beyond that, and this much, one clock stood still (suspend).
_JUMP_FLOOR: Duration = 50 * MILLISECOND
_JUMP_SHARE = 10

# Read for every event: names bound once, and named tuples made without their slow constructors.
_clock, _BOOTTIME, _RAW = time.clock_gettime_ns, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC_RAW
_make = tuple.__new__


class Reading(NamedTuple):
    """``now``, the raw CLOCK_BOOTTIME of the same reading, and by how much the clocks parted at it.

    ``jump`` is 0 unless the clocks disagree about the time since the reading before by more than slewing can
    explain: positive nanoseconds if RAW ran ahead, negative if BOOTTIME did (the host was suspended).
    """

    now: Now
    boot: int
    jump: Duration

    def boottime(self, instant: Instant) -> int:
        """Return the absolute CLOCK_BOOTTIME, in nanoseconds, of an instant on the ``fast`` timeline.

        Both come from the same reading, so it does not matter how much later the result is used.
        """
        return self.boot + instant - self.now.fast


class Clock:
    """Accumulates ``fast`` and ``slow`` from the first reading on; one object per process."""

    def __init__(self) -> None:
        self._boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._skew = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - self._boot
        self._fast = self._slow = self._boot

    def read(self) -> Reading:
        """Read both clocks. Raises EffectError if CLOCK_BOOTTIME went back: no decision is safe after that."""
        boot = _clock(_BOOTTIME)
        return self.advance(boot, _clock(_RAW))

    def advance(self, boot: int, raw: int) -> Reading:
        """Take one pair of clock values in nanoseconds; ``read`` without the system calls."""
        passed = boot - self._boot
        if passed < 0:
            raise EffectError(f"CLOCK_BOOTTIME went back by {-passed} ns: this host's time cannot be trusted")
        parted = raw - boot - self._skew
        self._boot = boot
        self._fast += passed
        self._slow += passed
        if -RESOLUTION <= parted <= RESOLUTION:
            return _make(Reading, (_make(Now, (self._fast, self._slow)), boot, 0))
        return self._count(boot, passed, parted)

    def _count(self, boot: int, passed: Duration, parted: Duration) -> Reading:
        jump = parted if abs(parted) > _JUMP_FLOOR + passed // _JUMP_SHARE else 0
        if parted > 0:
            self._fast += parted
        else:
            # RAW fell behind: take it off this step, never more than the step; the rest waits for the next one.
            parted = -min(-parted, passed)
            self._slow += parted
        self._skew += parted
        return Reading(Now(self._fast, self._slow), boot, jump)
