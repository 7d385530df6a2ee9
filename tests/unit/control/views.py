"""A node at one moment, for tests of what is said about it."""

from __future__ import annotations

from haagent.control.document import (
    ArbiterStatus,
    GateStatus,
    InstanceStatus,
    MasterHeard,
    PeerStatus,
    Status,
    TrackerStatus,
)
from haagent.control.view import GateView, View
from haagent.core.units import SECOND

NOW = 1_000 * SECOND


def instance(
    name: str = "web", state: str = "MASTER", epoch: int = 7, group: str = "", **more: object
) -> InstanceStatus:
    usual: dict[str, object] = {
        "interface": "eth0", "vrid": 51, "version": 3, "priority": 150, "effective_priority": 130,
        "addresses": ("192.0.2.100/24",), "claim": group or name, "holder": "web-a", "reason": "claim held",
        "since_boot_ns": NOW - 90 * SECOND, "master": MasterHeard("192.0.2.12", 140, NOW - SECOND),
    }  # fmt: skip
    return InstanceStatus(name, state, epoch=epoch, group=group, **{**usual, **more})  # type: ignore[arg-type]


def view(
    *instances: InstanceStatus,
    opened: dict[str, int] | None = None,
    age: int = SECOND,
    deadline: int = NOW + SECOND,
    **more: object,
) -> View:
    """Return a view; ``opened`` None: the gate is open for every MASTER."""
    if opened is None:
        opened = {one.claim: one.epoch for one in instances if one.state == "MASTER"}
    usual: dict[str, object] = {
        "arbiter": ArbiterStatus("etcd", "live", ("198.51.100.11:2379",), "web", 2 * SECOND, latency_last_ns=2_000_000,
                                 latency_worst_ns=9_000_000),
        "gate": GateStatus("bpf", "every packet is checked", deadline),
        "trackers": (TrackerStatus("haproxy web", "haproxy", False, detail="backend app is DOWN"),),
        "peers": (PeerStatus("web-b", "heard", NOW - SECOND, {"192.0.2.12": NOW - SECOND, "198.51.100.22": 0}),),
        "warnings": (),
    }  # fmt: skip
    status = Status(
        "web-a",
        4711,
        "1.0",
        "boot",
        NOW - 3600 * SECOND,
        NOW - age,
        5 * SECOND,
        instances=instances,
        **{**usual, **more},
    )  # type: ignore[arg-type]
    return View(status, GateView(deadline, opened), NOW)


NOBODY = View(None, GateView(), NOW)
