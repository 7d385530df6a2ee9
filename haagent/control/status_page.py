"""The status page: one self-contained HTML document, without scripts, that renews itself every two seconds.

Promises that every text from outside is escaped, and that nothing but the page itself is ever loaded (``SECURITY``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from haagent.control.document import InstanceStatus, PeerStatus, Status, TrackerStatus
from haagent.control.view import View
from haagent.control.words import duration
from haagent.core.units import Duration, Instant

SECURITY = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)
_TONES = {"MASTER": "good", "BACKUP": "wait", "FAULT": "bad"}


@functools.cache
def _template() -> Template:
    return Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


def page(view: View) -> str:
    """Return the page about one moment."""
    status = view.status
    if status is None:
        return _fill("haagent", "no status on this host", _alarm("haagent does not run here"))
    head = f"up {duration(view.now - status.started_boot_ns)}, pid {status.pid}"
    cards = "\n".join(_card(view, one) for one in status.instances)
    sections = [
        _arbiter(status),
        _peers(view, status.peers),
        _trackers(status.trackers),
        _warnings(status),
    ]
    return _fill(
        status.node,
        head,
        _alarms(view, status),
        cards=cards,
        sections="\n".join(filter(None, sections)),
        version=status.version,
    )


def _fill(
    node: str, subtitle: str, alarm: str, *, cards: str = "", sections: str = "", version: str = ""
) -> str:
    return _template().substitute(
        title=escape(f"{node} - haagent"),
        node=escape(node),
        subtitle=escape(subtitle),
        alarm=alarm,
        cards=cards,
        sections=sections,
        version=escape(version),
    )


def _alarm(text: str, tone: str = "bad") -> str:
    return f'<section class="alarm {tone}">{escape(text)}</section>'


def _alarms(view: View, status: Status) -> str:
    found = []
    if not view.alive:
        found.append(
            _alarm(f"The agent does not answer: its last word is {duration(view.age)} old. What is shown below was then; "
                   "whether traffic passes is asked of the kernel now.")
        )  # fmt: skip
    if status.paused:
        found.append(_alarm("Paused by an operator: nothing moves until haagent resume.", "care"))
    return "\n".join(found)


def _card(view: View, one: InstanceStatus) -> str:
    state = view.state_of(one)
    tone = "care" if state != one.state else _TONES.get(one.state, "care")
    passes = "passes traffic" if view.passes(one) else "closed"
    left = f", {duration(view.gate.deadline - view.now)} left without a renewal" if view.passes(one) else ""
    facts = [
        ("Since", f"{_ago(one.since_boot_ns, view.now)}: {one.reason}"),
        ("Priority", _priority(one)),
        ("Epoch", str(view.gate.epochs.get(one.claim, one.epoch))),
        ("Holder", one.holder or "nobody known"),
        ("Gate", f"{passes}{left}"),
        ("Router", f"VRID {one.vrid}, VRRPv{one.version} on {one.interface}"),
    ]
    if one.master is not None:
        heard = (
            f"{one.master.source}, priority {one.master.priority}, {_ago(one.master.heard_boot_ns, view.now)}"
        )
        facts.append(("Last advert", heard))
    return (
        f'<section class="{tone}"><div class="state"><span>{escape(one.name)}</span><strong>{escape(state)}</strong></div>'
        f'<div class="address">{escape(", ".join(one.addresses) or "no address")}</div>{_facts(facts)}</section>'
    )


def _priority(one: InstanceStatus) -> str:
    if one.effective_priority == one.priority:
        return str(one.priority)
    return f"{one.effective_priority} ({one.priority} configured)"


def _arbiter(status: Status) -> str:
    arbiter = status.arbiter
    facts = [("State", arbiter.state), ("Lease", duration(arbiter.lease_ns)), ("Domain", arbiter.domain)]
    if arbiter.endpoints:
        facts.append(("Endpoints", ", ".join(arbiter.endpoints)))
    if arbiter.latency_last_ns is not None:
        worst = duration(arbiter.latency_worst_ns or arbiter.latency_last_ns)
        facts.append(("Renewal", f"{duration(arbiter.latency_last_ns)}, at worst {worst}"))
    if arbiter.error:
        facts.append(("Error", arbiter.error))
    facts.append(("Gate", f"{status.gate.tier}: {status.gate.guarantee}"))
    return _section(f"Arbiter: {arbiter.kind}", _facts([(name, text) for name, text in facts if text]))


def _peers(view: View, peers: Sequence[PeerStatus]) -> str:
    rows = []
    for peer in peers:
        over = ", ".join(
            f"{a} {_ago(at, view.now)}" if at else f"{a} never" for a, at in peer.addresses.items()
        )
        tone = "good" if peer.state == "heard" else "bad" if peer.state == "silent" else "care"
        rows.append((peer.node, (peer.state, tone), over))
    return _table("Peers", ("node", "state", "heard over"), rows)


def _trackers(trackers: Sequence[TrackerStatus]) -> str:
    rows = []
    for one in trackers:
        word, tone = ("up", "good") if one.up else ("down", "bad") if one.up is False else ("unknown", "care")
        rows.append((one.name, (word, tone), one.detail))
    return _table("Tracked", ("what", "state", "detail"), rows)


def _warnings(status: Status) -> str:
    if not status.warnings:
        return ""
    return _section(
        "Warnings", "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in status.warnings) + "</ul>"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts) + "</dl>"
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, tuple[str, str], str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        f'<tr><td>{escape(what)}</td><td class="{tone}">{escape(word)}</td><td>{escape(detail)}</td></tr>'
        for what, (word, tone), detail in rows
    )
    return _section(title, f"<table><tr>{head}</tr>{body}</table>")


def _ago(then: Instant, now: Instant) -> str:
    span: Duration = max(0, now - then)
    return f"{duration(span)} ago"
