"""The status in Prometheus's text format. Names and meanings are promises: they may be added, not changed.

Written here and not by a client library: the values are read at the moment of the question, and what is left is the
escaping of labels. A parser that is not ours reads it in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from haagent.control.document import ArbiterStatus, Status
from haagent.control.view import View, seconds

CONTENT_TYPE = "text/plain; version=0.0.4"
STATES = ("INIT", "BACKUP", "MASTER", "FAULT", "STOP")
_HELP = {
    "haagent_up": "Whether the agent has written its status in time.",
    "haagent_info": "The agent's version, node and kind of arbiter.",
    "haagent_status_age_seconds": "How old the status is.",
    "haagent_paused": "Whether an operator has paused this node.",
    "haagent_warnings": "How many warnings the status shows.",
    "haagent_instance_master": "Whether this node is MASTER and the kernel passes the traffic now.",
    "haagent_instance_state": "1 for the state the instance is in, as the agent says.",
    "haagent_instance_state_seconds": "How long it has been in that state.",
    "haagent_instance_epoch": "The epoch of the instance's claim.",
    "haagent_instance_priority": "The configured priority.",
    "haagent_instance_effective_priority": "The priority with every tracker's weight.",
    "haagent_gate_open": "Whether the kernel passes the claim's traffic now.",
    "haagent_gate_info": "The mechanism of the gate.",
    "haagent_gate_seconds_left": "How long the kernel would go on passing traffic by itself.",
    "haagent_arbiter_reachable": "Whether the arbiter answered what this node asked it last.",
    "haagent_arbiter_silence_seconds": "How long ago the arbiter answered this node last.",
    "haagent_arbiter_session_live": "Whether this node's session is live; a BACKUP's need not be.",
    "haagent_arbiter_lease_seconds": "The length of the lease.",
    "haagent_arbiter_latency_seconds": "How long a renewal took: the last and the worst one.",
    "haagent_tracker_up": "Whether a tracked thing is up.",
    "haagent_peer_heard": "Whether another node is heard on the peer channel.",
    "haagent_peer_silence_seconds": "How long another node has been silent.",
}
Sample = tuple[str, Mapping[str, str], float]


def exposition(view: View) -> str:
    """Return the metrics of one moment."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in _samples(view):
        text = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        by_name.setdefault(name, []).append(
            f"{name}{{{text}}} {_number(value)}" if text else f"{name} {_number(value)}"
        )
    lines: list[str] = []
    for name, samples in by_name.items():
        lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge", *samples]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _samples(view: View) -> Iterator[Sample]:
    yield "haagent_up", {}, view.alive
    if view.status is None:
        return
    yield from _of_node(view, view.status)
    yield from _of_instances(view)
    yield from _of_gate(view, view.status)
    yield from _of_arbiter(view, view.status.arbiter)
    yield from _of_others(view, view.status)


def _of_node(view: View, status: Status) -> Iterator[Sample]:
    yield "haagent_info", {"node": status.node, "version": status.version, "arbiter": status.arbiter.kind}, 1
    yield "haagent_status_age_seconds", {}, seconds(view.age)
    yield "haagent_paused", {}, status.paused
    yield "haagent_warnings", {}, len(status.warnings)


def _of_instances(view: View) -> Iterator[Sample]:
    for one in view.instances:
        labels = {"vrrp_instance": one.name}  # `instance` is Prometheus's own: the address it asked
        yield "haagent_instance_master", labels, view.is_master(one)
        for state in STATES:
            yield "haagent_instance_state", {**labels, "state": state}, one.state == state
        yield "haagent_instance_state_seconds", labels, seconds(max(0, view.now - one.since_boot_ns))
        yield "haagent_instance_epoch", labels, view.gate.epochs.get(one.claim, one.epoch)
        yield "haagent_instance_priority", labels, one.priority
        yield "haagent_instance_effective_priority", labels, one.effective_priority


def _of_gate(view: View, status: Status) -> Iterator[Sample]:
    for claim in sorted({one.claim for one in view.instances}):
        yield "haagent_gate_open", {"claim": claim}, view.gate.passes(claim, view.now)
    yield "haagent_gate_info", {"tier": status.gate.tier}, 1
    left = view.gate.deadline - view.now if view.gate.epochs else 0
    yield "haagent_gate_seconds_left", {}, seconds(max(0, left))


def _of_arbiter(view: View, arbiter: ArbiterStatus) -> Iterator[Sample]:
    labels = {"kind": arbiter.kind}
    if arbiter.kind != "none":
        yield "haagent_arbiter_reachable", labels, view.alive and not arbiter.error
    if arbiter.answered_boot_ns is not None:
        yield "haagent_arbiter_silence_seconds", labels, seconds(max(0, view.now - arbiter.answered_boot_ns))
    yield "haagent_arbiter_session_live", labels, view.alive and arbiter.state == "live"
    yield "haagent_arbiter_lease_seconds", labels, seconds(arbiter.lease_ns)
    for which, latency in (("last", arbiter.latency_last_ns), ("worst", arbiter.latency_worst_ns)):
        if latency is not None:
            yield "haagent_arbiter_latency_seconds", {**labels, "which": which}, seconds(latency)


def _of_others(view: View, status: Status) -> Iterator[Sample]:
    for tracker in status.trackers:
        yield "haagent_tracker_up", {"tracker": tracker.name, "kind": tracker.kind}, tracker.up is True
    for peer in status.peers:
        yield "haagent_peer_heard", {"peer": peer.node}, view.alive and peer.state not in ("", "silent")
        if peer.heard_boot_ns is not None:
            yield (
                "haagent_peer_silence_seconds",
                {"peer": peer.node},
                seconds(max(0, view.now - peer.heard_boot_ns)),
            )
