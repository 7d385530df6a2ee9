"""``haagent rehearse`` on real kernels and servers: a user's file broken and judged, and proof that it can find fault."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from haagent.cli.rehearse import rehearse
from haagent.lab import topology
from haagent.lab.rehearsal import frr
from haagent.lab.rehearsal.wiring import PREFIX

pytestmark = [pytest.mark.netns, pytest.mark.etcd]
PAIR = """
vrrp_script check {
    script "/usr/local/bin/does-not-exist"
    interval 1
}
vrrp_sync_group both {
    group {
        outside
        inside
    }
}
vrrp_instance outside {
    state BACKUP
    version 3
    interface bond0.7
    virtual_router_id 51
    @a priority 150
    @b priority 120
    advert_int 0.2
    virtual_ipaddress {
        203.0.113.10/28
        2001:db8:7::10/64
    }
    track_script {
        check
    }
    notify_master "/usr/local/bin/does-not-exist master"
}
vrrp_instance inside {
    state BACKUP
    version 3
    interface eth1
    virtual_router_id 52
    @a priority 150
    @b priority 120
    advert_int 0.2
    @a unicast_src_ip 10.1.0.2
    @b unicast_src_ip 10.1.0.3
    unicast_peer {
        @a 10.1.0.3
        @b 10.1.0.2
    }
    virtual_ipaddress {
        10.1.0.1/24
    }
}
"""

ROUTER = """
vrrp_instance web {
    version 3
    interface eth0
    virtual_router_id 51
    @a priority 150
    @b priority 140
    advert_int 0.3
    virtual_ipaddress {
        192.0.2.100/24
    }
}
"""


def labs_of(pid: int) -> list[str]:
    """Return the labs that a process has built and not removed."""
    return [name for name in topology.registered() if f'"pid": {pid}' in record(name)]


def record(name: str) -> str:
    try:
        return (topology.REGISTRY / f"{name}.json").read_text()
    except FileNotFoundError:
        return ""  # another program's, just removed


def orphans() -> list[str]:
    """Return namespaces of rehearsals that no record would remove."""
    known = topology.registered()
    found = [name for name in os.listdir("/run/netns") if name.startswith(PREFIX)]
    return [name for name in found if name.partition("-")[0] not in known]


@pytest.fixture
def conf(tmp_path):
    file = tmp_path / "keepalived.conf"
    file.write_text(PAIR)
    return file


@pytest.mark.timeout(150)
def test_a_users_file_is_rebuilt_broken_and_judged(conf, tmp_path):
    words = [
        "-f",
        str(conf),
        "--faults",
        "kill,script-fails,kill-leader-loop,ring",
        "--slack",
        "3",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(rehearse, words)
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "out" / "rehearsal.json").read_text())
    (played,) = said["played"]
    assert (played["dual_ms"], played["interrupted"]) == (0, "")
    assert [one["fault"] for one in played["faults"]] == ["kill", "script-fails", "kill-leader-loop"]
    assert [one["fault"] for one in played["left_out"]] == ["ring"]
    kill, script, _ = played["faults"]
    for fault in (kill, script):
        assert fault["target"] == "a"
        assert set(fault["owners"]) == {"outside", "inside"}
        assert all(lanes["b"] for lanes in fault["owners"].values()), (
            "the other node took the whole group over"
        )
    assert played["rounds"] > 300
    page = (tmp_path / "out" / "rehearsal.html").read_text()
    assert all(words in page for words in ("bond0.7", "10.1.0.2/24", "2001:db8:7::10", "epoch", "gate a"))
    assert labs_of(os.getpid()) == []
    assert orphans() == []


@pytest.mark.timeout(90)
def test_plain_vrrp_is_found_guilty(conf, tmp_path):
    words = ["-f", str(conf), "--faults", "cut-vrrp", "--arbiter", "none", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(rehearse, words)
    assert result.exit_code == 1, result.output
    assert "two owners of" in result.output
    assert json.loads((tmp_path / "out" / "rehearsal.json").read_text())["played"][0]["dual_ms"] > 1000
    assert (tmp_path / "out" / "evidence" / "haagent-1-cut-vrrp" / "a" / "haagent.log").exists()


@pytest.mark.timeout(120)
def test_a_lost_terminal_leaves_nothing_behind(conf, tmp_path):
    argv = [
        sys.executable,
        "-u",
        "-m",
        "haagent",
        "rehearse",
        "-f",
        str(conf),
        "--faults",
        "kill",
        "--repeat",
        "9",
    ]
    with subprocess.Popen(
        [*argv, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"\s+1  kill", line):
                break
        (name,) = labs_of(process.pid)
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted; the lab has been removed\n"
    assert not [n for n in os.listdir("/run/netns") if n.startswith(name)]
    assert name not in topology.registered()
    assert "until it was interrupted" in (tmp_path / "rehearsal.html").read_text()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-f", "/nowhere.conf"], "/nowhere.conf"),
        (["--node", "a"], "NAME=FILE accepted"),
        ([], "no vrrp_instance"),
    ],
)
def test_what_cannot_be_rehearsed_ends_with_2(words, complaint):
    result = CliRunner().invoke(rehearse, words)
    assert result.exit_code == 2
    assert complaint in result.output


def test_an_unknown_fault_names_the_known_ones(conf):
    result = CliRunner().invoke(rehearse, ["-f", str(conf), "--faults", "flood", "--check"])
    assert result.exit_code == 2
    assert "no fault 'flood'; there are kill, " in result.output


def test_check_says_what_is_rebuilt_and_starts_nothing(conf):
    result = CliRunner().invoke(rehearse, ["-f", str(conf), "--check", "--quick"])
    assert result.exit_code == 0, result.output
    for words in ("network bond0.7", "added: the files name no arbiter", "8 faults on 1 stage: about"):
        assert words in result.output
    assert labs_of(os.getpid()) == []
    assert orphans() == []


@pytest.mark.timeout(120)
def test_frr_is_told_by_the_port_it_answers_through(tmp_path):
    """Its nodes have one MAC; a port that goes down must not end the observer."""
    if not (frr.DAEMONS / "vrrpd").exists():
        pytest.skip("FRR is not installed (apt install frr)")
    file = tmp_path / "keepalived.conf"
    file.write_text(ROUTER)
    words = ["-f", str(file), "--faults", "link-down,cut-vrrp", "--compare", "frr", "--slack", "3"]
    result = CliRunner().invoke(rehearse, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    ours, theirs = json.loads((tmp_path / "out" / "rehearsal.json").read_text())["played"]
    assert (ours["daemon"], ours["dual_ms"], theirs["daemon"]) == ("haagent", 0, "frr")
    down, split = theirs["faults"]
    assert down["owners"]["web"]["b"], "the other node took over"
    assert split["dual_ms"] > 500
    assert orphans() == []
