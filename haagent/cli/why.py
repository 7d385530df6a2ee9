"""``haagent why``: one screen that says why an instance is MASTER or not, and what would change that."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from haagent.cli.asking import Asker, asks_agent
from haagent.cli.render import STATE_COLOURS, bold, printable
from haagent.cli.status import show, show_json
from haagent.control.words import duration

REFRESH = 0.5
WIDTH = 10
Document = dict[str, Any]


@click.command()
@click.argument("name")
@click.option("--watch", is_flag=True, help="Refresh every 0.5 s, on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the document.")
@asks_agent
def why(asker: Asker, name: str, *, watch: bool, as_json: bool) -> None:
    """Say why instance NAME is MASTER on this node or is not, and what would have to happen.

    Exit status: 0; 69 if the agent cannot be asked or there is no such instance.
    """
    document = asker.ask("why", instance=name)
    if as_json:
        show_json(document)
        return
    while True:
        lines = why_lines(printable(document), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if not watch or not sys.stdout.isatty():
            show(lines)
            return
        click.clear()
        show([*lines, "", "every 0.5 s; Ctrl-C ends"])
        time.sleep(REFRESH)
        document = asker.ask("why", instance=name)


def why_lines(document: Document, now: int) -> list[str]:
    """Return the screen for one document at CLOCK_BOOTTIME ``now``."""
    state = click.style(document["state"], fg=STATE_COLOURS.get(document["state"]))
    since = _ago(document["since_boot_ns"], now)
    head = (
        f"{bold(document['instance'])} on {document['node']} is {state} since {since}: {document['reason']}"
    )
    lines = [head]
    if document["paused"]:
        lines.append(click.style("PAUSED: nothing moves until `haagent resume`", fg="yellow"))
    rows = [
        ("health", "; ".join(document["faults"]) or "nothing stands against it"),
        ("priority", _priority(document["priority"])),
        ("vrrp", _vrrp(document["vrrp"], now)),
    ]
    if document["arbitrated"]:
        rows += [
            ("claim", _claim(document["claim"])),
            ("session", _session(document["session"], now)),
            ("holder", _holder(document["other_session"], now)),
            ("failsafe", _failsafe(document["failsafe"], now)),
        ]
    else:
        rows.append(("claim", "no arbiter: the priorities alone decide"))
    rows += [("gate", _gate(document["gate"], now)), ("next", document["next"])]
    return [*lines, *(f"{label:<{WIDTH}}{text}" for label, text in rows if text)]


def _priority(priority: Document) -> str:
    parts = [str(priority["base"])]
    for tracker in priority["trackers"]:
        verdict = {None: "no result yet", True: "up", False: "down"}[tracker["up"]]
        weight = f"{tracker['adds']:+d}" if tracker["weight"] else "FAULT while down"
        parts.append(f"{tracker['name']} is {verdict} ({weight})")
    preempt = "" if priority["preempt"] else ", does not preempt"
    return f"{priority['effective']} = {', '.join(parts)}{preempt}"


def _vrrp(vrrp: Document, now: int) -> str:
    heard = vrrp["heard"]
    if heard is None:
        text = "nobody is heard"
    else:
        ago = "" if heard["heard_boot_ns"] is None else f", {_ago(heard['heard_boot_ns'], now)} ago"
        text = f"{heard['source']} priority {heard['priority']} was heard last{ago}"
    silent = vrrp["silent_from_boot_ns"]
    return text if silent is None else f"{text}; its silence counts {_when(silent, now)}"


def _claim(claim: Document) -> str:
    who = f"by {claim['holder']}" if claim["holder"] else ""
    parts = [
        f"{claim['state']} {who}".strip(),
        f"epoch {claim['epoch']}",
        f"for this node: {claim['standing']}",
    ]
    if claim["bid"]:
        parts.append(f"{claim['bid']['node']} bids {claim['bid']['priority']}")
    if claim["reserved_for"]:
        parts.append(f"reserved for {claim['reserved_for']}")
    if claim["under_way"]:
        parts.append(f"a {claim['under_way']} is under way")
    return ", ".join(parts)


def _session(session: Document, now: int) -> str:
    if session["live"]:
        parts = [f"live, ends {_when(session['until_boot_ns'], now)}"]
    elif session["suspended"]:
        parts = ["suspended until a write has proved that it is still ours"]
    else:
        parts = ["lapsed" if session["active"] else "idle: shown every 10 s, good for no claim"]
    if session["renewed_boot_ns"] is not None:
        parts.append(f"renewed {_ago(session['renewed_boot_ns'], now)} ago by {session['renewed_by']}")
    if session["quiet"]:
        parts.append("quiet: promises renew it, the arbiter is written rarely")
    if session["error"]:
        parts.append(session["error"])
    return ", ".join(parts)


def _holder(seen: Document | None, now: int) -> str:
    if seen is None:
        return ""
    if not seen["known"]:
        return f"the session of {seen['node']} has not been seen"
    if seen["ended"]:
        return f"the session of {seen['node']} has ended"
    expiry = f"expires {_when(seen['expires_boot_ns'], now)} unless it changes"
    if seen["expired"]:
        expiry = f"expired {_ago(seen['expires_boot_ns'], now)} ago"
    return f"the session of {seen['node']} looks as it does since {_ago(seen['seen_boot_ns'], now)}, {expiry}"


def _failsafe(failsafe: Document, now: int) -> str:
    if not failsafe["electors"]:
        return "off: only the arbiter renews"
    parts = [f"electors {', '.join(failsafe['electors'])}"]
    for answer in failsafe["answers"]:
        if answer["answered_boot_ns"] is not None:
            said = f"refused ({answer['refusal']})" if answer["refusal"] else "granted"
            parts.append(f"{answer['node']} {said} {_ago(answer['answered_boot_ns'], now)} ago")
    if failsafe["promised_until_boot_ns"] is not None:
        parts.append(
            f"this node has promised not to claim, {_when(failsafe['promised_until_boot_ns'], now)} it is free"
        )
    return "; ".join(parts)


def _gate(gate: Document, now: int) -> str:
    if gate["doubt"]:
        return f"closed in doubt: {gate['doubt']}"
    deadline = gate["deadline_boot_ns"]
    if not gate["open"]:
        return "closed"
    if deadline is None or deadline <= now:
        return "open, but its deadline has passed: the kernel lets nothing through"
    return f"open, closes {_when(deadline, now)} unless renewed"


def _ago(when: int, now: int) -> str:
    return duration(max(0, now - when))


def _when(when: int, now: int) -> str:
    return f"in {duration(when - now)}" if when > now else f"since {duration(now - when)}"
