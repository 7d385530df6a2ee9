"""What a worker says about itself: the status document and the registers, filled from the core's own numbers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from haagent import __version__
from haagent.control.document import (
    ArbiterStatus,
    GateStatus,
    InstanceStatus,
    MasterHeard,
    PeerStatus,
    Status,
    TrackerStatus,
    read_boot_id,
)
from haagent.core.group import Group
from haagent.core.instance import Instance
from haagent.core.register import Record
from haagent.core.tracking import Tracker
from haagent.core.units import SECOND, Instant
from haagent.core.virtual_router import Backup
from haagent.effects.clock import Reading
from haagent.effects.gate import Tier
from haagent.effects.peers import PeerState

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

WRITE_PERIOD = 5 * SECOND  # at the latest; every report is followed by one at once
PEER_SILENT = 3 * SECOND  # three hellos
TRACKER_KINDS = ("interface", "file", "process", "haproxy", "peer")  # all others are scripts


def status_document(worker: Worker) -> Status:
    """Return the status of this moment."""
    reading = worker.clock.read()
    return Status(
        node=worker.run.node,
        pid=os.getpid(),
        version=__version__,
        boot_id=read_boot_id(),
        started_boot_ns=worker.started_boot,
        written_boot_ns=reading.boot,
        write_period_ns=WRITE_PERIOD,
        configuration=" ".join(str(file) for file in worker.sources.files),
        paused=worker.node.context.paused,
        arbiter=_arbiter(worker, reading),
        gate=_gate(worker, reading),
        instances=tuple(
            _instance(worker, group, member, reading)
            for group in worker.node.groups.values()
            for member in group.members
        ),
        trackers=tuple(
            _tracker(worker, name, tracker, reading) for name, tracker in worker.node.trackers.items()
        ),
        peers=tuple(_peer(worker, name, state, reading) for name, state in worker.peers.status().items()),
        warnings=_warnings(worker),
    )


def _tracker(worker: Worker, name: str, tracker: Tracker, reading: Reading) -> TrackerStatus:
    since = _boot(tracker.since, reading) if tracker.since else worker.started_boot
    return TrackerStatus(name, _kind(name), tracker.up, since, worker.companions.reason(name))


def _kind(tracker: str) -> str:
    kind = tracker.partition(" ")[0]
    return kind if kind in TRACKER_KINDS and " " in tracker else "script"


def registers_document(worker: Worker) -> dict[str, Any]:
    """Return the registers as this node last saw them."""
    node = worker.node
    seen: list[tuple[str, Record | None]] = [(node.session.name, node.session.last_seen)]
    seen += [(f"sessions/{o.node}", o.record) for o in node.observations.values()]
    seen += [(group.claim.register, group.claim.record) for group in node.groups.values()]
    return {
        "registers": [
            {"name": name, "version": record.version, "value": _readable(record.value)}
            for name, record in sorted(seen, key=lambda entry: entry[0])
            if record is not None
        ]
    }


def _readable(value: bytes) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value.decode("utf-8", "replace")


def _boot(instant: Instant, reading: Reading) -> int:
    return max(0, reading.boottime(instant))


def _arbiter(worker: Worker, reading: Reading) -> ArbiterStatus:
    config, session = worker.configuration.arbiter, worker.node.session
    if config is None or worker.arbitration is None:
        return ArbiterStatus("none", "plain VRRP", lease_ns=worker.timing.lease)
    arbitration = worker.arbitration.status()
    return ArbiterStatus(
        kind=config.kind,
        state=_session_state(worker, reading),
        endpoints=config.endpoints,
        domain=config.domain,
        lease_ns=worker.timing.lease,
        deadline_boot_ns=_boot(session.deadline, reading) if session.deadline else None,
        renewed_boot_ns=_boot(session.confirmed_t0, reading) if session.confirmed_t0 else None,
        answered_boot_ns=arbitration.answered,
        latency_last_ns=arbitration.swaps.last or None,
        latency_worst_ns=arbitration.swaps.longest or None,
        error=arbitration.error,
    )


def _session_state(worker: Worker, reading: Reading) -> str:
    session = worker.node.session
    if session.live(reading.now):
        return "live"
    if session.suspended:
        return "suspended: proving that it is still ours"
    return "unavailable" if session.error else ("lapsed" if session.active else "idle")


def _gate(worker: Worker, reading: Reading) -> GateStatus:
    tier = worker.gate.tier
    deadline = worker.node.session.deadline
    any_open = any(group.gate_open for group in worker.node.groups.values())
    return GateStatus(tier.value, tier.guarantee, _boot(deadline, reading) if any_open else None)


def _instance(worker: Worker, group: Group, member: Instance, reading: Reading) -> InstanceStatus:
    configured = worker.configured(member.name)
    holder = group.claim.holder
    return InstanceStatus(
        name=member.name,
        state=member.state.value,
        wanted=_wanted(group, member),
        interface=member.parameters.interfaces[0],
        vrid=member.parameters.router.vrid,
        version=member.parameters.router.version,
        priority=member.parameters.router.priority,
        effective_priority=member.router.priority,
        addresses=tuple(str(address) for address in configured.addresses) if configured else (),
        group=group.name if group.parameters.sync else "",
        claim=group.name,
        epoch=group.claim.epoch,
        holder=holder.node if holder else "",
        reason=_reason(group, member, reading),
        since_boot_ns=_boot(member.since, reading),
        master=_master(member, reading),
        counters={},
    )


def _reason(group: Group, member: Instance, reading: Reading) -> str:
    veto = "" if group.raised else group.candidacy.veto.sentence(reading.now.fast)
    return f"{veto} (before: {member.reason})" if veto else member.reason


def _wanted(group: Group, member: Instance) -> str:
    if group.raised or group.candidacy.wanted:
        return "MASTER"
    return "BACKUP" if isinstance(member.router.state, Backup) else member.state.value


def _master(member: Instance, reading: Reading) -> MasterHeard | None:
    if member.master is None:
        return None
    source, priority = member.master
    return MasterHeard(str(source), priority, _boot(member.heard_at, reading))


def _peer(worker: Worker, name: str, state: PeerState, reading: Reading) -> PeerStatus:
    heard = {address: state.heard_at.get(address, 0) for address in state.addresses}
    return PeerStatus(name, _peer_state(worker, name, state, reading), state.heard, heard)


def _peer_state(worker: Worker, name: str, state: PeerState, reading: Reading) -> str:
    if state.heard is None or reading.boot - state.heard > PEER_SILENT:
        return "silent"
    refusal = worker.node.petitioner.refusal(name)
    return f"refuses: {refusal}" if refusal else "heard"


def _warnings(worker: Worker) -> tuple[str, ...]:
    warnings = list(worker.configuration.warnings)
    if worker.arbitration is None:
        warnings.append("no arbiter: plain VRRP, a network split makes two MASTERs")
    if worker.gate.tier in (Tier.LIFETIME, Tier.OFF):
        warnings.append(f"gate tier {worker.gate.tier.value}: {worker.gate.tier.guarantee}")
    return (*warnings, *worker.unclaimed.warnings, *worker.gate.status().problems)
