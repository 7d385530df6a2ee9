"""The lab with arbiters other than etcd: voting files, a witness, a quorum; the MASTER killed, then torture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from haagent.cli.lab import lab
from haagent.cli.torture import torture

pytestmark = pytest.mark.netns


QUORUM = pytest.param("quorum", marks=[pytest.mark.etcd, pytest.mark.zookeeper])


@pytest.mark.parametrize("arbiter", ["file", "witness", QUORUM])
def test_a_killed_master_is_taken_over_from(arbiter: str, tmp_path: Path) -> None:
    words = ["run", "kill", "--arbiter", arbiter, "--quick", "--strict", "--out", str(tmp_path)]
    done = CliRunner().invoke(lab, words)
    assert done.exit_code == 0, done.output
    verdict = json.loads((tmp_path / "kill.json").read_text())
    assert verdict["arbiter"] == arbiter
    assert "Never two owners at once" in done.output
    assert "nobody " not in done.output.rsplit("kill ", 1)[-1], "the peer takes over"


@pytest.mark.timeout(180)
def test_a_little_torture_is_survived(tmp_path: Path) -> None:
    words = [
        "--arbiter",
        "witness",
        "--seed",
        "11",
        "--faults",
        "4",
        "--advert",
        "0.2",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(torture, words)
    assert done.exit_code == 0, done.output


def test_a_scenario_that_breaks_servers_wants_some(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        lab, ["run", "freeze-arbiter", "--arbiter", "file", "--quick", "--out", str(tmp_path)]
    )
    assert done.exit_code != 0
    assert "there are none" in done.output
