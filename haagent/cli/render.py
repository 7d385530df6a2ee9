"""Turns what control answers into text for a terminal: pure functions from documents and a time to lines.

Promises plain text that is right without colours; ``click.echo`` removes them where nobody sees them. May not ask
anybody anything: whoever calls passes CLOCK_BOOTTIME in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from haagent.control.document import (
    ArbiterStatus,
    GateStatus,
    InstanceStatus,
    PeerStatus,
    Status,
    TrackerStatus,
)
from haagent.control.words import duration
from haagent.core.units import Instant

STATE_COLOURS = {"MASTER": "green", "BACKUP": "cyan", "FAULT": "red", "INIT": "yellow", "STOP": "yellow"}
SESSION_COLOURS = {"live": "green", "idle": None}  # a BACKUP's is idle; every other one is in trouble
INDENT = "  "


def status_lines(status: Status, now: Instant) -> list[str]:
    """Return what ``haagent status`` shows of an agent that answers."""
    up = duration(now - status.started_boot_ns)
    head = f"{bold(status.node)}  running, pid {status.pid}, up {up}, version {status.version}"
    if status.paused:
        head += "  " + click.style("PAUSED: nothing moves until `resume`", fg="yellow")
    return [head, *_body(status, now), *_warnings(status)]


def dead_lines(status: Status, now: Instant, boot_id: str, problem: str) -> list[str]:
    """Return what is known of an agent that does not answer; ``problem`` says how it does not."""
    head = click.style(problem, fg="red", bold=True)
    if status.boot_id != boot_id:
        gone = f"last seen before this host was restarted, as {_states(status)}; nothing of it is left"
        return [head, f"{bold(status.node)}  {gone}"]
    seen = duration(now - status.written_boot_ns)
    return [
        head,
        f"{bold(status.node)}  last seen {seen} ago as {_states(status)}, pid {status.pid}, version {status.version}",
        _gate_of_the_dead(status, now),
        *_table_of_instances(status.instances, status.written_boot_ns),
    ]


def _states(status: Status) -> str:
    return ", ".join(f"{instance.state} ({instance.name})" for instance in status.instances) or "no instance"


def _gate_of_the_dead(status: Status, now: Instant) -> str:
    if all(instance.state != "MASTER" for instance in status.instances):
        return "gate     was not open when last seen"
    closed = status.gate_closed_by()
    if closed is None:
        return "gate     none in force: its addresses may still answer on this node (see `ip address`)"
    if closed <= now:
        return f"gate     closed, {duration(now - closed)} ago at the latest ({status.gate.tier})"
    return f"gate     closes within {duration(closed - now)} ({status.gate.tier})"


def _body(status: Status, now: Instant) -> list[str]:
    return [
        _arbiter_line(status.arbiter, now),
        _gate_line(status.gate, now),
        *_table_of_instances(status.instances, now),
        *_table_of_trackers(status.trackers, now),
        *_table_of_peers(status.peers, now),
    ]


def _arbiter_line(arbiter: ArbiterStatus, now: Instant) -> str:
    if arbiter.kind == "none":
        return "arbiter  none: plain VRRP, two nodes that cannot hear each other are both MASTER"
    facts = [f"lease {duration(arbiter.lease_ns)}"]
    if arbiter.deadline_boot_ns is not None:
        facts.append(_ends("ends", "ended", arbiter.deadline_boot_ns, now))
    if arbiter.renewed_boot_ns is not None:
        facts.append(f"renewed {duration(now - arbiter.renewed_boot_ns)} ago")
    if arbiter.latency_last_ns is not None:
        worst = (
            f" (worst {duration(arbiter.latency_worst_ns)})" if arbiter.latency_worst_ns is not None else ""
        )
        facts.append(f"latency {duration(arbiter.latency_last_ns)}{worst}")
    if arbiter.error:
        facts.append(click.style(arbiter.error, fg="red"))
        if arbiter.answered_boot_ns is not None:
            facts.append(f"last answer {duration(now - arbiter.answered_boot_ns)} ago")
    state = click.style(arbiter.state or "unknown", fg=SESSION_COLOURS.get(arbiter.state, "red"))
    return f"arbiter  {arbiter.kind} {state}: {', '.join(facts)}"


def _gate_line(gate: GateStatus, now: Instant) -> str:
    state = "closed"
    if gate.deadline_boot_ns is not None and gate.deadline_boot_ns > now:
        state = f"open, closes in {duration(gate.deadline_boot_ns - now)} unless renewed"
    if gate.tier == "off":
        state = click.style("off: nothing stops traffic when the agent cannot", fg="yellow")
    return f"gate     {gate.tier} {state}" + (f"; {gate.guarantee}" if gate.guarantee else "")


def _ends(future: str, past: str, when: Instant, now: Instant) -> str:
    return f"{future} in {duration(when - now)}" if when > now else f"{past} {duration(now - when)} ago"


def _table_of_instances(instances: Sequence[InstanceStatus], now: Instant) -> list[str]:
    if not instances:
        return []
    header = ("INSTANCE", "STATE", "INTERFACE", "VRID", "PRIORITY", "EPOCH", "HOLDER", "SINCE", "ADDRESSES")
    lines = table([header, *(_instance_row(instance, now) for instance in instances)])
    out = ["", lines[0]]
    for instance, line in zip(instances, lines[1:], strict=True):
        out += [line, *(f"{INDENT}{note}" for note in _instance_notes(instance, now))]
    return out


def _instance_row(instance: InstanceStatus, now: Instant) -> tuple[str, ...]:
    wanted = f" (wants {instance.wanted})" if instance.wanted not in ("", instance.state) else ""
    priority = str(instance.effective_priority)
    if instance.effective_priority != instance.priority:
        priority += f" of {instance.priority}"
    return (
        instance.name,
        click.style(instance.state, fg=STATE_COLOURS.get(instance.state)) + wanted,
        instance.interface,
        f"{instance.vrid} v{instance.version}",
        priority,
        str(instance.epoch),
        instance.holder or "-",
        duration(now - instance.since_boot_ns),
        " ".join(instance.addresses),
    )


def _instance_notes(instance: InstanceStatus, now: Instant) -> Iterable[str]:
    if instance.reason:
        yield f"because {instance.reason}"
    if instance.master is not None and instance.state != "MASTER":
        heard = duration(now - instance.master.heard_boot_ns)
        yield f"master is {instance.master.source}, priority {instance.master.priority}, heard {heard} ago"


def _table_of_trackers(trackers: Sequence[TrackerStatus], now: Instant) -> list[str]:
    rows = [
        (tracker.name, tracker.kind, _verdict(tracker), duration(now - tracker.since_boot_ns), tracker.detail)
        for tracker in trackers
    ]
    return ["", *table([("TRACKER", "KIND", "RESULT", "SINCE", ""), *rows])] if rows else []


def _verdict(tracker: TrackerStatus) -> str:
    if tracker.up is None:
        return click.style("no result yet", fg="yellow")
    return click.style("up", fg="green") if tracker.up else click.style("down", fg="red")


def _table_of_peers(peers: Sequence[PeerStatus], now: Instant) -> list[str]:
    rows = [
        (
            peer.node,
            peer.state,
            "never" if peer.heard_boot_ns is None else f"{duration(now - peer.heard_boot_ns)} ago",
            ", ".join(
                f"{address} {duration(now - heard)} ago" if heard else f"{address} never"
                for address, heard in peer.addresses.items()
            ),
        )
        for peer in peers
    ]
    return ["", *table([("PEER", "STATE", "HEARD", "BY ADDRESS"), *rows])] if rows else []


def _warnings(status: Status) -> list[str]:
    return (
        ["", *(click.style(f"warning: {text}", fg="yellow") for text in status.warnings)]
        if status.warnings
        else []
    )


def register_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the registers the agent's ``arbiter`` command answers: ``{"registers": [{"name", "version", "value"}]}``."""
    rows = [
        (
            str(entry.get("name", "")),
            str(entry.get("version") or "absent"),
            " ".join(f"{key}={value}" for key, value in _fields(entry.get("value"))),
        )
        for entry in answer.get("registers", ())
    ]
    return table([("REGISTER", "VERSION", "VALUE"), *rows]) if rows else ["no register has been seen yet"]


def _fields(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, Mapping):
        return value.items()
    return () if value is None else (("", value),)


def printable(document: Any) -> Any:
    """Return a JSON document whose texts cannot steer a terminal: other nodes wrote some of them."""
    if isinstance(document, str):
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in document)
    if isinstance(document, Mapping):
        return {printable(key): printable(value) for key, value in document.items()}
    return [printable(item) for item in document] if isinstance(document, list | tuple) else document


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return ``rows`` as lines of aligned columns; the first row is the header. Colours take no width."""
    widths = [max(len(click.unstyle(row[column])) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)
        ]
        line = INDENT.join(cells).rstrip()
        lines.append(click.style(line, dim=True) if number == 0 else line)
    return lines


def bold(text: str) -> str:
    """Return ``text`` in bold."""
    return click.style(text, bold=True)
