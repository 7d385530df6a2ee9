"""What an event costs: the groups it concerns, not the groups there are; and deadlines that leave nothing behind."""

from __future__ import annotations

import pytest

from haagent.core.actions import ReadRegister
from haagent.core.claim import Claim
from haagent.core.events import TrackResult
from haagent.core.units import SECOND
from tests.unit.core.pair import World

INSTANCES = tuple(f"VI_{number}" for number in range(30))


def pair_with_many() -> World:
    world = World()
    for name, priority in (("a", 200), ("b", 100)):
        world.add(name, priority, instances=INSTANCES, electors=("a", "b"))
    world.run(20)
    assert all(world.masters(instance) == ["a"] for instance in INSTANCES)
    return world


def test_an_event_that_concerns_no_group_asks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    world = pair_with_many()
    asked: list[str] = []
    held = Claim.held.fget
    assert held is not None

    def counted(claim: Claim) -> bool:
        asked.append(claim.name)
        return held(claim)

    monkeypatch.setattr(Claim, "held", property(counted))
    now = world.now
    for node in world.nodes.values():
        node.handle(TrackResult("of another node", passed=True), now)
        node.next_deadline()
    assert asked == []


def test_deadlines_that_moved_leave_nothing_behind() -> None:
    """A deadline that moves nearer leaves its old entry in the queue; it must not come back for ever."""
    world = pair_with_many()
    for _ in range(5):
        world.run(10)
        for node in world.nodes.values():
            assert len(node._agenda._queue) <= 2 * len(INSTANCES)  # one that counts, and one that it replaced


def test_a_holder_of_many_claims_asks_the_arbiter_no_more_than_once_a_second() -> None:
    world = pair_with_many()
    begun = world.time / SECOND
    world.run(90)
    looked = [
        action
        for at, name, action in world.log
        if at >= begun and name == "a" and isinstance(action, ReadRegister) and "claims/" in action.name
    ]
    assert len(INSTANCES) <= len(looked) <= 91 + len(INSTANCES)
