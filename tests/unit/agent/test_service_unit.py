"""What the shipped systemd unit leaves the agent is enough for what it does."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import haagent

UNIT = Path(haagent.__file__).with_name("haagent.service")
WORK = """
import os, sys
from haagent.config.command_model import NotifyFifo
from haagent.effects.confinement import become_nobody
from haagent.effects.fifo import _give
os.mkfifo(sys.argv[1], 0o600)
_give(NotifyFifo(sys.argv[1], user="nobody"))
become_nobody()
assert os.getresuid() == (65534,) * 3
"""


def bounding_set() -> list[str]:
    """Return the unit's capabilities in setpriv's words."""
    lines = UNIT.read_text().splitlines()
    words = [
        word for line in lines if line.startswith("CapabilityBoundingSet=") for word in line[22:].split()
    ]
    return ["-all", *(word.lower().replace("cap_", "+") for word in words)]


def test_the_unit_and_the_page_say_the_same_of_services_behind_the_address() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "haproxy.md"
    for text in (UNIT.read_text(), page.read_text()):
        assert "After=haproxy.service" in text
        assert "Before=haproxy.service" not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: takes capabilities away from it")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
def test_a_fifo_is_given_to_its_user_and_the_front_becomes_nobody(tmp_path: Path) -> None:
    kept = ",".join(bounding_set())
    done = subprocess.run(
        ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all", sys.executable, "-c", WORK, str(tmp_path / "fifo")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = os.stat(tmp_path / "fifo")
    assert stat.S_ISFIFO(found.st_mode)
    assert found.st_uid == 65534
