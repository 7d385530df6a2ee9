"""The vote of a track_peer: who counts as seen, and what a node makes of it."""

from __future__ import annotations

import pytest

from haagent.core.events import TrackResult
from haagent.core.reports import State
from haagent.core.sight import seen, verdict
from haagent.core.tracking import TrackUse
from haagent.core.units import SECOND
from tests.unit.core.pair import World

PATIENCE = 3 * SECOND


def test_a_node_is_seen_until_its_last_message_is_too_old() -> None:
    heard = {"a": 10 * SECOND, "b": None, "c": 7 * SECOND - 1}
    assert seen(heard, ("a", "b", "c", "d"), PATIENCE, 10 * SECOND) == ("a",)
    assert seen(heard, ("a",), PATIENCE, 13 * SECOND) == ("a",)
    assert seen(heard, ("a",), PATIENCE, 13 * SECOND + 1) == ()


@pytest.mark.parametrize(
    ("count", "least", "elapsed", "expected"),
    [
        (1, 1, 0, True),
        (0, 1, 0, None),
        (0, 1, PATIENCE, None),
        (0, 1, PATIENCE + 1, False),
        (1, 2, 9 * SECOND, False),
    ],
)
def test_too_few_is_a_verdict_only_after_there_was_time_to_hear_them(count, least, elapsed, expected) -> None:
    assert verdict(count, least, SECOND, PATIENCE, SECOND + elapsed) is expected


def states(world: World) -> dict[str, State]:
    return {name: node.groups["VI_1"].members[0].state for name, node in world.nodes.items()}


def test_a_pair_that_loses_sight_of_each_other_stays_as_it_is() -> None:
    """Both sides see the same, so with the same weight neither gains, and neither is FAULT."""
    world = World()
    for name, priority in (("a", 150), ("b", 140)):
        world.add(name, priority, uses=(TrackUse("peer other", -20),))
    world.run(8)
    assert states(world) == {"a": State.MASTER, "b": State.BACKUP}
    for name in ("a", "b"):
        world.do(name, TrackResult("peer other", passed=False))
    world.run(5)
    assert states(world) == {"a": State.MASTER, "b": State.BACKUP}
    assert [node.groups["VI_1"].members[0].router.priority for node in world.nodes.values()] == [130, 120]


def test_a_master_that_alone_sees_nobody_hands_over_to_one_that_sees_it() -> None:
    """Its own ears are the likelier fault: the vote moves the address, in order, to the node that hears."""
    world = World()
    for name, priority in (("a", 150), ("b", 140)):
        world.add(name, priority, uses=(TrackUse("peer other", -20),))
    world.run(8)
    world.do("b", TrackResult("peer other", passed=True))
    world.do("a", TrackResult("peer other", passed=False))
    world.run(6)
    assert states(world) == {"a": State.BACKUP, "b": State.MASTER}


def test_with_weight_0_a_node_that_sees_too_few_is_fault() -> None:
    world = World()
    for name, priority in (("a", 150), ("b", 140), ("c", 130)):
        world.add(name, priority, uses=(TrackUse("peer others", 0),))
        world.do(name, TrackResult("peer others", passed=True))
    world.run(8)
    assert states(world)["a"] is State.MASTER
    world.do("a", TrackResult("peer others", passed=False))
    world.run(5)
    assert states(world) == {"a": State.FAULT, "b": State.MASTER, "c": State.BACKUP}
