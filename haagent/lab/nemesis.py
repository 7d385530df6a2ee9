"""From a shot to a fault on a running cluster: finds the victim, builds what breaks it, heals it. Judges nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from haagent.core.units import Duration
from haagent.lab import faults
from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.arbiter_faults import KillLeaders, WipeArbiter
from haagent.lab.cluster import Cluster
from haagent.lab.faults import Fault
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan
from haagent.lab.shots import Shot

ON_NODES: dict[str, Callable[[Cluster, str], Fault]] = {
    "kill": lambda c, n: faults.Kill(c.daemons[n]),
    "freeze": lambda c, n: faults.Freeze(c.daemons[n]),
    "stop": lambda c, n: faults.Stop(c.daemons[n]),
    "cut-vrrp": lambda c, n: faults.cut_vrrp(c.topology, c.topology.node(n)),
    "mute": lambda c, n: faults.cut_vrrp(c.topology, c.topology.node(n), ("from",)),
    "deaf": lambda c, n: faults.cut_vrrp(c.topology, c.topology.node(n), ("to",)),
    "partition": lambda c, n: faults.partition(c.topology, c.topology.node(n)),
    "isolate": lambda c, n: faults.isolate(c.topology, c.topology.node(n)),
    "cut-lan": lambda c, n: faults.cut_lan(c.topology, c.topology.node(n)),
    "cut-arbiter": lambda c, n: faults.cut_arbiter(c.topology, c.topology.node(n)),
    "reset-arbiter": lambda c, n: faults.cut_arbiter(c.topology, c.topology.node(n), reject=True),
    "cut-mgmt": lambda c, n: faults.cut_mgmt(c.topology, c.topology.node(n)),
    "link-down": lambda c, n: faults.LinkDown(c.topology, c.topology.node(n)),
    "delete-address": lambda c, n: faults.DeleteAddress(c.topology.node(n), f"{c.spec.vip4}/32"),
    "lose-30": lambda c, n: faults.lose(c.topology, c.topology.node(n), 30),
}
ON_ARBITER: dict[str, Callable[[EtcdArbiter], Fault]] = {
    "freeze-arbiter-1": lambda a: faults.FreezeArbiter(a, 1),
    "freeze-arbiter-all": lambda a: faults.FreezeArbiter(a, a.size),
    "kill-arbiter-1": lambda a: faults.KillArbiter(a, 1),
    "kill-arbiter-2": lambda a: faults.KillArbiter(a, 2),
    "kill-leader-loop": KillLeaders,
    "wipe-arbiter": WipeArbiter,
}


class Nothing:
    """What a fault of the arbiter is to a cluster without one: the same time passes, nothing breaks."""

    target = "arbiter"
    description = "nothing: this cluster has no arbiter"

    def __init__(self, name: str) -> None:
        self.name = name

    def inject(self) -> None:
        """Nothing."""

    def heal(self) -> None:
        """Nothing."""


def aim(shot: Shot, cluster: Cluster, owner: str) -> Fault:
    """Return the fault ``shot`` is while ``owner`` owns the address."""
    if shot.role == "arbiter":
        if cluster.servers is None:
            return Nothing(shot.fault)
        if not isinstance(cluster.servers, EtcdArbiter):
            raise LabError(f"{shot.fault}: only an etcd of the lab can be broken so")
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
