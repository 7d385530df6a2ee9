"""``haagent gate`` on the real kernel: what it shows, that it refuses without a word, and that it leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from gate_lab import Wire, guard, inside

from haagent.agent import node_lock
from haagent.cli.gate import gate as command
from haagent.core.units import SECOND
from haagent.effects.gate import boot_now, open_gate

pytestmark = pytest.mark.netns

WEB = guard()


@pytest.fixture
def wire() -> Iterator[Wire]:
    built = Wire("hagc")
    try:
        built.build()
        yield built
    finally:
        built.destroy()


def ask(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, words)
    return result.exit_code, result.output


def test_it_shows_what_hangs_and_clears_it_only_when_told_to(wire: Wire) -> None:
    with inside(wire.a):
        assert ask("status") == (0, "no gate of haagent in this network namespace\n")
        gate = open_gate([WEB])
        gate.extend(boot_now() + 60 * SECOND)
        gate.open(WEB.claim, 7)
        status, shown = ask("status")
        assert status == 0
        assert f"{WEB.claim} (epoch 7)" in shown
        assert "unless renewed" in shown
        assert ask("clear")[0] == 64
        with node_lock.take("test"):  # as an agent has it
            assert ask("clear", "--yes")[0] == 69
        assert f"{WEB.claim} (epoch 7)" in ask("status")[1]
        status, cleared = ask("clear", "--yes")
        assert status == 0
        assert "removed" in cleared
        assert ask("status") == (0, "no gate of haagent in this network namespace\n")
