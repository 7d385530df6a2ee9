"""What a daemon costs when nothing happens, and whether nothing happens."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address

from haagent.core.units import SECOND, Duration, Instant, to_seconds
from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.daemons import DaemonKind, Haagent, Keepalived, daemon, etcd_block
from haagent.lab.namespaces import LabError, run
from haagent.lab.observations import Record
from haagent.lab.observers import AddressWatch, Observer
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import Topology, build

FIRST_VIP = IPv4Address("203.0.113.1")
MOST_INSTANCES = 250


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU in percent of one core and PSS in bytes of all processes of each daemon; ``changes`` of addresses."""

    master_cpu: float
    backup_cpu: float
    master_pss: int
    backup_pss: int
    changes: int


def many_instances(count: int, advert: Duration, node: str) -> str:
    """Return a configuration of ``count`` instances with one address each, all MASTER on node1."""
    if not 1 <= count <= MOST_INSTANCES:
        raise LabError(f"{count} instances: 1 to {MOST_INSTANCES} accepted")
    priority = 150 if node == "node1" else 100
    head = f"global_defs {{\n    router_id {node}\n    vrrp_version 3\n}}\n"
    return head + "".join(
        f"""vrrp_instance VI_{vrid} {{
    state BACKUP
    interface lan
    virtual_router_id {vrid}
    priority {priority}
    advert_int {to_seconds(advert):g}
    virtual_ipaddress {{
        {FIRST_VIP + vrid - 1}/32 dev lan
    }}
}}
"""
        for vrid in range(1, count + 1)
    )


def measure(
    kind: DaemonKind, instances: int, advert: Duration, window: Duration, settle: Duration = 5 * SECOND
) -> Cost:
    """Run two nodes with ``instances`` each and measure over ``window`` after ``settle`` of rest."""
    with ExitStack() as stack:
        topology = stack.enter_context(build(2, 3 if kind == "haagent" else 0))
        record = Record(nodes=("node1", "node2"), begin=time.monotonic_ns())
        watch = Observer(record, [AddressWatch(topology.nodes, record, None)])
        watch.start()
        stack.callback(watch.stop)
        master, backup = _start(stack, kind, topology, instances, advert)
        wait_for_addresses(topology, instances, advert)
        time.sleep(to_seconds(settle))
        return _measure(master, backup, record, window)


def _start(
    stack: ExitStack, kind: DaemonKind, topology: Topology, instances: int, advert: Duration
) -> tuple[NodeProcess, NodeProcess]:
    addition = ""
    if kind == "haagent":
        servers = EtcdArbiter(topology)
        stack.callback(servers.stop)
        addition = etcd_block(servers.endpoints)
    daemons: list[Keepalived | Haagent] = []
    for node in topology.nodes:
        text = many_instances(instances, advert, node.name)
        daemons.append(daemon(kind, node, topology.workdir / node.name, text, addition))
    for one in daemons:
        stack.callback(one.stop)
        one.start()
    first, second = (one.process for one in daemons)
    if first is None or second is None:
        raise LabError(f"{kind} was not started")
    return first, second


def wait_for_addresses(topology: Topology, count: int, advert: Duration) -> None:
    """Wait until node1 has all the addresses and node2 none."""
    until = time.monotonic_ns() + 20 * advert + 30 * SECOND
    while time.monotonic_ns() < until:
        have = [_addresses(node.namespace) for node in topology.nodes]
        if have == [count, 0]:
            return
        time.sleep(0.2)
    raise LabError(f"{count} addresses on node1 and 0 on node2 expected, found {have}")


def _addresses(namespace: str) -> int:
    links = json.loads(run("ip", "-j", "-4", "-n", namespace, "addr", "show", "dev", "lan"))
    local = [a["local"] for link in links for a in link.get("addr_info", ())]
    return sum(address.startswith("203.0.113.") for address in local)


def _measure(master: NodeProcess, backup: NodeProcess, record: Record, window: Duration) -> Cost:
    begin: Instant = time.monotonic_ns()
    before = master.cpu_ns(), backup.cpu_ns()
    time.sleep(to_seconds(window))
    after, length = (master.cpu_ns(), backup.cpu_ns()), time.monotonic_ns() - begin
    for process in (master, backup):
        if not process.alive:
            raise LabError(f"a daemon ended while it was measured:\n{process.tail()}")
    return Cost(
        master_cpu=100 * (after[0] - before[0]) / length,
        backup_cpu=100 * (after[1] - before[1]) / length,
        master_pss=master.pss_bytes(),
        backup_pss=backup.pss_bytes(),
        changes=sum(change.at >= begin for change in record.addresses),
    )
