"""Which instances of a new configuration must wait until what was there before has let go: one thing has one claim.

Promises that nothing is guarded by two claims of this node at any time of a reload, whatever is renamed, moved to another
group, or merged into an instance that stays. It knows of this node alone: that the *other* nodes guard a thing by the
same claim is a rule for whoever changes their files (docs/safety/index.md, "One thing, one claim").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.units import SECOND, Duration

# For a leaving instance to take its addresses off, before another name takes them.
LETTING_GO: Duration = SECOND


@dataclass(frozen=True, slots=True)
class Guarded:
    """What guards an instance: ``claim``; and what of it must belong to a single claim, as keys to be compared."""

    claim: str
    things: frozenset[object]


Layout: TypeAlias = Mapping[str, Guarded]  # by instance


def moved(before: Layout, fresh: Layout) -> frozenset[str]:
    """Return the instances of ``fresh`` that guard anything which another claim guarded before."""
    claims = {thing: guarded.claim for guarded in before.values() for thing in guarded.things}
    return frozenset(
        name
        for name, guarded in fresh.items()
        if any(claims.get(thing, guarded.claim) != guarded.claim for thing in guarded.things)
    )


def waiting(before: Layout, fresh: Layout) -> frozenset[str]:
    """Return the instances of ``fresh`` to be left out until those of ``before`` that are in their way have gone.

    That is whose claim is another one now, whatever guards a thing of an instance that leaves (and one that waits leaves
    first), and with each of them all that are to be under its claim.
    """
    found = {name for name in before.keys() & fresh.keys() if before[name].claim != fresh[name].claim}
    while True:
        claims = {fresh[name].claim for name in found}
        leaving = before.keys() - (fresh.keys() - found)
        taken = {thing for name in leaving for thing in before[name].things}
        more = {
            name
            for name, guarded in fresh.items()
            if guarded.claim in claims or not taken.isdisjoint(guarded.things)
        }
        if more <= found:
            return frozenset(found)
        found |= more
