"""One claim and the instances that live under it: a sync group, or a single instance by itself.

Theory of operation
-------------------
The group owns the order that keeps the promise of docs/safety:

    up:    claim won -> gate open -> addresses -> advertisement and announcements
    down:  gate closed -> addresses removed -> priority 0 -> claim released

It is level-triggered. ``step`` looks at what is true now and does the next thing; every event of the node that
may matter calls it. While MASTER, three things make the group let go (``_reason_to_lower``): its claim or session
is gone, a member may not take part any more, or somebody better asked (a bid, an operator). A doubt (core.doubt)
closes the gate until there is proof. While idle, the group gives up what an earlier run left (core.inheritance) and
stands for the claim (core.candidacy).

Without an arbiter (``arbiter none``) the claim and session are stand-ins that are always granted
(core.unarbitrated), and the same machine is plain VRRP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from haagent.core.actions import Action, Actions, CloseGate, OpenGate, Tell
from haagent.core.candidacy import Candidacy
from haagent.core.claim import Claim
from haagent.core.context import Context
from haagent.core.doubt import Doubt
from haagent.core.events import AdvertisementReceived
from haagent.core.inheritance import Inheritance
from haagent.core.instance import Instance, Phase
from haagent.core.records import NOBODY
from haagent.core.reports import State, StateChanged
from haagent.core.units import Instant, Now, sooner
from haagent.core.virtual_router import Master

LAPSED = "the lease ran out"


@dataclass(frozen=True, slots=True)
class GroupParameters:
    """``name`` is the claim's; ``sync`` says that it is a vrrp_sync_group whose own state is reported too."""

    name: str
    members: tuple[str, ...]
    sync: bool = False


class Use(NamedTuple):
    """A claim that is held and in use, for which the session may be renewed by promise."""

    epoch: int
    electors: tuple[str, ...]


class Group:
    """The machine of one claim."""

    def __init__(
        self, parameters: GroupParameters, members: tuple[Instance, ...], claim: Claim, context: Context
    ) -> None:
        self.parameters = parameters
        self.name = parameters.name
        self.members = members
        self.claim = claim
        self.context = context
        self.doubt = Doubt(parameters.name, context.session)
        self.inheritance = Inheritance(claim, tuple(member.name for member in members))
        self.candidacy = Candidacy(members, claim, self.inheritance, context)
        self.gate_open = False
        self.state = State.INIT
        self.due: Instant | None = None  # for core.agenda to say
        self.leaving = False  # the group is on its way out of the configuration
        self._raised_at: Instant = 0
        self._bid_due: Instant | None = None  # when the tenure that a bid waits for is over
        self._reserved: str | None = None
        self._lower_reason = ""

    # -- what others ask

    @property
    def raised(self) -> bool:
        """Tell whether any member is up or on its way up."""
        for member in self.members:  # noqa: SIM110 - asked for every event: a generator costs more than the answer
            if member.phase is Phase.UP or member.phase is Phase.RAISING:
                return True
        return False

    @property
    def idle(self) -> bool:
        """Tell whether nothing of this group is installed."""
        for member in self.members:  # noqa: SIM110 - as above
            if member.phase is not Phase.IDLE:
                return False
        return True

    @property
    def gone(self) -> bool:
        """Tell whether there is nothing left to do for a group that is leaving."""
        return (
            self.idle
            and not self.claim.held
            and self.claim.pending is None
            and self.claim.release_for is None
        )

    @property
    def in_use(self) -> Use | None:
        """Return the claim's epoch and electors while it is held and the addresses are up; None otherwise."""
        if self.claim.claim is None or not self.claim.held or not self.raised:
            return None
        return Use(self.claim.epoch, self.claim.claim.electors)

    @property
    def needs_session(self) -> bool:
        """Tell whether the session must be renewed at R for this group's sake."""
        return self.claim.held or not self.idle or self.candidacy.needs_session

    @property
    def holds_or_may(self) -> bool:
        """Tell whether this node holds the claim or may come to hold it by what it has already sent."""
        return self.claim.mine is not None or self.claim.uncertain or self.claim.adopting or not self.idle

    def faults(self) -> tuple[str, ...]:
        return tuple(fault for member in self.members for fault in member.faults())

    # -- VRRP

    def heard(self, member: Instance, advertisement: AdvertisementReceived, now: Now) -> Actions:
        """Take in an advertisement for a member."""
        if member.phase is not Phase.UP:
            member.heard(advertisement, now.fast)
            return self.step(now) if self.candidacy.wanted or not advertisement.priority else ()
        if not self.claim.guarded or not advertisement.priority:
            return self._after_challenge(member, member.challenged(advertisement, now.fast), now)
        return self._challenged(member, advertisement, now)

    def foreign_announcement(self, member: Instance, detail: str, now: Now) -> Actions:
        """Take in that another node announced an address of a member that is up."""
        return self._doubt(detail, now) if member.phase is Phase.UP else ()

    def doubt_if_raised(self, evidence: str, now: Now) -> Actions:
        """Take in evidence that this node was not running or its clock stood still."""
        return self._doubt(evidence, now) if self.raised else ()

    def gate_lost(self, evidence: str, now: Now) -> Actions:
        """Take in that the kernel's gate is closed, whatever was last asked of it: it must be opened again, with proof."""
        return self._doubt(evidence, now, gate_lost=True) if self.raised else ()

    # -- addresses

    def installed(self, member: Instance, now: Now) -> Actions:
        """Take in that a member's addresses are there."""
        why = "claim held" if self.claim.guarded else "no better router was heard"
        return member.installed(now.fast, self.claim.epoch, why) + self._report_group()

    def removed(self, member: Instance, now: Now) -> Actions:
        """Take in that a member's addresses are gone; when all are, give the claim back."""
        if member.phase is not Phase.LOWERING:
            return self.step(now) if self.inheritance.removed(member.name) else ()
        actions = member.removed(now.fast)
        actions += self._settle(member, now)
        if self.idle:
            if self.claim.held and self._keeps_lapsed():
                self.claim.forget()  # look again before it is used again
            elif self.claim.held:
                self.claim.release_for = self._reserved or ""
            self._reserved = None
            actions += self._report_group()
        return actions + self.step(now)

    def _keeps_lapsed(self) -> bool:
        """Tell whether a claim whose lease ran out stays ours: in a pause nobody else would take it up again."""
        staying = not self.context.stopping and not self.leaving
        return self.context.paused and staying and self._lower_reason == LAPSED

    # -- the operator

    def switch_over(self, to: str | None, now: Now) -> Actions:
        """Hand the claim over, to ``to`` or to whoever is best, and stand back for a while."""
        if not self.raised:
            return ()
        self.candidacy.stand_back(now)
        heir = to or self.context.only_candidate(now)
        return self._lower("handed over by the operator", now, reserved=heir)

    # -- time

    def next_deadline(self, now: Now) -> Instant | None:
        """Return when ``step`` is due, on the ``fast`` clock."""
        best = self.claim.next_deadline()
        for member in self.members:
            best = sooner(best, member.next_deadline())
        if not self.idle:
            return sooner(best, self._bid_due if self.gate_open else None)
        return sooner(sooner(best, self.inheritance.next_deadline()), self.candidacy.next_deadline(now))

    def tick(self, now: Now) -> Actions:
        """Do what is due; the steady path of a MASTER is the first line."""
        claim, due = self.claim, self.claim.next_deadline()
        quiet = claim.pending is None and claim.bid is None and (due is None or due > now.fast)
        quiet = quiet and self._bid_due is None
        if self.gate_open and quiet and self.doubt.since is None:
            return self._tick_members(now)
        return self._tick_members(now) + self.step(now)

    def _tick_members(self, now: Now) -> Actions:
        actions: Actions = ()
        for member in self.members:
            if member.phase is not Phase.IDLE:
                actions += member.tick(now.fast)
        return actions

    def step(self, now: Now) -> Actions:
        """Look at what is true now and do the next thing."""
        if self.raised:
            actions = self._step_raised(now)
        elif self.idle:
            actions = self._step_idle(now)
        else:
            actions = ()
        return actions + self.claim.step(now)

    # -- idle

    def _step_idle(self, now: Now) -> Actions:
        actions = self._follow_health(now)
        willing = self.candidacy.willing(now)
        actions += self.inheritance.step(now, willing=willing)
        if not willing:
            self.candidacy.rest(now)
            return actions
        actions += self.candidacy.step(now)
        if self.claim.usable and self.context.session.live(now):
            actions += self._raise(now)
        return actions

    def _raise(self, now: Now) -> Actions:
        self.gate_open = True
        self._raised_at = now.fast
        self.inheritance.accept()
        self.candidacy.succeeded()
        actions: tuple[Action, ...] = (OpenGate(self.name, self.claim.epoch),)
        for member in self.members:
            actions += member.raise_up()
        return actions

    # -- raised

    def _step_raised(self, now: Now) -> Actions:
        reason = self._reason_to_lower(now)
        if reason:
            # whoever stops does not come back at once, so the only other one need not wait for better ones
            heir = self.context.only_candidate(now) if self.context.stopping else None
            return self._lower(reason, now, reserved=heir)
        if self.context.session.suspended or self.doubt.stands:
            return self._close_gate()
        if not self.gate_open:
            return self._reopen(now)
        return self._consider_bid(now)

    def _reason_to_lower(self, now: Now) -> str:
        session = self.context.session
        if self.context.stopping:
            return "stopping"
        if self.leaving:
            return "removed from the configuration"
        faults = () if self.context.paused else self.faults()
        if faults:
            return faults[0]
        if not self.claim.held:
            return "the claim is gone"
        lapsed = now.fast >= session.deadline if session.suspended else not session.live(now)
        return LAPSED if lapsed else ""

    def _reopen(self, now: Now) -> Actions:
        self.doubt.settle()
        self.gate_open = True
        actions: tuple[Action, ...] = (OpenGate(self.name, self.claim.epoch),)
        for member in self.members:
            actions += member.assert_itself(now.fast)
        return actions

    def _consider_bid(self, now: Now) -> Actions:
        self._bid_due = None
        bid = self.claim.bid
        if bid is None or self.context.paused or bid.priority <= self.candidacy.priority():
            return ()
        if now.fast < self._raised_at + self.context.tenure:
            self._bid_due = self._raised_at + self.context.tenure
            return ()
        bidder = self.context.observe(bid.holder.node)
        if not bidder.known or bidder.over(bid.holder.incarnation) or bidder.expired(now.slow):
            return ()  # it asked and died: nobody would take over
        reason = f"handed over to {bid.holder.node} (priority {bid.priority})"
        return self._lower(reason, now, reserved=bid.holder.node)

    def _lower(self, reason: str, now: Now, reserved: str | None = None) -> Actions:
        self._lower_reason = reason
        self._reserved = reserved
        self.doubt.forget()
        actions = self._close_gate()
        for member in self.members:
            actions += member.lower()
        return actions

    def _close_gate(self) -> Actions:
        if not self.gate_open:
            return ()
        self.gate_open = False
        return (CloseGate(self.name),)

    # -- doubt

    def _challenged(self, member: Instance, advertisement: AdvertisementReceived, now: Now) -> Actions:
        """A MASTER with a claim hears another one.

        It cannot be a node of ours (it would need the claim), unless the packet is old news. So: doubt, prove,
        go on. A stock keepalived that keeps advertising with a better priority never asks the arbiter; rather
        than fight it for ever, yield to its second advertisement after the proof.
        """
        source = advertisement.source
        if not member.beaten_by(advertisement):
            doubted = self._doubt(f"advertisement from {source}", now)
            return doubted + member.challenged(advertisement, now.fast)
        if not self.doubt.challenged():
            return self._doubt(f"better advertisement from {source}", now)
        member.challenged(advertisement, now.fast)
        reason = f"yielding to {source} (priority {advertisement.priority}), which asks no arbiter"
        return self._lower(reason, now, reserved=NOBODY)

    def _after_challenge(self, member: Instance, actions: Actions, now: Now) -> Actions:
        """Follow a router that has stepped down by the rules of VRRP alone."""
        if isinstance(member.router.state, Master):
            return actions
        heard = member.master
        who = f"better advertisement heard from {heard[0]}" if heard else "a better router was heard"
        return actions + self._lower(who, now)

    def _doubt(self, evidence: str, now: Now, *, gate_lost: bool = False) -> Actions:
        told = self.doubt.arise(evidence, now, gate_lost=gate_lost)
        return self._close_gate() + told if told else ()

    # -- the states of the members, and the sync group's own

    def _follow_health(self, now: Now) -> Actions:
        if self.context.stopping or self.leaving:
            return self._stop_members(now)
        actions: Actions = ()
        faults = self.faults()
        for member in self.members:
            if not faults and member.state not in (State.BACKUP, State.MASTER):
                actions += self._enter(member, now, "ready")
            elif faults and member.state is not State.FAULT:
                actions += self._enter(member, now, faults[0])
        return actions + self._report_group()

    def _settle(self, member: Instance, now: Now) -> Actions:
        """Give a lowered member the state it has from now on."""
        if self.context.stopping or self.leaving:
            return member.become(State.STOP, now.fast, self.claim.epoch, self._lower_reason)
        return self._enter(member, now, self._lower_reason)

    def _enter(self, member: Instance, now: Now, reason: str) -> Actions:
        faults = self.faults()
        if not faults:
            member.start(now.fast)
            return member.become(State.BACKUP, now.fast, self.claim.epoch, reason)
        member.router.interface_down(now.fast)
        undecided = all(fault.endswith("has no result yet") for fault in faults)
        if undecided and member.state is State.INIT:
            return ()
        return member.become(State.FAULT, now.fast, self.claim.epoch, faults[0])

    def _stop_members(self, now: Now) -> Actions:
        actions: Actions = ()
        for member in self.members:
            member.router.interface_down(now.fast)
            actions += member.become(State.STOP, now.fast, self.claim.epoch, "stopping")
        return actions + self._report_group()

    def _report_group(self) -> Actions:
        states = {member.state for member in self.members}
        state = states.pop() if len(states) == 1 else self.state
        if not self.parameters.sync or state is self.state:
            self.state = state
            return ()
        old, self.state = self.state, state
        reason = self.members[0].reason
        return (Tell(StateChanged(self.name, old, state, 0, self.claim.epoch, reason, group=True)),)
