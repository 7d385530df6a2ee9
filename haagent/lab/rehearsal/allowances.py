"""For how long nobody may answer while a fault lasts, from the bounds of `haagent plan`; pure.

None: the plan says nothing about it, the outage is measured and shown. What is allowed after healing is always the
handover to the better node.
"""

from __future__ import annotations

from collections.abc import Callable

from haagent.core.units import Duration
from haagent.lab.budget import ELECTION, Bounds

Allow = Callable[[Bounds, Duration], Duration | None]


def nothing(_bounds: Bounds, _hold: Duration) -> Duration | None:
    """Allow no outage: the owner is not concerned."""
    return 0


def unplanned(_bounds: Bounds, _hold: Duration) -> Duration | None:
    """Leave it open."""
    return None


def given_up(bounds: Bounds, _hold: Duration) -> Duration | None:
    """The owner's claim runs out. A fault may heal just then: the address comes back by a round with the arbiter."""
    return bounds.killed + bounds.back


def died(bounds: Bounds, _hold: Duration) -> Duration | None:
    """The owner is gone from the network at once."""
    return bounds.died + bounds.back


def stopped(bounds: Bounds, _hold: Duration) -> Duration | None:
    """The owner lets go in order."""
    return bounds.stopped


def handed(bounds: Bounds, _hold: Duration) -> Duration | None:
    """The owner hands over to a node that is ready."""
    return bounds.better


def cut_off(bounds: Bounds, _hold: Duration) -> Duration | None:
    """The owner alone does not reach the arbiter: promises carry it, if there are any."""
    return 0 if bounds.failsafe else bounds.killed + bounds.back


def arbiter_gone(bounds: Bounds, hold: Duration) -> Duration | None:
    """Nobody reaches the arbiter."""
    return 0 if bounds.failsafe else hold + ELECTION + bounds.back


def unreachable(bounds: Bounds, hold: Duration) -> Duration | None:
    """The owner's clients do not reach it, and it cannot know."""
    return hold + bounds.better
