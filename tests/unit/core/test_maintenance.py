"""What operators may ask for beyond the protocol: a pause, a minimum tenure, a node declared down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import CloseGate, ExtendGate, OpenGate
from haagent.core.events import LinkChanged, NodeDeclaredDown, PauseRequested, ResumeRequested, TrackResult
from haagent.core.node import Node
from haagent.core.tracking import TrackUse
from haagent.core.units import SECOND
from tests.unit.core.pair import World


def pair(**words) -> World:
    """Two nodes; a (150) is MASTER, ten seconds after the start."""
    world = World()
    world.add("a", 150, **words)
    world.add("b", 140, **words)
    if "uses" in words:
        for name in ("a", "b"):
            world.do(name, TrackResult("chk", passed=True))
    world.run(10)
    assert world.masters() == ["a"]
    return world


def pause(world: World, *names: str) -> None:
    for name in names:
        world.do(name, PauseRequested())


def reload(world: World, node: Node, tenure: int) -> None:
    """Reconfigure b."""
    for action in node.reconfigure(replace(node.parameters, tenure=tenure), world.now):
        world._perform("b", node, action)


class TestPause:
    def test_a_master_renews_as_always(self) -> None:
        world = pair()
        pause(world, "a", "b")
        world.run(20)
        assert world.masters() == ["a"]
        assert world.when("a", ExtendGate, 29) is not None

    def test_neither_a_failed_check_nor_a_lost_link_moves_the_address(self) -> None:
        world = pair(uses=(TrackUse("chk"),))
        pause(world, "a", "b")
        world.do("a", TrackResult("chk", passed=False))
        world.do("a", LinkChanged("eth0", up=False))
        world.run(5)
        assert world.masters() == ["a"]
        assert world.when("a", CloseGate, 10) is None

    def test_what_failed_meanwhile_counts_when_it_is_resumed(self) -> None:
        world = pair(uses=(TrackUse("chk"),))
        pause(world, "a")
        world.do("a", TrackResult("chk", passed=False))
        world.run(5)
        world.do("a", ResumeRequested())
        world.run(1)
        assert world.masters() == ["b"]

    def test_a_dead_masters_address_stays_down_until_somebody_is_resumed(self) -> None:
        world = pair()
        pause(world, "a", "b")
        world.kill("a")
        world.run(20)
        assert world.masters() == []
        world.do("b", ResumeRequested())
        world.run(1)
        assert world.masters() == ["b"]

    def test_a_bid_waits_for_the_end_of_the_pause(self) -> None:
        world = pair()
        pause(world, "a")
        world.add("c", 200)
        world.run(20)
        assert world.masters() == ["a"]
        world.do("a", ResumeRequested())
        world.run(1)
        assert world.masters() == ["c"]

    def test_an_address_that_went_with_the_arbiter_returns_with_it(self) -> None:
        """Nobody else would take it up: the others are paused."""
        world = pair()
        pause(world, "a", "b")
        world.arbiter_down = True
        world.run(10)
        assert world.masters() == []
        world.arbiter_down = False
        world.run(3)
        assert world.masters() == ["a"]
        assert world.claim().epoch == 1, "the claim was never given back"


class TestTenure:
    def test_a_better_node_waits_until_the_holder_has_held_for_long_enough(self) -> None:
        world = World()
        node = world.add("b", 140)
        node.context.tenure = 30 * SECOND
        world.run(5)
        opened = world.when("b", OpenGate)
        assert opened is not None
        world.add("a", 150)
        world.run(20)
        assert world.masters() == ["b"]
        world.run(15)
        assert world.masters() == ["a"]
        closed = world.when("b", CloseGate)
        assert closed == pytest.approx(opened + 30, abs=0.001)

    def test_failures_do_not_wait(self) -> None:
        world = World()
        for name, priority in (("a", 150), ("b", 140)):
            world.add(name, priority).context.tenure = 3600 * SECOND
        world.run(6)
        assert world.masters() == ["a"]
        world.do("a", LinkChanged("eth0", up=False))
        world.run(1)
        assert world.masters() == ["b"]

    def test_it_begins_anew_with_every_term_and_follows_a_reload(self) -> None:
        world = World()
        node = world.add("b", 140)
        world.run(5)
        reload(world, node, 3600 * SECOND)
        world.add("a", 150)
        world.run(15)
        assert world.masters() == ["b"]
        reload(world, node, 0)
        world.run(2)
        assert world.masters() == ["a"]


class TestDeclaredDown:
    def orphaned(self) -> World:
        """A holder whose electors do not include b has died."""
        world = World()
        world.add("a", 150, electors=("a", "c"))
        world.run(6)
        world.add("b", 140)
        world.run(6)
        assert world.masters() == ["a"]
        world.kill("a")
        world.run(10)
        assert world.masters() == []
        return world

    def test_only_the_operators_word_lets_a_stranger_take_over(self) -> None:
        world = self.orphaned()
        world.do("b", NodeDeclaredDown("a"))
        world.run(1)
        assert world.masters() == ["b"]

    def test_the_word_is_void_once_the_node_is_seen_alive(self) -> None:
        world = self.orphaned()
        node = world.nodes["b"]
        world.cut_off.add("b")  # so that the word does not take effect
        world.do("b", NodeDeclaredDown("a"))
        world.add("a", 150, incarnation="2", electors=("a", "c"))
        world.cut_off.clear()
        world.run(3)
        assert node.context.declared_down == set()
