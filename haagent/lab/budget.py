"""For how long nobody may answer around one fault, from the arithmetic of ``haagent plan``; pure.

Promises no verdict on safety: a budget is about outages only. None means that the plan says nothing about it.

The rules are named by what befalls the MASTER; a torture finds the rule of a shot here, a rehearsal names it in its
catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.units import SECOND, Duration
from haagent.lab.shots import Shot

# etcd's longest election timeout; the plan takes an arbiter that answers for granted
ELECTION: Duration = 2 * SECOND


@dataclass(frozen=True, slots=True)
class Bounds:
    """The plan's longest outages, and ``back``: how long after the arbiter's return the address is back.

    The outages: the MASTER's host ``died``, its agent was ``killed`` or ``stopped`` in order, a ``better`` node took over.
    ``beside``: the arbiter is files that no fault of the network cuts a node off from.
    """

    died: Duration
    killed: Duration
    stopped: Duration
    better: Duration
    back: Duration
    failsafe: bool
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """The longest outage that begins while the fault lasts, and the longest that begins after it."""

    during: Duration | None
    after: Duration | None

    def exceeded(self, during: Duration, after: Duration, slack: Duration) -> bool:
        """Say whether either outage is longer than allowed."""
        limits = ((during, self.during), (after, self.after))
        return any(limit is not None and seen > limit + slack for seen, limit in limits)


NO_BUDGET = Budget(None, None)
# From the bounds, and how long the fault was held. Once healed, a better node takes over, unless a rule says more.
Rule: TypeAlias = Callable[[Bounds, Duration], Budget]


def nothing(bounds: Bounds, _hold: Duration) -> Budget:
    """Allow no outage: the owner is not concerned."""
    return Budget(0, bounds.better)


def unplanned(_bounds: Bounds, _hold: Duration) -> Budget:
    """Leave it open."""
    return NO_BUDGET


def given_up(bounds: Bounds, _hold: Duration) -> Budget:
    """The owner's claim runs out. A fault may heal just then: the address comes back by a round with the arbiter."""
    return Budget(bounds.killed + bounds.back, bounds.better)


def died(bounds: Bounds, _hold: Duration) -> Budget:
    """The owner is gone from the network at once."""
    return Budget(bounds.died + bounds.back, bounds.better)


def stopped(bounds: Bounds, _hold: Duration) -> Budget:
    """The owner lets go in order."""
    return Budget(bounds.stopped, bounds.better)


def handed(bounds: Bounds, _hold: Duration) -> Budget:
    """The owner hands over to a node that is ready."""
    return Budget(bounds.better, bounds.better)


def unreachable(bounds: Bounds, hold: Duration) -> Budget:
    """The owner's clients do not reach it, and it cannot know."""
    return Budget(hold + bounds.better, bounds.better)


def arbiter_gone(bounds: Bounds, hold: Duration) -> Budget:
    """Nobody reaches the arbiter: promises carry the owner, or its lease runs out, perhaps after healing."""
    if bounds.failsafe:
        return nothing(bounds, hold)
    served = ELECTION + bounds.back
    return Budget(hold + served, max(bounds.better, served))


def cut_off(bounds: Bounds, hold: Duration) -> Budget:
    """The owner alone does not reach the arbiter: promises carry it, if there are any."""
    return nothing(bounds, hold) if bounds.failsafe else parted(bounds, hold)


def parted(bounds: Bounds, _hold: Duration) -> Budget:
    """The owner reaches neither peers nor arbiter; its clients reach it."""
    return Budget(bounds.killed + bounds.back, _lapsing(bounds))


def isolated(bounds: Bounds, hold: Duration) -> Budget:
    """The owner is gone from the network, and renews its lease only where the arbiter is files beside it."""
    if bounds.beside:
        return unreachable(bounds, hold)
    return Budget(bounds.died + bounds.back, _lapsing(bounds))


def _lapsing(bounds: Bounds) -> Duration:
    """Return what a lease costs that runs out just after healing, before the arbiter is reached again."""
    return bounds.better if bounds.beside else max(bounds.better, bounds.back)


# What befalls the owner by the faults of a torture; by those that are not named here, nothing.
_AT_OWNER: dict[str, Rule] = {
    "kill": given_up,
    "freeze": given_up,
    "stop": stopped,
    "partition": parted,
    "isolate": isolated,
    "link-down": died,
    "cut-lan": unreachable,
    **dict.fromkeys(("cut-arbiter", "reset-arbiter", "cut-mgmt"), cut_off),  # the nodes still hear each other
}


def budget(shot: Shot, bounds: Bounds) -> Budget:
    """Return the budget of one shot at a cluster with ``bounds``."""
    return _rule(shot)(bounds, shot.hold)


def _rule(shot: Shot) -> Rule:
    if shot.second is not None or shot.fault == "wipe-arbiter":
        return unplanned
    if shot.role == "arbiter":
        return arbiter_gone
    return _AT_OWNER.get(shot.fault, nothing) if shot.role == "owner" else nothing
