"""Which claim guards what: the same virtual routers in other groups and under other names, and what a file means then.

A virtual router is known by its *thing*, the address that it guards. An instance is named after it: ``i0``, or ``i0.1``
once somebody has renamed it. Nothing is decided here, and the rules of a reload are the agent's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from haagent.agent.succession import Guarded
from tests.simulation.chance import Chance
from tests.simulation.plan import Claimed

GROUPS = (
    3  # their names are those that a seed's own groups have, so that a claim comes to guard something else
)
RENAMED = ".1"


def thing_of(instance: str) -> str:
    """Return what an instance guards, whatever it is called today."""
    return instance.partition(".")[0]


def regrouped(claims: tuple[Claimed, ...], number: int) -> tuple[Claimed, ...]:
    """Return one of the many ways to arrange the virtual routers of ``claims``; 0 is the way they are."""
    if not number:
        return claims
    dice = Chance(f"layout {number}")
    buckets: dict[int, list[Claimed]] = {}
    for claim in claims:
        for member, vrid in zip(claim.members, claim.vrids, strict=True):
            name = thing_of(member) + (RENAMED if dice.happens(0.25) else "")
            alone = Claimed(name, (name,), claim.priorities, sync=False, vrids=(vrid,))
            buckets.setdefault(dice.below(GROUPS), []).append(alone)
    return tuple(_group(f"g{place}", buckets[place], dice) for place in sorted(buckets))


def _group(name: str, instances: list[Claimed], dice: Chance) -> Claimed:
    """Put the instances into one sync group; a single one may also stand alone. The first one's priorities count."""
    if len(instances) == 1 and dice.happens(0.5):
        return instances[0]
    members = tuple(instance.name for instance in instances)
    vrids = tuple(instance.vrids[0] for instance in instances)
    return Claimed(name, members, instances[0].priorities, sync=True, vrids=vrids)


def layout_of(claims: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, Guarded]:
    """Return what guards every instance, for the agent's rules; ``claims`` are (name, members)."""
    return {
        member: Guarded(name, frozenset((thing_of(member),)))
        for name, members in claims
        for member in members
    }
