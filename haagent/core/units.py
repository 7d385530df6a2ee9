"""Time in the core: integer nanoseconds, and the pair of clocks every decision is made with.

An ``Instant`` is a point on one of this node's own monotonic timelines, a ``Duration`` a difference of two.
Centiseconds and seconds exist only in the packet codec and in configurations; convert here, nowhere else.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Instant: TypeAlias = int
Duration: TypeAlias = int

MICROSECOND: Duration = 1_000
MILLISECOND: Duration = 1_000_000
CENTISECOND: Duration = 10_000_000
SECOND: Duration = 1_000_000_000


class Now(NamedTuple):
    """One reading of this node's time.

    ``fast`` advances by the larger of CLOCK_BOOTTIME's and CLOCK_MONOTONIC_RAW's progress, ``slow`` by the
    smaller. Whoever *holds* something counts with ``fast`` (it lets go early rather than late); whoever *waits
    for somebody else* counts with ``slow`` (it waits too long rather than too short). VRRP timers use ``fast``.
    """

    fast: Instant
    slow: Instant


def sooner(one: Instant | None, other: Instant | None) -> Instant | None:
    """Return the earlier of two deadlines, either of which may not exist."""
    if one is None or other is None:
        return other if one is None else one
    return one if one <= other else other  # noqa: FURB136 - a call of min costs as much as all of this


def from_seconds(seconds: float) -> Duration:
    """Return ``seconds`` as a Duration, rounded to the microsecond (floats come only from configurations)."""
    return round(seconds * 1_000_000) * MICROSECOND


def to_seconds(duration: Duration) -> float:
    """Return a Duration as seconds, for people and for packets' neighbours, never for decisions."""
    return duration / SECOND
