"""What the agent says about itself, alive and dead, and what it says when it refuses to run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lab import SPEC, Agent, Lab, arbiter_block, eventually, lab, pair_lab

from haagent.core.units import SECOND
from haagent.lab.daemons import haagent_block, keepalived_conf

pytestmark = [pytest.mark.netns, pytest.mark.etcd]
LEASE = (
    3 * SECOND
)  # long enough to ask, by a command, about an agent that is dead and its gate that is not closed yet


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    with pair_lab(LEASE) as made:
        yield made


def node1(built: Lab) -> Agent:
    agent = built.daemons["node1"]
    assert isinstance(agent, Agent)
    return agent


def test_status_of_a_master_is_a_table_and_a_document(built: Lab):
    agent = node1(built)
    done = agent.cli("status", "--socket", str(agent.socket))
    assert done.returncode == 0, done.stderr
    for word in ("VI_1", "MASTER", "192.0.2.100", "etcd", "node1"):
        assert word in done.stdout, done.stdout
    shown = agent.shown()
    assert shown["arbiter"]["state"] == "live"
    assert shown["arbiter"]["lease_ns"] == LEASE
    assert shown["instances"][0]["holder"] == "node1"
    assert shown["gate"]["tier"] == "bpf"
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert now - LEASE < shown["gate"]["deadline_boot_ns"] < now + LEASE


def test_status_of_the_backup_names_the_master(built: Lab):
    backup = built.daemons["node2"]
    assert isinstance(backup, Agent)
    one = eventually(lambda: backup.instance() if backup.instance()["master"] else None)
    assert one["state"] == "BACKUP"
    assert one["holder"] == "node1"
    assert one["master"]["source"] == str(built.topology.node("node1").lan4)
    assert one["master"]["priority"] == 150


def test_arbiter_show_is_what_the_arbiter_has(built: Lab):
    agent = node1(built)
    done = agent.cli("arbiter", "show", "--json", "--socket", str(agent.socket))
    assert done.returncode == 0, done.stderr
    shown = {one["name"]: one["value"] for one in json.loads(done.stdout)["registers"]}
    assert built.etcd is not None
    stored = built.etcd.cluster.etcdctl("get", "/haagent", "--prefix")
    claim = json.loads(next(line for line in stored.splitlines() if '"epoch"' in line))
    assert shown["claims/VI_1"] == claim
    assert "sessions/node1" in shown
    table = agent.cli("arbiter", "show", "--socket", str(agent.socket))
    assert "claims/VI_1" in table.stdout
    assert "node1" in table.stdout


def test_a_second_agent_of_the_same_name_is_refused(built: Lab, tmp_path: Path):
    agent = node1(built)
    done = agent.cli(*agent.argv()[3:])
    assert done.returncode == 69
    assert "another haagent named node1 already runs in this network namespace" in done.stderr
    assert agent.instance()["state"] == "MASTER"


def test_status_of_a_dead_agent_is_the_truth(built: Lab):
    agent = node1(built)
    eventually(lambda: agent.socket.with_suffix(".json").exists(), what="a snapshot")
    assert agent.process is not None
    agent.process.kill()
    try:
        done = agent.cli("status", "--socket", str(agent.socket))
        assert done.returncode == 3
        assert "gate     closes within" in done.stdout, (
            done.stdout
        )  # the snapshot proves no more than that yet
        eventually(
            lambda: "gate     closed" in agent.cli("status", "--socket", str(agent.socket)).stdout,
            what="saying that the gate has closed",
        )
        document = json.loads(agent.cli("status", "--json", "--socket", str(agent.socket)).stdout)
        assert document["answering"] is False
        assert document["gate_closed_by_boot_ns"] <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        shown = agent.cli("arbiter", "show", "--socket", str(agent.socket))
        assert shown.returncode == 69
    finally:
        agent.start()
    built.wait_owner("node1")


@pytest.fixture(scope="module")
def bare() -> Iterator[Lab]:
    with lab(arbiters=0, nodes=1) as made:
        yield made


def start(
    bare: Lab, tmp_path: Path, configuration: str, addition: str, *prefix: str
) -> subprocess.CompletedProcess[str]:
    """Run ``haagent run`` in the node's namespace until it ends by itself; ``prefix`` takes privileges away."""
    (tmp_path / "a.conf").write_text(configuration)
    (tmp_path / "b.conf").write_text(addition + haagent_block("node1", tmp_path / "control.sock"))
    argv = [
        "ip",
        "netns",
        "exec",
        bare.topology.node("node1").namespace,
        *prefix,
        sys.executable,
        "-m",
        "haagent",
    ]
    argv += [
        "run",
        "--run-directory",
        str(tmp_path),
        "-f",
        str(tmp_path / "a.conf"),
        "-f",
        str(tmp_path / "b.conf"),
    ]
    return subprocess.run(argv, capture_output=True, text=True, timeout=40, check=False)


PLAIN = keepalived_conf(SPEC, "node1")


def test_a_broken_configuration_is_78_with_its_place(bare: Lab, tmp_path: Path):
    done = start(bare, tmp_path, PLAIN.replace("priority 150", "priority 0x"), "")
    assert done.returncode == 78
    assert f"{tmp_path}/a.conf:" in done.stderr
    assert "Traceback" not in done.stderr


def test_unsafe_timing_is_78_with_the_arithmetic(bare: Lab, tmp_path: Path):
    done = start(bare, tmp_path, PLAIN, arbiter_block(["192.0.2.1:2379"], "renew 200ms", lease=SECOND // 2))
    assert done.returncode == 78
    assert "3 x 0.2 = 0.6 > 0.5" in done.stderr


def test_an_unknown_arbiter_is_78_and_names_what_is_installed(bare: Lab, tmp_path: Path):
    done = start(bare, tmp_path, PLAIN, "arbiter mystore {\n    endpoints 192.0.2.1:1\n}\n")
    assert done.returncode == 78
    assert "mystore" in done.stderr
    assert "etcd" in done.stderr


def test_without_capabilities_it_says_what_is_missing(bare: Lab, tmp_path: Path):
    lacking = ("setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all")
    done = start(bare, tmp_path, PLAIN, "arbiter none\n", *lacking)
    assert done.returncode == 69
    assert "CAP_NET_ADMIN" in done.stderr
    assert "CAP_NET_RAW" in done.stderr
    assert "Traceback" not in done.stderr


def test_as_an_ordinary_user_it_says_what_is_missing(bare: Lab, tmp_path: Path):
    tmp_path.chmod(0o777)
    done = start(bare, tmp_path, PLAIN, "arbiter none\n", "setpriv", "--reuid=65534", "--clear-groups")
    unreadable = "Permission denied" in done.stderr or "No module named haagent" in done.stderr
    if unreadable and "haagent:" not in done.stderr:
        pytest.skip("the interpreter or the test's directory is not readable for nobody here")
    assert done.returncode in (69, 78)
    assert "Traceback" not in done.stderr


def test_gate_required_refuses_where_packets_cannot_be_checked(bare: Lab, tmp_path: Path):
    """Without CAP_BPF the gate falls back to nftables; ``gate bpf`` and a missing tier are refused."""
    lacking = ("setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-all")
    done = start(bare, tmp_path, PLAIN, "arbiter none\nhaagent {\n    gate bpf\n}\n", *lacking)
    assert done.returncode == 69, done.stderr
    assert "gate bpf" in done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr
    assert "starting another" not in done.stderr


def test_without_bpf_the_gate_is_nftables_and_status_says_so(bare: Lab):
    class Lacking(Agent):
        def argv(self) -> tuple[str, ...]:
            return ("setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-all", *super().argv())

    node = bare.topology.node("node1")
    agent = Lacking(node, bare.topology.workdir / "lacking", PLAIN, "arbiter none\n")
    bare.daemons["node1"] = agent
    agent.start()
    bare.wait_owner("node1")
    assert agent.shown()["gate"]["tier"] == "nftables"
    before = time.monotonic_ns()
    agent.process.freeze()  # type: ignore[union-attr]
    frozen = time.monotonic_ns()
    bare.wait_owner(None)
    last = bare.last_answered("node1", before)
    agent.process.thaw()  # type: ignore[union-attr]
    assert last - frozen < 0.5e9  # plain VRRP: three silent intervals
    agent.stop()


def test_a_backup_tells_when_the_master_calls_the_same_thing_by_another_name():
    with lab(1) as made:
        made.agent("node1", keepalived_conf(SPEC, "node1").replace("vrrp_instance VI_1", "vrrp_instance WEB"))
        made.wait_owner("node1")
        backup = made.agent("node2")
        eventually(lambda: "BACKUP STATE" in backup.text())
        (warning,) = eventually(lambda: backup.shown()["warnings"], patience=30)
        assert (
            f"{made.topology.node('node1').lan4} is MASTER of VI_1, but nobody holds the claim 'VI_1'"
            in warning
        )
        assert "(node1 claims WEB)" in warning
        assert any(
            record["level"] == "warning" and warning in record["message"] for record in backup.records()
        )
