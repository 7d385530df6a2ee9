"""Why an instance is MASTER or not, and what would change that: one document, from the core's own numbers.

Promises to change nothing, and that every time is absolute (``_boot_ns``, CLOCK_BOOTTIME), so that a reader can count
down. Decides nothing: the one sentence ``next`` follows the order in which the core itself asks its questions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from haagent.core.group import Group
from haagent.core.instance import Instance
from haagent.core.known_claim import Standing
from haagent.core.node import Node
from haagent.core.observation import SessionObservation
from haagent.core.tracking import TrackUse, adjustment
from haagent.core.units import Instant, Now
from haagent.core.virtual_router import Backup

Section = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at and when; ``boot_of`` gives the CLOCK_BOOTTIME of an instant on ``fast``."""

    node: Node
    group: Group
    member: Instance
    now: Now
    boot_of: Callable[[Instant], int]

    def from_slow(self, instant: Instant) -> int:
        """Return the CLOCK_BOOTTIME of an instant on ``slow``, as far as can be said now."""
        return self.boot_of(self.now.fast + instant - self.now.slow)

    @property
    def holder(self) -> str:
        holder = self.group.claim.holder
        return holder.node if holder else ""

    @property
    def other_holder(self) -> SessionObservation | None:
        """What is known of the session of the node that holds the claim, if that is another one."""
        me = self.node.session.parameters.node
        return self.node.observations.get(self.holder) if self.holder not in ("", me) else None

    @property
    def bound_until(self) -> Instant:
        return self.group.candidacy.pursuit.bound_until()


def explain(view: View) -> Section:
    """Return the document for one instance."""
    member, node = view.member, view.node
    return {
        "instance": member.name,
        "claim_name": view.group.name,
        "node": node.session.parameters.node,
        "written_boot_ns": view.boot_of(view.now.fast),
        "state": member.state.value,
        "since_boot_ns": view.boot_of(member.since),
        "reason": member.reason,
        "next": whats_next(view),
        "paused": node.context.paused,
        "faults": [f"{one.name}: {fault}" for one in view.group.members for fault in one.faults()],
        "priority": _priority(view),
        "vrrp": _vrrp(view),
        "claim": _claim(view),
        "session": _session(view),
        "other_session": _other_session(view),
        "failsafe": _failsafe(view),
        "gate": _gate(view),
        "arbitrated": node.parameters.arbitrated,
    }


def _priority(view: View) -> Section:
    parameters = view.member.parameters
    return {
        "base": parameters.router.priority,
        "effective": view.member.router.priority,
        "trackers": [_tracker(view, use) for use in parameters.uses],
        "preempt": parameters.router.preempt_mode,
    }


def _tracker(view: View, use: TrackUse) -> Section:
    tracker = view.node.trackers[use.tracker]
    return {"name": use.tracker, "up": tracker.up, "weight": use.weight, "adds": adjustment(use, tracker)}


def _vrrp(view: View) -> Section:
    member = view.member
    state = member.router.state
    down = view.boot_of(state.master_down_at) if isinstance(state, Backup) else None
    heard: Section | None = None
    if member.master is not None:
        source, priority = member.master
        heard = {
            "source": str(source),
            "priority": priority,
            "heard_boot_ns": view.boot_of(member.heard_at) if member.heard_at else None,
        }
    return {"heard": heard, "silent_from_boot_ns": down}


def _claim(view: View) -> Section:
    claim = view.group.claim
    record = claim.claim
    bid = record.bid if record is not None else None
    return {
        "state": record.state.value if record is not None else ("absent" if claim.known else "unknown"),
        "holder": view.holder,
        "epoch": claim.epoch,
        "standing": claim.standing(view.now).value,
        "bid": None if bid is None else {"node": bid.holder.node, "priority": bid.priority},
        "reserved_for": record.reserved_for if record is not None else None,
        "electors": list(record.electors) if record is not None else [],
        "under_way": claim.pending.purpose.value if claim.pending is not None else None,
    }


def _session(view: View) -> Section:
    session = view.node.session
    return {
        "live": session.live(view.now),
        "suspended": session.suspended,
        "active": session.active,
        "until_boot_ns": view.boot_of(session.deadline) if session.deadline else None,
        "renewed_boot_ns": view.boot_of(session.confirmed_t0) if session.confirmed_t0 else None,
        "renewed_by": session.renewed_by,
        "quiet": session.quiet,
        "incarnation": session.incarnation,
        "error": session.error,
    }


def _other_session(view: View) -> Section | None:
    seen = view.other_holder
    if seen is None:
        return None
    session = seen.session
    return {
        "node": seen.node,
        "known": seen.known,
        "ended": session is not None and session.ended,
        "seen_boot_ns": view.from_slow(seen.since) if seen.known else None,
        "expires_boot_ns": view.from_slow(seen.expires_at) if seen.known else None,
        "expired": seen.expired(view.now.slow),
    }


def _failsafe(view: View) -> Section:
    node, me = view.node, view.node.session.parameters.node
    record = view.group.claim.claim
    electors = node.session.electors | frozenset(record.electors if record is not None else ())
    if not electors:
        electors = frozenset(node.session.parameters.electors)
    answers = []
    for elector in sorted(electors - {me}):
        heard = node.petitioner.heard.get(elector)
        at = None if heard is None else view.boot_of(heard.at)
        refusal = heard.refusal if heard is not None else ""
        answers.append({"node": elector, "answered_boot_ns": at, "refusal": refusal})
    bound = view.bound_until
    return {
        "electors": sorted(electors),
        "answers": answers,
        "promised_until_boot_ns": view.from_slow(bound) if bound > view.now.slow else None,
    }


def _gate(view: View) -> Section:
    session = view.node.session
    return {
        "open": view.group.gate_open,
        "deadline_boot_ns": view.boot_of(session.deadline) if session.deadline else None,
        "doubt": view.group.doubt.evidence if view.group.doubt.since is not None else "",
    }


# -- the one sentence


def whats_next(view: View) -> str:
    """Return what would have to happen for this node to become MASTER, or what ends it."""
    group = view.group
    if group.raised or not group.idle:
        return _while_up(view)
    questions = (_unwilling, _timer, _vetoed, _session_missing, _promise, _standing)
    return next(
        (answer for question in questions if (answer := question(view))), "it is about to become MASTER"
    )


def _while_up(view: View) -> str:
    group, session = view.group, view.node.session
    if not group.raised:
        return "the addresses are being removed; then the claim is released"
    if group.doubt.since is not None or session.suspended:
        return "its gate is closed until the arbiter (or every elector) has confirmed the claim once more"
    if view.member.state.value != "MASTER":
        return "the addresses are being installed; then it is MASTER"
    keeps = "a renewal in time, good health, and no better node that asks for it"
    if view.node.context.paused:
        keeps = "a renewal in time; paused: neither health checks nor better nodes count"
    return f"it is MASTER, and stays so with {keeps}"


def _unwilling(view: View) -> str:
    context, group = view.node.context, view.group
    if context.stopping or group.leaving:
        return "nothing: it is being stopped" if context.stopping else "nothing: it was removed by a reload"
    faults = [fault for member in group.members for fault in member.faults()]
    if faults:
        return f"this must be mended first: {', '.join(dict.fromkeys(faults))}"
    if context.paused and not group.claim.held:
        return "`haagent resume` must be run: while paused it claims nothing, even if nobody is MASTER"
    abstains = group.candidacy.abstain_until
    if view.now.fast < abstains:
        return f"it handed over and stands back{_until(view.boot_of(abstains), view)}"
    return ""


def _timer(view: View) -> str:
    at = view.group.candidacy.wanting_at(view.now)
    if at is None or at <= view.now.fast:
        return ""
    if view.now.fast < view.node.context.earliest_claim and at == view.node.context.earliest_claim:
        return f"it has started a moment ago and waits{_until(view.boot_of(at), view)}"
    silent = f"{_heard_from(view)} must be silent{_until(view.boot_of(at), view)}"
    if view.group.claim.standing(view.now) is not Standing.TAKEN:
        return silent
    return f"{silent}, and {_holder_lets_go(view)}{_or_better(view)}"


def _vetoed(view: View) -> str:
    veto = view.group.candidacy.veto.sentence(view.now.fast)
    return f"the operator's script must let it claim: {veto}" if veto else ""


def _session_missing(view: View) -> str:
    session = view.node.session
    if session.live(view.now):
        return ""
    problem = f" ({session.error})" if session.error else ""
    return f"the arbiter must answer: this node has no live session{problem}"


def _promise(view: View) -> str:
    if view.bound_until <= view.now.slow:
        return ""
    until = _until(view.from_slow(view.bound_until), view)
    return f"its promise not to claim must run out{until}; every renewal of {view.holder or 'the holder'} prolongs it"


def _standing(view: View) -> str:
    claim = view.group.claim
    match claim.standing(view.now):
        case Standing.TAKEN:
            return _holder_lets_go(view)
        case Standing.LATER:
            return f"nobody holds the claim, but it may be taken only later{_until(view.from_slow(claim.later_at()), view)}"
        case Standing.UNKNOWN:
            return "the arbiter must show who holds the claim"
        case _:
            return ""


def _holder_lets_go(view: View) -> str:
    seen = view.other_holder
    record = view.group.claim.claim
    own = view.group.candidacy.priority()
    if seen is None or not seen.known:
        return f"the session of {view.holder or 'the holder'} must be seen"
    if seen.expired(view.now.slow):
        return _must_be_ended(view, seen)
    ways = [
        f"{view.holder} must release the claim, or not renew its session{_until(view.from_slow(seen.expires_at), view)}"
    ]
    if record is not None and record.bid is not None and record.bid.holder == view.node.session.holder:
        ways.append(f"or answer the bid of this node (priority {own})")
    return " ".join(ways)


def _or_better(view: View) -> str:
    """Return the other way, by priority, if preemption is allowed and the one heard is not worse already."""
    master, own = view.member.master, view.group.candidacy.priority()
    if master is None or master[1] < own or not view.member.parameters.router.preempt_mode:
        return ""
    return f"; or its priority ({own}) must become higher than {master[1]}, so that it may ask for a handover"


def _must_be_ended(view: View, seen: SessionObservation) -> str:
    me = view.node.session.parameters.node
    record, session = view.group.claim.claim, seen.session
    electors = (record.electors if record is not None else ()) if session is None else session.electors
    if electors and me not in electors and seen.node not in view.node.context.declared_down:
        return (
            f"{seen.node} does not count {me} among its electors ({', '.join(electors)}) and may live on promises that "
            f"{me} knows nothing of; if it is certainly down: haagent declare-down {seen.node}"
        )
    return f"{seen.node}'s session has expired; it must be ended at the arbiter, which this node does next"


def _heard_from(view: View) -> str:
    master = view.member.master
    return "the master" if master is None else f"{master[0]} (priority {master[1]})"


def _until(boot: int, view: View) -> str:
    left = boot - view.boot_of(view.now.fast)
    return f" for {max(0, left) / 1e9:.1f} s more"
