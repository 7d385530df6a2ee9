"""``haagent gate clear`` beside an agent: refused before anything is touched. On the real kernel: tests/netns."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from haagent.agent import node_lock
from haagent.cli import gate
from haagent.errors import EffectError

NODE = f"gate-{os.getpid()}"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to the host, which is nothing; and a lock of our own, for agents may run on this machine."""
    done: list[str] = []

    def sweep() -> tuple[()]:
        with pytest.raises(EffectError, match="one gate for both"):
            node_lock.take(NODE)  # no agent can start meanwhile
        done.append("gates")
        return ()

    monkeypatch.setattr(node_lock, "NAMESPACE", f"lock-of-{NODE}")
    monkeypatch.setattr(gate, "sweep", sweep)
    monkeypatch.setattr(gate, "remove_left_over", lambda: done.append("interfaces") or ())
    return done


def clear(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(gate.gate, ["clear", *words])
    return result.exit_code, result.output


def test_nothing_is_cleared_while_an_agent_runs(done: list[str]) -> None:
    with node_lock.take(NODE):
        status, said = clear("--yes")
        assert status == 69
        assert "an agent runs in this network namespace" in said
        assert f"process {os.getpid()} " in said
        assert clear()[0] == 64
    assert done == []


def test_without_one_it_is_cleared_and_the_lock_given_back(done: list[str]) -> None:
    assert clear("--yes") == (0, "there was none\n")
    assert done == ["interfaces", "gates"]
    node_lock.take(NODE).close()


@pytest.mark.parametrize("with_times", [True, False])
def test_a_clock_that_forbids_the_bpf_tier_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, with_times: bool
) -> None:
    monkeypatch.setattr(gate, "clock_problem", lambda: "the clock is ahead")
    gate._show_clock(with_times=with_times)
    shown = capsys.readouterr().out
    assert shown.startswith("no BPF gate from here: the clock is ahead\n")
    assert ("right only if" in shown) is with_times


def test_one_clock_or_none_to_be_read_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> str:
        raise EffectError("no program runs here")

    for problem in (lambda: "", refused):
        monkeypatch.setattr(gate, "clock_problem", problem)
        gate._show_clock(with_times=True)
    assert capsys.readouterr().out == ""
