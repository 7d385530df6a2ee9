"""Operators at work on real agents: why, switchover, pause and resume; then the recordings of it, replayed and verified."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agent_lab
import pytest
from agent_lab import Agent, Lab, eventually, lab, ms

pytestmark = [pytest.mark.netns, pytest.mark.etcd, pytest.mark.timeout(120)]


@pytest.fixture
def pair() -> Iterator[Lab]:
    """Two agents and one etcd; node1 is MASTER."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_lab, "PREFIX", "hao")
        with lab() as made:
            made.agent("node1")
            made.wait_owner("node1", patience=30)
            backup = made.agent("node2")
            eventually(backup.socket.exists, patience=30, what="the control socket")
            eventually(lambda: backup.instance()["state"] == "BACKUP", patience=30)
            yield made


def _agent(made: Lab, name: str) -> Agent:
    agent = made.daemons[name]
    assert isinstance(agent, Agent)
    return agent


def ask(agent: Agent, *words: str, status: int = 0) -> str:
    """Run a command against this agent's socket and return what it printed."""
    done = agent.cli(*words, "--socket", str(agent.socket), timeout=20)
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def recording(agent: Agent) -> Path:
    """Return the flight recording the agent keeps."""
    return agent.directory / f"{agent.name}.events.jsonl"


def offline(agent: Agent, *words: str) -> tuple[int, str]:
    """Run a command that asks nobody; return its exit status and what it printed."""
    done = agent.cli(*words, timeout=20)
    return done.returncode, done.stdout + done.stderr


def test_operators_at_work(pair: Lab, tmp_path: Path) -> None:
    node1, node2 = _agent(pair, "node1"), _agent(pair, "node2")
    they_say_why(node1, node2)
    hand_over(pair, node1)
    refuse_what_leads_nowhere(node1, node2)
    pause_and_crash(pair, node1, node2)
    node2.stop()
    pair.wait_owner(None)
    replay_equals(node1, node2)
    verify_tells_honest_from_doctored(node1, node2, tmp_path)


def they_say_why(node1: Agent, node2: Agent) -> None:
    assert "it is MASTER, and stays so" in ask(node1, "why", "VI_1")
    backup: dict[str, Any] = {}

    def waits() -> bool:
        """A node that has just started waits for that first."""
        backup.update(json.loads(ask(node2, "why", "VI_1", "--json")))
        return bool(re.search(r"must be silent for 0\.\d s more, and node1 must release", backup["next"]))

    eventually(waits, what="waiting for node1")
    assert backup["claim"]["holder"] == "node1"
    assert backup["other_session"]["expires_boot_ns"] > backup["written_boot_ns"]


def hand_over(pair: Lab, node1: Agent) -> None:
    """node2 takes over; node1 is the better one and gets it back after it has stood back."""
    before = time.monotonic_ns()
    said = ask(node1, "switchover", "VI_1", "--to", "node2")
    assert said.startswith("VI_1: node1 -> node2 (epoch 2) in "), said
    eventually(lambda: pair.answers("node2", before), what="an answer of node2")
    pair.wait_owner("node1")
    print(f"switchover there and back: the longest time without an answer is {ms(pair.outage(before))}")
    assert pair.outage(before) < agent_lab.LEASE  # two handovers, no expiry
    assert pair.dual(before) == 0


def refuse_what_leads_nowhere(node1: Agent, node2: Agent) -> None:
    assert "VI_1 is not MASTER here; node1 is" in ask(node2, "switchover", "VI_1", status=69)
    assert "no node 'node9' is known here; known: node2" in ask(
        node1, "switchover", "VI_1", "--to", "node9", status=69
    )
    assert "node1 is not down" in ask(node2, "declare-down", "node1", "--yes-i-am-sure", status=69)
    ask(node2, "declare-down", "node1", status=64)


def pause_and_crash(pair: Lab, node1: Agent, node2: Agent) -> None:
    """While both are paused a dead MASTER is not replaced; resuming the other one ends that."""
    for node in (node1, node2):
        ask(node, "pause")
    assert node2.shown()["paused"]
    worker = node1.worker
    os.kill(node1.supervisor, signal.SIGSTOP)  # it must neither replace the worker nor be outlived by it
    os.kill(worker, signal.SIGKILL)
    os.kill(node1.supervisor, signal.SIGKILL)
    pair.wait_owner(None)
    time.sleep(2)
    assert pair.owner() is None
    assert "`haagent resume` must be run" in ask(node2, "why", "VI_1")
    ask(node2, "resume")
    pair.wait_owner("node2")
    assert pair.dual() == 0


def replay_equals(node1: Agent, node2: Agent) -> None:
    for node in (node1, node2):
        status, text = offline(node, "replay", str(recording(node)))
        assert status == 0, text
        assert re.search(r"\d+ events, the same decisions", text.splitlines()[-1]), text
        assert "-> OpenGate(claim='VI_1'" in text


def verify_tells_honest_from_doctored(node1: Agent, node2: Agent, directory: Path) -> None:
    files = [str(recording(node)) for node in (node1, node2)]
    status, text = offline(node1, "verify", *files)
    assert status == 0, text
    pairs = re.search(r"that (\d+) pairs of intervals of two nodes on the same clock do not overlap", text)
    assert pairs, text
    assert int(pairs[1]) >= 2
    assert re.search(r"unchecked node1 .* ends without a clean stop", text), text
    doctored = directory / "doctored.jsonl"
    lines = [without_closing(json.loads(line)) for line in Path(files[0]).read_text().splitlines()]
    doctored.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, text = offline(node1, "verify", str(doctored), files[1])
    assert status == 1, text
    assert "VIOLATED  node1 (epoch 1) and node2 (epoch 2) both had their gate open for VI_1" in text


def without_closing(line: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """Return a line of a recording that says nothing of closing the gate."""
    if "a" in line:
        line["a"] = [action for action in line["a"] if action["$"] != "CloseGate"]
    return line
