"""Changing which claim guards what: why nodes that disagree are not safe, and that the rule for changing it is.

A claim has the name of its group, so a node with the new file and one with the old file ask the arbiter for different
claims, and it grants both. docs/safety, "One thing, one claim", says so, and how to change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from haagent.agent.succession import LETTING_GO
from haagent.core.observation import patience
from haagent.core.units import MILLISECOND, SECOND, Duration
from tests.simulation.changeover import Changeover
from tests.simulation.configuration import laid_out
from tests.simulation.directed import CLAIM, LEASE, direct, start_all, two_nodes
from tests.simulation.layouts import layout_of, regrouped
from tests.simulation.plan import Claimed, Fault, Plan
from tests.simulation.world import Outcome, World

WORSE = Claimed("group", (CLAIM,), (200, 100), sync=True)  # the BACKUP stays the worse one
BETTER = Claimed("group", (CLAIM,), (200, 250), sync=True)
STALL = Fault(
    0, "freeze", 400 * MILLISECOND, node=0
)  # longer than three advertisements, much shorter than a lease
MUTE = Fault(0, "mute", 2 * LEASE, node=0)

Drive = Callable[[World], None]


def plan(*, electors: bool) -> Plan:
    usual = two_nodes(electors=electors, profile="default")
    return replace(usual, cluster=replace(usual.cluster, preempt=True))


def roll(to: Claimed, fault: Fault | None) -> Drive:
    """Reload the BACKUP alone; then let something happen to the MASTER, which has the old file."""

    def drive(world: World) -> None:
        start_all(world)
        b = world.hosts[1]
        b.reconfigure(laid_out(b.config, (to,), b.index))
        world.play(world.now + 15 * SECOND)  # a new claim's record is vacant at first, and waited for
        if fault is not None:
            world.trouble.begin(replace(fault, at=world.now))
        world.play(world.now + 4 * LEASE)

    return drive


def by_the_rule(to: Claimed, fault: Fault, silences: list[Duration]) -> Drive:
    """Change both nodes; put into ``silences`` how long nobody answered."""

    def drive(world: World) -> None:
        start_all(world)
        changeover = Changeover(world, world.hosts[0], (to,))
        changeover.look()
        begun = world.now
        while not (changeover.over and world.checks.passing(to.name)):
            world.play(world.now + 10 * MILLISECOND)
            assert world.now < begun + 60 * SECOND
            if world.checks.passing(CLAIM):
                begun = world.now
        silences.append(world.now - begun)
        world.play(world.now + 4 * LEASE)
        world.trouble.begin(replace(fault, at=world.now))
        world.play(world.now + 4 * LEASE)

    return drive


@pytest.mark.parametrize("electors", [False, True], ids=["strict", "failsafe"])
@pytest.mark.parametrize(
    ("to", "fault"),
    [(BETTER, None), (WORSE, STALL), (WORSE, MUTE)],
    ids=["nothing else", "stall", "partition"],
)
def test_a_node_that_names_the_claim_otherwise_is_not_kept_off(
    to: Claimed, fault: Fault | None, *, electors: bool
) -> None:
    """What the rule is for. Should this ever pass as clean, the promise has grown, and docs/safety with it."""
    outcome = direct(plan(electors=electors), roll(to, fault))
    assert (outcome.check, outcome.text) == ("EXCL", f"EXCL: a and b pass traffic of {CLAIM}")


@pytest.mark.parametrize("electors", [False, True], ids=["strict", "failsafe"])
@pytest.mark.parametrize("to", [WORSE, BETTER])
@pytest.mark.parametrize("fault", [STALL, MUTE], ids=["stall", "partition"])
def test_the_rule_keeps_the_promise(to: Claimed, fault: Fault, *, electors: bool) -> None:
    silences: list[Duration] = []
    outcome: Outcome = direct(plan(electors=electors), by_the_rule(to, fault, silences))
    assert outcome.clean, outcome.text
    assert silences[0] < LETTING_GO + 2 * patience(LEASE)  # the new claim's record is vacant for W


def test_a_layout_is_made_of_the_same_routers() -> None:
    """So that the runs of "regrouped" ask what they are meant to ask."""
    claims = (
        Claimed("g0", ("i0", "j0"), (200, 100), sync=True, vrids=(1, 2)),
        Claimed("i1", ("i1",), (100, 200), sync=False, vrids=(3,)),
    )
    before = layout_of((claim.name, claim.members) for claim in claims)
    changed = set()
    for number in range(1, 200):
        fresh = regrouped(claims, number)
        assert sorted(vrid for claim in fresh for vrid in claim.vrids) == [1, 2, 3]
        layout = layout_of((claim.name, claim.members) for claim in fresh)
        things = {thing: guarded.claim for guarded in layout.values() for thing in guarded.things}
        assert things.keys() == {"i0", "j0", "i1"}
        changed |= {(thing, things[thing]) for thing in ("i0", "j0", "i1")}
        assert layout.keys() - before.keys() <= {"i0.1", "j0.1", "i1.1"}
    assert {("i0", "g1"), ("i0", "i0"), ("i0", "i0.1"), ("i1", "g0")} <= changed
    assert regrouped(claims, 0) == claims
