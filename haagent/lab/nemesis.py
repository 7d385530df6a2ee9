"""From a shot to a fault on a running cluster: finds the victim, builds what breaks it, heals it. Judges nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from haagent.core.units import Duration
from haagent.lab import faults, host_faults, process_faults
from haagent.lab.arbiter import QuorumArbiter, ServerArbiter, breakable
from haagent.lab.arbiter_faults import KillLeaders, WipeArbiter
from haagent.lab.cluster import Cluster
from haagent.lab.faults import ArbiterServers, Fault, Restartable
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan
from haagent.lab.shots import Shot
from haagent.lab.topology import Node, Topology

OnNode = Callable[[Cluster, str], Fault]


def _daemon(make: Callable[[Restartable], Fault]) -> OnNode:
    return lambda cluster, name: make(cluster.daemons[name])


def _wired(make: Callable[[Topology, Node], Fault]) -> OnNode:
    return lambda cluster, name: make(cluster.topology, cluster.topology.node(name))


ON_NODES: dict[str, OnNode] = {
    "kill": _daemon(faults.Kill),
    "freeze": _daemon(faults.Freeze),
    "stop": _daemon(faults.Stop),
    "kill-worker": _daemon(process_faults.KillWorker),
    "kill-supervisor": _daemon(process_faults.KillSupervisor),
    "restart-at-once": _daemon(process_faults.RestartAtOnce),
    "reload": _daemon(process_faults.Reload),
    "no-descriptors": _daemon(process_faults.no_descriptors),
    "no-writes": _daemon(process_faults.no_writes),
    "cut-vrrp": _wired(faults.cut_vrrp),
    "mute": _wired(lambda topology, node: faults.cut_vrrp(topology, node, ("from",))),
    "deaf": _wired(lambda topology, node: faults.cut_vrrp(topology, node, ("to",))),
    "partition": _wired(faults.partition),
    "isolate": _wired(faults.isolate),
    "cut-lan": _wired(faults.cut_lan),
    "cut-lan-out": _wired(lambda topology, node: faults.cut_lan(topology, node, ("from",))),
    "cut-lan-in": _wired(lambda topology, node: faults.cut_lan(topology, node, ("to",))),
    "cut-arbiter": _wired(faults.cut_arbiter),
    "reset-arbiter": _wired(lambda topology, node: faults.cut_arbiter(topology, node, reject=True)),
    "cut-mgmt": _wired(faults.cut_mgmt),
    "link-down": _wired(faults.LinkDown),
    "link-flap": _wired(host_faults.Flap),
    "interface-down": _wired(lambda _topology, node: host_faults.InterfaceDown(node, node.lans[0].interface)),
    "delete-address": lambda c, n: faults.DeleteAddress(
        c.topology.node(n), f"{c.spec.vip4}/32", fleeting=True
    ),
    "lose-30": _wired(lambda topology, node: faults.lose(topology, node, 30)),
    "lose-50": _wired(lambda topology, node: faults.lose(topology, node, 50)),
    "corrupt-adverts": _wired(host_faults.corrupt_adverts),
    "duplicate": _wired(host_faults.duplicate),
    "slow-link": _wired(host_faults.SlowLink),
}
ON_ARBITER: dict[str, Callable[[ArbiterServers], Fault]] = {
    "freeze-arbiter-1": lambda a: faults.FreezeArbiter(a, 1),
    "freeze-arbiter-all": lambda a: faults.FreezeArbiter(a, a.size),
    "kill-arbiter-1": lambda a: faults.KillArbiter(a, 1),
    "kill-arbiter-2": lambda a: faults.KillArbiter(a, 2),
    "kill-leader-loop": lambda a: KillLeaders(_led(a)),
    "wipe-arbiter": lambda a: WipeArbiter(_led(a)),
}


def _led(servers: ArbiterServers) -> ServerArbiter:
    """Return what has a leader and records: of a quorum, one member."""
    found = breakable(servers.parts[0] if isinstance(servers, QuorumArbiter) else servers)
    if found is None:
        raise LabError("only an arbiter made of servers has a leader and records that can be deleted")
    return found


class Nothing:
    """What a fault of the arbiter is where it has no servers, or is none: the same time passes, nothing breaks."""

    target = "arbiter"
    description = "nothing: this cluster has no servers of an arbiter"

    def __init__(self, name: str) -> None:
        self.name = name

    def inject(self) -> None:
        """Nothing."""

    def heal(self) -> None:
        """Nothing."""


def aim(shot: Shot, cluster: Cluster, owner: str) -> Fault:
    """Return the fault ``shot`` is while ``owner`` owns the address."""
    if shot.role == "arbiter":
        if cluster.servers is None or not cluster.servers.size:
            return Nothing(shot.fault)
        return ON_ARBITER[shot.fault](cluster.servers)
    others = [name for name in cluster.daemons if name != owner]
    other = others[shot.pick % len(others)]
    first = ON_NODES[shot.fault](cluster, owner if shot.role == "owner" else other)
    if shot.second is None:
        return first
    return faults.Several(f"{shot.fault}+{shot.second}", first, ON_NODES[shot.second](cluster, other))


def fire(shot: Shot, cluster: Cluster, owner: str, look: Callable[[Duration], None]) -> FaultSpan:
    """Inject, ``look`` on for the time it holds, heal whatever happens; return the span, also put on the record."""
    fault = aim(shot, cluster, owner)
    begin = time.monotonic_ns()
    try:
        fault.inject()
        look(shot.hold)
    finally:
        end = time.monotonic_ns()
        fault.heal()
        span = FaultSpan(fault.name, fault.target, begin, end, fault.description)
        cluster.add_fault(span)
    return span
