"""For how long nobody may answer during one shot, from the arithmetic of ``haagent plan``; pure.

Promises no verdict on safety: a budget is about outages only. None means that the plan says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.units import SECOND, Duration
from haagent.lab.shots import Shot

# etcd's longest election timeout; the plan takes an arbiter that answers for granted
ELECTION: Duration = 2 * SECOND
ARBITER_ONLY = ("cut-arbiter", "reset-arbiter", "cut-mgmt")  # the nodes still hear each other


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


def budget(shot: Shot, bounds: Bounds) -> Budget:
    """Return the budget of one shot at a cluster with ``bounds``."""
    if shot.second is not None or shot.fault == "wipe-arbiter":
        return Budget(None, None)
    return Budget(_during(shot, bounds), _after(shot, bounds))


def _after(shot: Shot, bounds: Bounds) -> Duration:
    """Once healed, a better node takes over; or the lease runs out before the arbiter is reached again."""
    cut_off = {"isolate", "partition"} if bounds.failsafe else {"isolate", "partition", *ARBITER_ONLY}
    lapses = shot.role == "owner" and shot.fault in cut_off and not bounds.beside
    return max(bounds.better, bounds.back) if lapses else bounds.better


def _during(shot: Shot, bounds: Bounds) -> Duration:
    if shot.role == "other":
        return 0
    if shot.role == "arbiter":
        return 0 if bounds.failsafe else shot.hold + ELECTION + bounds.back
    # a fault may heal just when the claim is lost: then the address comes back by a round with the arbiter
    given_up = bounds.killed + bounds.back
    unreachable = shot.hold + bounds.better
    table: dict[str, Duration] = {
        "kill": given_up,
        "freeze": given_up,
        "stop": bounds.stopped,
        "partition": given_up,
        "isolate": unreachable if bounds.beside else bounds.died + bounds.back,
        "link-down": bounds.died + bounds.back,
        "cut-lan": unreachable,
        **dict.fromkeys(ARBITER_ONLY, 0 if bounds.failsafe else given_up),
    }
    return table.get(shot.fault, 0)
