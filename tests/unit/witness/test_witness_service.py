"""The systemd unit starts what there is, and systemd understands it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import haagent
from haagent.cli.witness import witness

UNIT = Path(haagent.__file__).with_name("haagent-witness.service")


def test_its_command_has_only_options_that_exist() -> None:
    (line,) = (one for one in UNIT.read_text().splitlines() if one.startswith("ExecStart="))
    program, command, *words = line.removeprefix("ExecStart=").split()
    assert (program, command) == ("haagent", "witness")
    options = witness.make_context("witness", words).params
    assert options["key_file"] == "%d/key"
    assert options["path"] == Path("%S/haagent-witness/registers")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_it(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("ExecStart=haagent ", f"ExecStart={shutil.which('true')} "))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert done.returncode == 0, done.stderr
    assert not ours, ours
