"""``haagent why``: the document says what the core says, and the one sentence names what really stands in the way."""

from __future__ import annotations

from dataclasses import replace

import click
import pytest

from haagent.agent.requests import declare_down, switchover, why
from haagent.cli.why import why_lines
from haagent.core.events import (
    EffectFailed,
    ForeignAnnouncement,
    LinkChanged,
    PauseRequested,
    SwitchoverRequested,
    TrackResult,
)
from haagent.core.tracking import TrackUse
from haagent.core.units import SECOND
from haagent.effects.clock import Reading
from haagent.errors import ControlError
from tests.unit.agent.worlds import configuration, join, peers
from tests.unit.core.pair import ORIGIN, World

SHIFT = 5 * SECOND  # between BOOTTIME and the fast clock, as after some slewing


def ask(world: World, node: str, instance: str = "VI_1") -> dict:
    reading = Reading(world.now, world.now.fast + SHIFT, 0)
    return why(world.nodes[node], {"instance": instance}, reading)


def screen(world: World, node: str) -> str:
    return click.unstyle("\n".join(why_lines(ask(world, node), world.now.fast + SHIFT)))


@pytest.fixture
def pair() -> World:
    """Two nodes; a (150) is MASTER, ten seconds after the start."""
    world = World()
    world.add("a", 150)
    world.add("b", 140)
    world.run(10)
    return world


class TestMaster:
    def test_what_is_said(self, pair) -> None:
        document = ask(pair, "a")
        session = pair.nodes["a"].session
        assert document["state"] == "MASTER"
        assert document["gate"] == {"open": True, "deadline_boot_ns": session.deadline + SHIFT, "doubt": ""}
        assert document["session"]["until_boot_ns"] == session.deadline + SHIFT
        assert document["session"]["renewed_by"] == "arbiter"
        assert (document["claim"]["state"], document["claim"]["epoch"]) == ("held", 1)
        assert "it is MASTER, and stays so" in document["next"]
        text = screen(pair, "a")
        assert "VI_1 on a is MASTER since 6.6 s: claim held" in text
        assert "gate      open, closes in 1." in text

    def test_in_doubt(self, pair) -> None:
        pair.do("a", ForeignAnnouncement("VI_1", "192.0.2.9", "02:00:00:00:00:01"))
        document = ask(pair, "a")
        assert document["gate"]["doubt"] == "02:00:00:00:00:01 announced 192.0.2.9"
        assert "confirmed the claim once more" in document["next"]

    def test_a_bid_is_shown(self, pair) -> None:
        pair.nodes["a"].context.tenure = 100 * SECOND
        pair.add("c", 200)
        pair.run(8)
        assert "c bids 200" in screen(pair, "a")
        assert "answer the bid of this node (priority 200)" in ask(pair, "c")["next"]


class TestBackup:
    def test_what_it_waits_for(self, pair) -> None:
        document = ask(pair, "b")
        router = pair.nodes["b"]._members["VI_1"][1].router
        assert document["vrrp"]["silent_from_boot_ns"] == router.state.master_down_at + SHIFT
        assert document["vrrp"]["heard"]["priority"] == 150
        assert document["other_session"]["expires_boot_ns"] == (
            pair.nodes["b"].observations["a"].expires_at + SHIFT
        )
        assert document["next"].startswith("192.0.2.150 (priority 150) must be silent for ")
        assert "a must release the claim, or not renew its session for" in document["next"]
        assert document["next"].endswith(
            "or its priority (140) must become higher than 150, so that it may ask for a handover"
        )

    def test_the_sentence_comes_true(self, pair) -> None:
        """Silence and an expired session for as long as it says make it MASTER, and not sooner."""
        expires = ask(pair, "b")["other_session"]["expires_boot_ns"] - SHIFT
        pair.kill("a")
        pair.run((expires - pair.now.fast) / SECOND - 0.001)
        assert pair.masters() == []
        pair.run(1)
        assert pair.masters() == ["b"]

    def test_a_fault(self) -> None:
        world = World()
        world.add("a", 150, uses=(TrackUse("chk"), TrackUse("w", weight=-20)))
        world.do("a", TrackResult("chk", passed=False))
        world.do("a", TrackResult("w", passed=False))
        world.run(5)
        document = ask(world, "a")
        assert document["state"] == "FAULT"
        assert document["next"] == "this must be mended first: chk failed"
        assert document["priority"]["effective"] == 130
        assert "130 = 150, chk is down (FAULT while down), w is down (-20)" in screen(world, "a")
        world.do("a", LinkChanged("eth0", up=False))
        assert "interface eth0 is down" in ask(world, "a")["next"]

    def test_a_pause(self, pair) -> None:
        pair.do("b", PauseRequested())
        pair.kill("a")
        pair.run(10)
        assert "`haagent resume` must be run" in ask(pair, "b")["next"]
        assert "PAUSED" in screen(pair, "b")

    def test_the_arbiter_is_gone(self, pair) -> None:
        pair.arbiter_down = True
        pair.kill("a")
        pair.run(10)
        assert "the arbiter must answer: this node has no live session (no answer)" in ask(pair, "b")["next"]

    def test_it_has_just_handed_over(self, pair) -> None:
        pair.do("a", SwitchoverRequested("VI_1", "b"))
        pair.run(1)
        assert ask(pair, "a")["next"] == "it handed over and stands back for 3.0 s more"

    def test_a_start(self) -> None:
        world = World()
        world.add("a", 254, advert=SECOND // 10)
        world.run(1)
        assert ask(world, "a")["next"] == "it has started a moment ago and waits for 1.2 s more"

    def test_addresses_that_cannot_be_removed(self, pair) -> None:
        pair.do("a", LinkChanged("eth0", up=False))
        pair.do("a", EffectFailed("VI_1", "RemoveAddresses", "busy"))
        assert "are being removed" in ask(pair, "a")["next"]


class TestFailsafe:
    def test_promises_are_shown_on_both_sides(self, tmp_path) -> None:
        world = World()
        for name, priority in (("a", 150), ("b", 100)):
            join(world, name, configuration(tmp_path, priority=priority, more=peers(tmp_path, "a", "b")))
        world.run(12)
        holder, elector = ask(world, "a"), ask(world, "b")
        assert holder["failsafe"]["electors"] == ["a", "b"]
        assert [(one["node"], one["refusal"]) for one in holder["failsafe"]["answers"]] == [("b", "")]
        assert holder["session"]["quiet"]
        assert "b granted " in screen(world, "a")
        assert elector["failsafe"]["promised_until_boot_ns"] > elector["written_boot_ns"]
        assert "this node has promised not to claim" in screen(world, "b")

    def test_a_stranger_is_told_that_it_is_one(self) -> None:
        world = World()
        world.add("a", 150, electors=("a", "c"))
        world.run(6)
        world.add("b", 140)
        world.run(6)
        world.kill("a")
        world.run(10)
        assert "haagent declare-down a" in ask(world, "b")["next"]


class TestRequests:
    def test_unknown_names_are_refused_with_the_known_ones(self, pair) -> None:
        with pytest.raises(ControlError, match=r"no instance 'VI_9'; there are: VI_1"):
            ask(pair, "a", "VI_9")
        with pytest.raises(ValueError, match="must be a text"):
            why(pair.nodes["a"], {}, Reading(pair.now, 0, 0))
        with pytest.raises(ControlError, match=r"no node 'z' is known here; known: b"):
            switchover(pair.nodes["a"], (), {"claim": "VI_1", "to": "z"}, pair.now)

    def test_a_switchover_to_somebody_who_can(self, pair) -> None:
        event = switchover(pair.nodes["a"], (), {"claim": "VI_1", "to": "b"}, pair.now)
        assert event == SwitchoverRequested("VI_1", "b")
        assert switchover(pair.nodes["a"], (), {"claim": "VI_1"}, pair.now).to is None

    @pytest.mark.parametrize(
        ("to", "message"), [("a", "is this node"), ("b", "last sign of life came"), (None, "seen alive")]
    )
    def test_a_switchover_to_somebody_who_cannot(self, pair, to, message) -> None:
        pair.kill("b")
        pair.run(30)
        node = pair.nodes["a"]
        with pytest.raises(ControlError, match=message):
            switchover(node, ("b",), {"claim": "VI_1", "to": to}, pair.now)
        assert switchover(node, ("b",), {"claim": "VI_1", "to": to, "force": True}, pair.now).to == to

    def test_a_switchover_where_it_is_not_master_or_paused(self, pair) -> None:
        with pytest.raises(ControlError, match="VI_1 is not MASTER here; a is; ask the node that is"):
            switchover(pair.nodes["b"], (), {"claim": "VI_1"}, pair.now)
        pair.do("a", PauseRequested())
        with pytest.raises(ControlError, match="paused"):
            switchover(pair.nodes["a"], (), {"claim": "VI_1"}, pair.now)

    def test_a_node_outside_the_electors(self, pair) -> None:
        node = pair.nodes["a"]
        session = replace(node.session.parameters, electors=("a", "c"))
        node.session.parameters = session
        with pytest.raises(ControlError, match="b is no candidate: the electors are a, c"):
            switchover(node, (), {"claim": "VI_1", "to": "b"}, pair.now)

    def test_declaring_down(self, pair) -> None:
        node = pair.nodes["b"]
        with pytest.raises(ControlError, match=r"a is not down: it renewed its session 0\.\d s ago"):
            declare_down(node, (), {"node": "a", "sure": True}, pair.now)
        with pytest.raises(ControlError, match="b is this node"):
            declare_down(node, (), {"node": "b", "sure": True}, pair.now)
        with pytest.raises(ControlError, match="no node 'z'"):
            declare_down(node, (), {"node": "z", "sure": True}, pair.now)
        with pytest.raises(ValueError, match="sure"):
            declare_down(node, (), {"node": "a"}, pair.now)
        pair.kill("a")
        pair.run(5)
        assert declare_down(node, (), {"node": "a", "sure": True}, pair.now).node == "a"


def test_plain_vrrp_is_explained_too() -> None:
    world = World()
    world.add("a", 150, arbitrated=False)
    world.add("b", 140, arbitrated=False)
    world.run(10)
    assert ask(world, "a")["state"] == "MASTER"
    assert "no arbiter: the priorities alone decide" in screen(world, "b")
    assert ask(world, "b")["next"].startswith("192.0.2.150 (priority 150) must be silent for 2.8 s more")


def test_times_are_absolute(pair) -> None:
    assert ask(pair, "a")["written_boot_ns"] == ORIGIN + 10 * SECOND + SHIFT
