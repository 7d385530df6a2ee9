"""From single results to faults and an effective priority: rise and fall, weights, and their sum.

The rules are keepalived's (rise and fall count consecutive results, the very first result decides alone, a
positive weight is added while up, a negative one taken off while down, 0 means FAULT while down, the sum is
clamped to 1..254, an owner never changes), with one difference: a tracker that cannot be looked at has failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.units import Instant

OWNER = 255
FAULT_VALUE = -254  # a file's value times its weight that means FAULT, or anything below


@dataclass(frozen=True, slots=True)
class TrackerParameters:
    """A tracked thing: how many results in a row change its mind; whether it counts as failed before the first."""

    name: str
    rise: int = 1
    fall: int = 1
    init_fail: bool = False


@dataclass(frozen=True, slots=True)
class TrackUse:
    """How one instance uses a tracker. ``weight`` 0: FAULT while down; ``reverse`` swaps up and down.

    ``scaled``: a track_file. Its value times the weight (``reverse``: minus the weight) is added, and -254 or less is
    FAULT; with weight 0 any value but 0 is (``reverse``: only 0). One that cannot be read is FAULT, whatever the
    weight: nobody knows how bad its value would be.
    """

    tracker: str
    weight: int = 0
    reverse: bool = False
    scaled: bool = False


def interface_tracker(interface: str) -> str:
    """Return the name under which an interface is tracked."""
    return f"interface {interface}"


class Tracker:
    """Counts results. ``up`` is None until the first one (or False at once with ``init_fail``)."""

    def __init__(self, parameters: TrackerParameters) -> None:
        self.parameters = parameters
        self.up: bool | None = False if parameters.init_fail else None
        self.value = 0
        self.since: Instant = 0  # of the verdict; 0 before the first
        self._streak = 0

    def result(self, now: Instant, *, passed: bool, value: int | None = None) -> bool:
        """Count one result; return whether the tracker changed its mind, or its value."""
        changed = self._count(passed=passed, value=value)
        if changed:
            self.since = now
        return changed

    def _count(self, *, passed: bool, value: int | None) -> bool:
        if value is not None:
            changed = value != self.value or self.up is not True
            self.up, self.value, self._streak = True, value, 0
            return changed
        if self.up is None:
            self.up = passed
            return True
        if passed == self.up:
            self._streak = 0
            return False
        self._streak += 1
        needed = self.parameters.rise if passed else self.parameters.fall
        if self._streak < needed:
            return False
        self.up, self._streak = passed, 0
        return True


def effective_priority(base: int, uses: tuple[TrackUse, ...], trackers: dict[str, Tracker]) -> int:
    """Return the base priority with every weight applied."""
    if base == OWNER:
        return OWNER
    total = base + sum(adjustment(use, trackers[use.tracker]) for use in uses if use.weight)
    return max(1, min(OWNER - 1, total))


def faults(uses: tuple[TrackUse, ...], trackers: dict[str, Tracker]) -> tuple[str, ...]:
    """Return the trackers whose state means FAULT: unweighted ones that are down, or that nobody has looked at yet."""
    return tuple(use.tracker for use in uses if _down(use, trackers[use.tracker]))


def adjustment(use: TrackUse, tracker: Tracker) -> int:
    """Return what a tracker adds to the priority now."""
    if not use.scaled:
        return contribution(use, tracker.up)
    return 0 if _down(use, tracker) else min(OWNER - 2, _product(use, tracker))


def contribution(use: TrackUse, up: bool | None) -> int:
    """Return what the last verdict of a tracker that only knows up and down adds to the priority."""
    if up is None:
        return 0  # nothing is added or taken off before the first result
    good = up is not use.reverse
    if use.weight > 0:
        return use.weight if good else 0
    return 0 if good else use.weight


def _down(use: TrackUse, tracker: Tracker) -> bool:
    if not use.scaled:
        return use.weight == 0 and (tracker.up is None or tracker.up is use.reverse)
    if not tracker.up:
        return True
    if use.weight == 0:
        return bool(tracker.value) is not use.reverse
    return _product(use, tracker) <= FAULT_VALUE


def _product(use: TrackUse, tracker: Tracker) -> int:
    return tracker.value * (-use.weight if use.reverse else use.weight)
