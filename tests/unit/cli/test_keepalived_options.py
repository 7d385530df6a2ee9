"""keepalived's options: what changes nothing here is taken in silence only where nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from haagent.cli.run import run

GOOD = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n192.0.2.5/24\n}\n}\n"


def check(directory: Path, *options: str) -> Result:
    """Check a usable file with these options."""
    file = directory / "k.conf"
    file.write_text(GOOD)
    return CliRunner().invoke(run, ["-t", "-f", str(file), *options], env={"HAAGENT_ARBITER": ""})


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        (["-V"], "hands them over"),
        (["--dont-release-vrrp"], "hands them over"),
        (["-e"], "include_check"),
        (["-x"], "metrics"),
        (["-A", "unix:/run/agentx"], "metrics"),
    ],
)
def test_whoever_loses_something_is_told_what_there_is_instead(tmp_path, options, instead) -> None:
    result = check(tmp_path, *options)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("haagent: warning: -")
    assert options[0] in line.partition(" has no effect: ")[0]
    assert instead in line


def test_what_costs_nothing_is_taken_in_silence(tmp_path) -> None:
    flags = ("-P", "-l", "-n", "-D", "-G", "-X", "-I", "-R", "-a", "-m", "-B", "--all")
    result = check(tmp_path, *flags, "-c", "/run/c.pid", "-b", "/run/b.pid", "-M", "core")
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_check_refuses_what_the_start_refuses(tmp_path) -> None:
    result = check(tmp_path, "--arbiter", "etcd://h:2379/d?lease=3s&renew=1400ms")
    assert result.exit_code == 5
    assert "error: --arbiter: renew 1.4 s is more than a third of lease 3 s" in result.stderr
    assert check(tmp_path, "--http", "nowhere").exit_code == 78
