"""The lab's network: what is built, that labs do not disturb each other, that nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.lab import topology
from haagent.lab.namespaces import LabError, inside, processes_in, run
from haagent.lab.observations import Record
from haagent.lab.observers import AddressWatch, Observer
from haagent.lab.processes import NodeProcess, tree

pytestmark = pytest.mark.netns


def namespaces() -> set[str]:
    return set(os.listdir("/run/netns"))


def reaches(node: topology.Node, address: object) -> bool:
    """Knock on a closed port: being refused means that the packets got there and back."""
    family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
    with inside(node.namespace):
        client = socket.socket(family)
    with client:
        client.settimeout(1)
        return client.connect_ex((str(address), 9)) == errno.ECONNREFUSED


def test_nodes_reach_each_other_the_client_and_the_arbiters():
    with topology.build(2, 1) as lab:
        first, second = lab.nodes
        assert reaches(first, second.lan4)
        assert reaches(first, second.lan6)
        assert reaches(first, topology.CLIENT4)
        assert reaches(first, lab.arbiters[0].mgmt)
        assert not reaches(lab.client, lab.arbiters[0].mgmt)


def test_two_labs_at_once_and_nothing_left_behind():
    with topology.build(1, 0) as one, topology.build(1, 0) as other:
        names = {one.name, other.name}
        assert len(names) == 2
        assert names <= set(topology.registered())
        assert {namespace.partition("-")[0] for namespace in namespaces()} >= names
    assert (
        not {namespace.partition("-")[0] for namespace in namespaces()} & names
    )  # others come and go meanwhile
    assert not names & set(topology.registered())
    assert not one.workdir.exists()


def test_destroying_ends_processes_in_the_lab_and_is_idempotent():
    lab = topology.build(1, 0)
    process = NodeProcess(lab.nodes[0].namespace, ("sleep", "1000"), lab.workdir / "sleep.log")
    lab.destroy()
    process._popen.wait(timeout=10)
    assert not process.alive
    lab.destroy()


def test_what_a_crashed_program_left_is_found_and_removed():
    """The builder dies without a chance to clean up; its record names what is left."""
    script = (
        "import os; from haagent.lab.topology import build; print(build(1, 0).name, flush=True); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    name = done.stdout.strip()
    assert done.returncode == 9
    assert name in topology.registered()
    assert not topology.in_use(name)
    topology.remove(name)
    assert name not in topology.registered()
    assert not [namespace for namespace in namespaces() if namespace.startswith(f"{name}-")]


def test_the_thread_is_back_in_its_namespace_after_an_error():
    home = os.readlink("/proc/thread-self/ns/net")
    with topology.build(1, 0) as lab, pytest.raises(ZeroDivisionError), inside(lab.nodes[0].namespace):
        assert os.readlink("/proc/thread-self/ns/net") != home
        raise ZeroDivisionError
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_sizes_outside_the_range_are_refused():
    with pytest.raises(LabError, match="1 to 9"):
        topology.build(0)


@pytest.fixture
def lab():
    with topology.build(1, 0) as built:
        yield built


SUPERVISOR = """
import subprocess, time
while True:
    worker = subprocess.Popen(["sleep", "1000"])
    worker.wait()
"""


def start_supervisor(lab: topology.Topology) -> NodeProcess:
    """A parent that restarts its worker as soon as it dies."""
    log = lab.workdir / "supervisor.log"
    process = NodeProcess(lab.nodes[0].namespace, (sys.executable, "-c", SUPERVISOR), log)
    until = time.monotonic() + 15
    while len(process.tree()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(process.tree()) == 2
    return process


def test_a_killed_tree_stays_dead_whatever_its_supervisor_does(lab):
    process = start_supervisor(lab)
    process.kill()
    assert processes_in(lab.nodes[0].namespace) == ()


def test_a_frozen_tree_is_stopped_and_goes_on(lab):
    process = start_supervisor(lab)

    def states() -> set[str]:
        return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in process.tree()}

    def become(wanted: Callable[[set[str]], bool]) -> bool:
        until = time.monotonic() + 10  # a signal takes effect when its process next runs
        while not wanted(states()) and time.monotonic() < until:
            time.sleep(0.01)
        return wanted(states())

    process.freeze()
    assert become(lambda found: found == {"T"})
    process.thaw()
    assert become(lambda found: "T" not in found)
    process.kill()


def test_a_process_costs_what_it_uses(lab):
    busy = "import time; until = time.process_time() + 0.2\nwhile time.process_time() < until: pass\n"
    busy += "print('done', flush=True); time.sleep(99)"
    process = NodeProcess(lab.nodes[0].namespace, (sys.executable, "-c", busy), lab.workdir / "busy.log")
    until = time.monotonic() + 20
    while "done" not in process.tail() and time.monotonic() < until:
        time.sleep(0.02)
    first = process.cpu_ns()
    time.sleep(0.3)
    assert 150_000_000 < first < 700_000_000
    assert process.cpu_ns() - first < 20_000_000
    assert process.pss_bytes() > 1 << 20
    process.kill()
    assert tree(process.pid) == ()


def test_a_process_that_shares_its_processor_waits(lab):
    argv = ("taskset", "-c", "0", sys.executable, "-c", "while True: pass")
    pair = [NodeProcess(lab.nodes[0].namespace, argv, lab.workdir / f"{name}.log") for name in "ab"]
    time.sleep(1.0)
    waited = [process.waited_ns() for process in pair]
    for process in pair:
        process.kill()
    assert min(waited) > 100_000_000
    assert sum(waited) < 4_000_000_000


def test_mac_addresses_name_the_nodes(lab):
    (node,) = lab.nodes
    link = json.loads(run("ip", "-j", "-n", node.namespace, "link", "show", "lan"))
    assert lab.by_mac() == {bytes.fromhex(link[0]["address"].replace(":", "")): "node1"}


def test_a_renewed_lifetime_is_no_change_of_an_address(lab):
    record = Record(nodes=("node1",), begin=time.monotonic_ns())
    observer = Observer(record, [AddressWatch(lab.nodes, record, [str(topology.VIP4)])])
    observer.start()
    try:
        ip = ("ip", "-n", lab.nodes[0].namespace, "addr")
        run(*ip, "replace", f"{topology.VIP4}/32", "dev", "lan", "valid_lft", "100", "preferred_lft", "100")
        run(*ip, "replace", f"{topology.VIP4}/32", "dev", "lan", "valid_lft", "200", "preferred_lft", "200")
        run(*ip, "del", f"{topology.VIP4}/32", "dev", "lan")
        run(*ip, "add", f"{topology.VIP4}/32", "dev", "lan")
        until = time.monotonic() + 10
        while len(record.addresses) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
    finally:
        observer.stop()
    assert [change.present for change in record.addresses] == [True, False, True]
