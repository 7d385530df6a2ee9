"""One host's two clocks over true time: piecewise linear, in integer nanoseconds.

Rates are in parts per million of true time. NTP slews CLOCK_BOOTTIME by up to 8.3 % (chrony's largest rate);
CLOCK_MONOTONIC_RAW runs at the crystal's rate, and stands still in suspend. A hypervisor's pause stops both.
"""

from __future__ import annotations

from haagent.core.units import Instant
from haagent.effects.clock import Clock

MILLION = 1_000_000


class HostClocks:
    """CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW of one host."""

    def __init__(self, boot: Instant, boot_ppm: int, raw_ppm: int) -> None:
        self._from, self._boot, self._raw = 0, boot, boot
        self.boot_ppm, self.raw_ppm = boot_ppm, raw_ppm

    def boot(self, true: Instant) -> Instant:
        return self._boot + (true - self._from) * self.boot_ppm // MILLION

    def raw(self, true: Instant) -> Instant:
        return self._raw + (true - self._from) * self.raw_ppm // MILLION

    def run(self, true: Instant, *, boot_ppm: int, raw_ppm: int) -> None:
        """Go on at other rates from now."""
        self._boot, self._raw, self._from = self.boot(true), self.raw(true), true
        self.boot_ppm, self.raw_ppm = boot_ppm, raw_ppm

    def true_at(self, boot: Instant) -> Instant | None:
        """Return the true time at which BOOTTIME will read ``boot`` at the present rate; None if it stands."""
        if not self.boot_ppm:
            return None
        return self._from + -(-(boot - self._boot) * MILLION // self.boot_ppm)


class AgentClock(Clock):
    """The agent's own clock (haagent.effects.clock), fed with simulated values instead of system calls."""

    def __init__(self, boot: Instant, raw: Instant) -> None:
        self._boot = self._fast = self._slow = boot
        self._skew = raw - boot
