"""The commands of operators: what is printed and which status they end with, against a real socket and real cores."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from haagent.agent import requests
from haagent.cli import main
from haagent.control.server import ControlServer
from haagent.control.snapshot import socket_path
from haagent.core.events import PauseRequested, ResumeRequested
from haagent.core.units import SECOND
from haagent.effects.clock import Reading
from tests.unit.agent.worlds import configuration, finish, join
from tests.unit.core.pair import World


class Agent:
    """Answers like the worker of node a in a world; each ``why`` moves the world on by a quarter of a second."""

    def __init__(self, world: World) -> None:
        self.world, self.asked = world, []

    @property
    def reading(self) -> Reading:
        return Reading(self.world.now, self.world.now.fast, 0)

    async def why(self, arguments: dict) -> dict:
        self.world.run(0.25)
        return requests.why(self.world.nodes["a"], arguments, self.reading)

    async def switchover(self, arguments: dict) -> dict:
        event = requests.switchover(self.world.nodes["a"], (), arguments, self.world.now)
        epoch = self.world.nodes["a"].groups[event.claim].claim.epoch
        self.world.do("a", event)
        arbitrated = self.world.nodes["a"].parameters.arbitrated
        return {"claim": event.claim, "epoch": epoch, "node": "a", "arbitrated": arbitrated}

    async def declare_down(self, arguments: dict) -> dict:
        self.world.do("a", requests.declare_down(self.world.nodes["a"], (), arguments, self.world.now))
        return {"done": True}

    async def pause(self, arguments: dict) -> dict:
        self.world.do("a", PauseRequested())
        return {"done": True}

    async def resume(self, arguments: dict) -> dict:
        self.world.do("a", ResumeRequested())
        return {"done": True}


@pytest.fixture
def agent(tmp_path) -> Iterator[Agent]:
    """Node a (150), MASTER for ten seconds, with b (140) beside it, behind a control socket."""
    world = World()
    world.add("a", 150)
    world.add("b", 140)
    world.run(10)
    answers, loop = Agent(world), asyncio.new_event_loop()
    handlers = {
        "why": answers.why,
        "switchover": answers.switchover,
        "declare-down": answers.declare_down,
        "pause": answers.pause,
        "resume": answers.resume,
    }
    server = ControlServer(socket_path("a", str(tmp_path)), handlers)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield answers
    asyncio.run_coroutine_threadsafe(server.aclose(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


@pytest.fixture
def haagent(tmp_path) -> Callable[..., Result]:
    """Run ``haagent`` with these words against the agent of this test."""
    return lambda *words: CliRunner().invoke(main, [*words, "--directory", str(tmp_path)])


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


class TestSwitchover:
    def test_it_says_who_took_over(self, agent, haagent) -> None:
        done = haagent("switchover", "VI_1", "--to", "b")
        assert done.exit_code == 0, done.output
        assert done.output.startswith("VI_1: a -> b (epoch 2) in ")
        assert agent.world.masters() == ["b"]

    def test_it_says_that_nobody_did(self, agent, haagent) -> None:
        """b is paused, so a takes the address back after its two leases of standing back."""
        agent.world.do("b", PauseRequested())
        done = haagent("switchover", "VI_1")
        assert done.exit_code == 1
        assert "nobody else took VI_1: a is MASTER again (epoch 2) after" in done.output

    def test_refusals_end_with_69(self, agent, haagent) -> None:
        done = haagent("switchover", "VI_1", "--to", "z")
        assert done.exit_code == 69
        assert done.output == "haagent: no node 'z' is known here; known: b\n"
        assert agent.world.masters() == ["a"]

    def test_without_waiting(self, agent, haagent) -> None:
        done = haagent("switchover", "VI_1", "--wait", "0")
        assert (done.exit_code, done.output) == (0, "VI_1 is being handed over by a\n")

    def test_plain_vrrp_leaves_it_to_the_priorities(self, agent, haagent) -> None:
        world = World()
        world.add("a", 150, arbitrated=False)
        world.add("b", 140, arbitrated=False)
        world.run(10)
        agent.world = world
        assert "leave the node out" in haagent("switchover", "VI_1", "--to", "b").output
        done = haagent("switchover", "VI_1")
        assert (done.exit_code, done.output) == (
            0,
            "VI_1 is being handed over by a; without an arbiter the priorities decide who is next\n",
        )
        world.run(2)
        assert world.masters() == ["b"]


class TestPauseAndDown:
    def test_pause_and_resume(self, agent, haagent) -> None:
        assert haagent("pause").output.startswith("paused")
        assert agent.world.nodes["a"].context.paused
        assert "PAUSED" in haagent("why", "VI_1").output
        assert haagent("resume").output == "resumed\n"
        assert not agent.world.nodes["a"].context.paused

    def test_declaring_down_needs_to_be_sure(self, agent, haagent) -> None:
        done = haagent("declare-down", "b")
        assert done.exit_code == 64
        assert "two nodes will answer for the same addresses" in done.output
        assert agent.world.nodes["a"].context.declared_down == set()

    def test_a_living_node_is_not_down_and_a_dead_one_is(self, agent, haagent) -> None:
        refused = haagent("declare-down", "b", "--yes-i-am-sure")
        assert refused.exit_code == 69
        assert "b is not down: it renewed its session" in refused.output
        agent.world.kill("b")
        agent.world.run(30)
        done = haagent("declare-down", "b", "--yes-i-am-sure")
        assert (done.exit_code, done.output) == (0, "b counts as down here until it is seen alive\n")
        assert agent.world.nodes["a"].context.declared_down == {"b"}


class TestWhy:
    def test_the_screen_and_the_document(self, agent, haagent) -> None:
        shown = haagent("why", "VI_1")
        assert shown.exit_code == 0
        labels = [line.split()[0] for line in shown.output.splitlines()[1:]]
        assert labels == ["health", "priority", "vrrp", "claim", "session", "failsafe", "gate", "next"]
        assert json.loads(haagent("why", "VI_1", "--json").output)["state"] == "MASTER"

    def test_watching_ends_by_itself_where_there_is_no_terminal(self, agent, haagent) -> None:
        assert haagent("why", "VI_1", "--watch").exit_code == 0

    def test_what_cannot_be_asked(self, agent, haagent, tmp_path) -> None:
        assert haagent("why", "VI_9").exit_code == 69
        gone = run("why", "VI_1", "--socket", str(tmp_path / "none.sock"))
        assert gone.exit_code == 69
        assert "nobody listens" in gone.output


class TestPlan:
    def file(self, directory: Path, arbiter: str = "") -> str:
        configuration(directory, arbiter=arbiter, version=2)
        return str(directory / "100.conf")

    def test_the_numbers(self, tmp_path) -> None:
        done = run("plan", "-f", self.file(tmp_path))
        assert done.exit_code == 0, done.output
        assert "others wait W = 1.1 L = 2.20 s" in done.output
        row = next(line for line in done.output.splitlines() if "host of the MASTER dies" in line)
        assert row.split()[-3:] == ["to", "3.61", "s"]
        made = json.loads(run("plan", "-f", self.file(tmp_path), "--json", "--round-trip", "20").output)
        assert made["assumptions"]["round_trip"] == 20_000_000
        assert made["timing"]["lease"] == 2 * SECOND

    def test_unsafe_timing_is_refused(self, tmp_path) -> None:
        (tmp_path / "100.conf").write_text("")
        file = tmp_path / "bad.conf"
        file.write_text(
            "vrrp_instance V {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n192.0.2.9\n}\n}\n"
            "arbiter etcd {\nendpoints h:1\nlease 2s\nrenew 900ms\n}\n"
        )
        done = run("plan", "-f", str(file))
        assert done.exit_code == 78
        assert "renew 0.9 s is more than a third of lease 2 s: 3 x 0.9 = 2.7 > 2" in done.output

    def test_another_arbiter_on_the_command_line(self, tmp_path) -> None:
        done = run("plan", "-f", self.file(tmp_path), "--arbiter", "none")
        assert "BOTH are MASTER" in done.output


class TestRecordings:
    @pytest.fixture
    def files(self, tmp_path) -> list[str]:
        world = World()
        names = {"a": 150, "b": 100}
        nodes = [
            join(world, name, configuration(tmp_path, priority=priority), record=tmp_path / f"{name}.jsonl")
            for name, priority in names.items()
        ]
        world.run(8)
        world.kill("a")
        world.run(8)
        finish(*nodes)
        return [str(tmp_path / f"{name}.jsonl") for name in names]

    def test_replay_prints_decisions_and_agrees(self, files) -> None:
        done = run("replay", files[1])
        assert done.exit_code == 0, done.output
        assert "-> OpenGate(claim='VI_1', epoch=2)" in done.output
        assert "ExtendGate" not in done.output
        assert done.output.splitlines()[-1].endswith("events, the same decisions")
        assert "ExtendGate" in run("replay", files[1], "--all").output

    def test_replay_from_a_time_on(self, files) -> None:
        assert "OpenGate" not in run("replay", files[1], "--from", "-1").output
        assert "OpenGate" in run("replay", files[1], "--from", "9").output

    def test_replay_as_json(self, files) -> None:
        lines = [json.loads(line) for line in run("replay", files[0], "--json").output.splitlines()]
        assert lines[0]["node"] == "a"
        assert lines[-1]["same"] is True

    def test_replay_finds_the_first_difference(self, files, tmp_path) -> None:
        text = Path(files[0]).read_text().replace('"OpenGate","claim":"VI_1"', '"OpenGate","claim":"VI_2"')
        Path(files[0]).write_text(text)
        done = run("replay", files[0])
        assert done.exit_code == 1
        assert "DIFFERENT" in done.output
        assert "OpenGate(claim='VI_2', epoch=1)" in done.output

    def test_replay_under_another_configuration(self, files, tmp_path) -> None:
        configuration(tmp_path, priority=200)
        assert run("replay", files[1], "--node-config", str(tmp_path / "100.conf")).exit_code == 0
        assert run("replay", files[1], "--node-config", str(tmp_path / "200.conf")).exit_code == 1
        assert run("replay", files[1], "--node-config", str(tmp_path / "none.conf")).exit_code == 78

    def test_replay_of_what_is_left(self, files) -> None:
        lines = Path(files[0]).read_text().splitlines(keepends=True)
        Path(files[0]).write_text("".join([lines[0], *lines[30:]]))
        done = run("replay", files[0])
        assert done.exit_code == 65
        assert "shown as recorded, not decided again: its first" in done.output
        assert run("replay", files[0] + ".none").exit_code == 65

    def test_verify(self, files) -> None:
        done = run("verify", *files)
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[-1] == "nothing contradicts the promise"
        assert "unchecked what the kernel let pass" in done.output
        verdict = json.loads(run("verify", "--json", *files).output)
        assert verdict["violations"] == []

    def test_verify_catches_a_doctored_recording(self, files) -> None:
        text = Path(files[1]).read_text().replace('"epoch":2}', '"epoch":1}')
        Path(files[1]).write_text(text)
        done = run("verify", *files)
        assert done.exit_code == 1
        assert "VIOLATED  VI_1 epoch 1 has two holders: a and b" in done.output
