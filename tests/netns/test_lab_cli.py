"""The commands of the lab as an operator meets them: up, down, an interrupted run, a daemon that will not start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from haagent.cli.lab import lab
from haagent.core.units import MILLISECOND
from haagent.lab import topology
from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.cluster import Cluster, ClusterOptions
from haagent.lab.daemons import ClusterSpec, Keepalived
from haagent.lab.faults import FreezeArbiter, KillArbiter
from haagent.lab.members import ServerError
from haagent.lab.namespaces import LabError
from haagent.lab.scenario import play, scenario

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]
SPEC = ClusterSpec(advert=100 * MILLISECOND)


def test_up_leaves_a_lab_and_down_removes_it(tmp_path):
    words = [sys.executable, "-c", "from haagent.cli.lab import lab; lab()", "up"]
    words += ["--daemon", "keepalived", "--advert", "0.1"]
    out = tmp_path / "out"
    with out.open("w") as file:  # a pipe would stay open in the daemons left behind
        done = subprocess.run(words, stdout=file, stderr=file, timeout=40, check=False)
    assert done.returncode == 0, out.read_text()
    name = out.read_text().split()[1]
    try:
        assert name in topology.registered()
        assert f"ip netns exec {name}-node1 bash" in out.read_text()
    finally:
        result = CliRunner().invoke(lab, ["down", name])
    assert result.output == f"lab {name} removed\n"
    assert name not in topology.registered()
    assert not [n for n in os.listdir("/run/netns") if n.startswith(f"{name}-")]


def test_down_names_the_labs_there_are():
    result = CliRunner().invoke(lab, ["down", "no-such-lab"])
    assert result.exit_code != 0
    assert "no lab 'no-such-lab'; there are: " in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path, number):
    words = [sys.executable, "-u", "-c", "from haagent.cli.lab import lab; lab()", "run", "freeze"]
    words += ["--daemon", "keepalived", "--quick", "--out", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "freeze node1:" in line:  # the worst moment: a frozen daemon
                break
        (name,) = [n for n in topology.registered() if f'"pid": {process.pid}' in record(n)]
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "interrupted; the lab has been removed\n"
    assert not [n for n in os.listdir("/run/netns") if n.startswith(f"{name}-")]


def record(name: str) -> str:
    return (topology.REGISTRY / f"{name}.json").read_text()


def test_a_daemon_that_does_not_start_is_said_at_once(monkeypatch):
    monkeypatch.setattr(
        Keepalived, "argv", lambda self: ("sh", "-c", "echo 'bad word in line 7' >&2; exit 1")
    )
    with Cluster(ClusterOptions(spec=SPEC)) as cluster, pytest.raises(LabError, match="bad word in line 7"):
        play(cluster, scenario("kill").steps(SPEC.advert))


@pytest.mark.etcd
def test_the_arbiter_survives_one_member_but_not_its_majority():
    with topology.build(1, 3) as built:
        servers = EtcdArbiter(built)
        try:
            one, two = KillArbiter(servers, 1), FreezeArbiter(servers, 2)
            one.inject()
            # asked through a member that lives: a linearizable read needs the majority
            survivor = servers.endpoints[2:]
            servers.cluster.etcdctl("get", "x", endpoints=survivor, timeout=5)
            one.heal()
            two.inject()
            with pytest.raises(ServerError):
                servers.cluster.etcdctl("get", "x", endpoints=survivor, timeout=1)
            two.heal()
            servers.cluster.etcdctl("get", "x", endpoints=survivor, timeout=5)
        finally:
            servers.stop()
