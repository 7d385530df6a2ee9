"""One claim and the instances that live under it: a sync group, or a single instance by itself.

Theory of operation
-------------------
The group owns the order that keeps the promise of docs/safety:

    up:    claim won -> gate open -> addresses -> advertisement and announcements
    down:  gate closed -> addresses removed -> priority 0 -> claim released

It is level-triggered. ``step`` looks at what is true now and does the next thing; every event of the node that
may matter calls it. While MASTER, three things make the group let go (``_reason_to_lower``): its claim or session
is gone, a member may not take part any more, or somebody better asked (a bid, an operator). Two things make it
doubt itself, which closes the gate until a renewal *sent after the doubt* has counted: somebody else speaking for
its addresses, and a loop that woke too late.

Without an arbiter (``arbiter none``) the claim and session are stand-ins that are always granted
(core.unarbitrated), and the same machine is plain VRRP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from haagent.core.actions import Action, Actions, CloseGate, OpenGate, RemoveAddresses, Tell
from haagent.core.claim import Claim
from haagent.core.context import Context
from haagent.core.events import AdvertisementReceived
from haagent.core.instance import Instance, Phase
from haagent.core.known_claim import Standing
from haagent.core.pursuit import Pursuit
from haagent.core.records import NOBODY
from haagent.core.reports import Doubted, State, StateChanged
from haagent.core.units import SECOND, Duration, Instant, Now, sooner
from haagent.core.veto import Question, Veto
from haagent.core.virtual_router import Master

LAPSED = "the lease ran out"
OUTLIVING: Duration = 3 * SECOND  # addresses outlive the lease by less (their lifetimes are whole seconds)


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
        self.pursuit = Pursuit(claim, context)
        self.veto = Veto(parameters.name, self._veto_pause())
        self.gate_open = False
        self.state = State.INIT
        self.wanted = False
        self.due: Instant | None = None
        self.doubt: Instant | None = None
        self.doubt_reason = ""
        self.raised_at: Instant = 0
        self._bid_due: Instant | None = None  # when the tenure that a bid waits for is over
        self.leaving = False  # the group is on its way out of the configuration
        self._no_doubt_before: Instant = 0
        self._challenges = 0
        self.abstain_until: Instant = 0
        self._wait_ends: Instant | None = None  # as of the last step: it must not vanish when it is reached
        self._reserved: str | None = None
        self._lower_reason = ""
        # The worker before us may have left this gate open and these addresses on, whatever the deadline is by now.
        self._inherited = claim.session.parameters.resumed
        self._left: set[str] = (
            set()
        )  # members whose addresses it left and that are not reported as removed yet
        self._left_until: Instant = 0  # when those are gone by their lifetime

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
        return self.claim.held or self.wanted or not self.idle or self.expects_release or self.veto.asking

    @property
    def expects_release(self) -> bool:
        """Tell whether the MASTER has resigned: its claim is about to be released, and this node may be the next."""
        return any(member.heard_resignation for member in self.members)

    @property
    def holds_or_may(self) -> bool:
        """Tell whether this node holds the claim or may come to hold it by what it has already sent."""
        return self.claim.mine is not None or self.claim.uncertain or self.claim.adopting or not self.idle

    def _veto_pause(self) -> Duration | None:
        pauses = [member.parameters.veto_pause for member in self.members]
        return max((pause for pause in pauses if pause is not None), default=None)

    def priority(self) -> int:
        """Return what a bid says: the weakest member's effective priority."""
        return min(member.router.priority for member in self.members)

    def named(self) -> tuple[str, ...]:
        """Return the nodes that the claim names, its holder and its bidder; all of them if its record was lost."""
        if self.claim.lost:
            return self.claim.witnesses.known()
        claim = self.claim.claim
        if claim is None:
            return ()
        bidder = () if claim.bid is None else (claim.bid.holder.node,)
        return bidder if claim.holder is None else (claim.holder.node, *bidder)

    def faults(self) -> tuple[str, ...]:
        return tuple(fault for member in self.members for fault in member.faults())

    def close_unconfirmed(self) -> Actions:
        """Close the gate that an earlier worker left open, unless the arbiter has confirmed the claim by now.

        It must come before the first new deadline: the flag in the kernel would otherwise open with it.
        """
        return (CloseGate(self.name),) if self._inherited and not self.claim.held else ()

    # -- VRRP

    def heard(self, member: Instance, advertisement: AdvertisementReceived, now: Now) -> Actions:
        """Take in an advertisement for a member."""
        if member.phase is not Phase.UP:
            member.heard(advertisement, now.fast)
            return self.step(now) if self.wanted or not advertisement.priority else ()
        if not self.claim.guarded or not advertisement.priority:
            return self._after_challenge(member, member.challenged(advertisement, now.fast), now)
        return self._challenged(member, advertisement, now)

    def foreign_announcement(self, member: Instance, detail: str, now: Now) -> Actions:
        """Take in that another node announced an address of a member that is up."""
        return self._doubt(detail, now) if member.phase is Phase.UP else ()

    def doubt_if_raised(self, evidence: str, now: Now) -> Actions:
        """Take in evidence that this node was not running or its clock stood still."""
        return self._doubt(evidence, now) if self.raised else ()

    # -- addresses

    def installed(self, member: Instance, now: Now) -> Actions:
        """Take in that a member's addresses are there."""
        actions = member.installed(now.fast, self.claim.epoch, self._why_master())
        return actions + self._report_group(now)

    def removed(self, member: Instance, now: Now) -> Actions:
        """Take in that a member's addresses are gone; when all are, give the claim back."""
        if member.phase is not Phase.LOWERING:
            return self._left_removed(member, now)
        actions = member.removed(now.fast)
        actions += self._settle(member, now)
        if self.idle:
            if self.claim.held and self._keeps_lapsed():
                self.claim.forget()  # look again before it is used again
            elif self.claim.held:
                self.claim.release_for = self._reserved or ""
            self._reserved = None
            actions += self._report_group(now)
        return actions + self.step(now)

    def _left_removed(self, member: Instance, now: Now) -> Actions:
        """Take in that what an earlier run had left is gone."""
        if member.name not in self._left:
            return ()
        self._left.discard(member.name)
        return self.step(now)

    def _keeps_lapsed(self) -> bool:
        """Tell whether a claim whose lease ran out stays ours: in a pause nobody else would take it up again."""
        staying = not self.context.stopping and not self.leaving
        return self.context.paused and staying and self._lower_reason == LAPSED

    # -- the operator

    def switch_over(self, to: str | None, now: Now) -> Actions:
        """Hand the claim over, to ``to`` or to whoever is best, and stand back for a while."""
        if not self.raised:
            return ()
        self.abstain_until = now.fast + 2 * self.context.session.parameters.lease
        heir = to or self.context.only_candidate(now)
        return self._lower("handed over by the operator", now, reserved=heir)

    # -- time

    def next_deadline(self, now: Now) -> Instant | None:
        """Return when ``step`` is due, on the ``fast`` clock."""
        best = self.claim.next_deadline()
        for member in self.members:
            best = sooner(best, member.next_deadline())
        if self.raised or not self.idle:
            return sooner(best, self._bid_due if self.gate_open else None)
        best = sooner(best, self.veto.next_deadline(self.wanting_at(now), wanted=self.wanted))
        if self._left:
            best = sooner(best, self._left_until)
        return sooner(best, self._wait_ends)

    def tick(self, now: Now) -> Actions:
        """Do what is due; the steady path of a MASTER is the first line."""
        claim, due = self.claim, self.claim.next_deadline()
        quiet = claim.pending is None and claim.bid is None and (due is None or due > now.fast)
        quiet = quiet and self._bid_due is None
        if self.gate_open and quiet and self.doubt is None:
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

    # -- raised

    def _step_raised(self, now: Now) -> Actions:
        reason = self._reason_to_lower(now)
        if reason:
            # whoever stops does not come back at once, so the only other one need not wait for better ones
            heir = self.context.only_candidate(now) if self.context.stopping else None
            return self._lower(reason, now, reserved=heir)
        session = self.context.session
        if session.suspended or not self._proved():
            return self._close_gate()
        if not self.gate_open:
            return self._reopen(now)
        return self._consider_bid(now)

    def _proved(self) -> bool:
        return self.doubt is None or self.context.session.valid_as_of(self.doubt)

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
        if not session.suspended and not session.live(now):
            return LAPSED
        if session.suspended and now.fast >= session.deadline:
            return LAPSED
        return ""

    def _reopen(self, now: Now) -> Actions:
        self.doubt = None
        self.gate_open = True
        actions: tuple[Action, ...] = (OpenGate(self.name, self.claim.epoch),)
        for member in self.members:
            actions += member.assert_itself(now.fast)
        return actions

    def _consider_bid(self, now: Now) -> Actions:
        self._bid_due = None
        bid = self.claim.bid
        if bid is None or self.context.paused or bid.priority <= self.priority():
            return ()
        if now.fast < self.raised_at + self.context.tenure:
            self._bid_due = self.raised_at + self.context.tenure
            return ()
        bidder = self.context.observe(bid.holder.node)
        if not bidder.known or bidder.over(bid.holder.incarnation) or bidder.expired(now.slow):
            return ()  # it asked and died: nobody would take over
        return self._lower(
            f"handed over to {bid.holder.node} (priority {bid.priority})", now, reserved=bid.holder.node
        )

    def _lower(self, reason: str, now: Now, reserved: str | None = None) -> Actions:
        self._lower_reason = reason
        self._reserved = reserved
        self.doubt, self._challenges = None, 0
        actions = self._close_gate()
        for member in self.members:
            actions += member.lower()
        return actions

    def _close_gate(self) -> Actions:
        if not self.gate_open:
            return ()
        self.gate_open = False
        return (CloseGate(self.name),)

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
        undecided = member.state is State.INIT and all(
            fault.endswith("has no result yet") for fault in faults
        )
        if undecided:
            return ()
        return member.become(State.FAULT, now.fast, self.claim.epoch, faults[0])

    # -- doubt

    def _challenged(self, member: Instance, advertisement: AdvertisementReceived, now: Now) -> Actions:
        """A MASTER with a claim hears another one.

        It cannot be a node of ours (it would need the claim), unless the packet is old news. So: doubt, prove,
        go on. A stock keepalived that keeps advertising with a better priority never asks the arbiter; rather
        than fight it for ever, yield to its second advertisement after the proof.
        """
        if not member.beaten_by(advertisement):
            return self._doubt(f"advertisement from {advertisement.source}", now) + member.challenged(
                advertisement, now.fast
            )
        self._challenges += 1
        if self._challenges <= 2 or self.doubt is not None:
            return self._doubt(f"better advertisement from {advertisement.source}", now)
        member.challenged(advertisement, now.fast)
        reason = (
            f"yielding to {advertisement.source} (priority {advertisement.priority}), which asks no arbiter"
        )
        return self._lower(reason, now, reserved=NOBODY)

    def _after_challenge(self, member: Instance, actions: Actions, now: Now) -> Actions:
        """Follow a router that has stepped down by the rules of VRRP alone."""
        if isinstance(member.router.state, Master):
            return actions
        heard = member.master
        who = f"better advertisement heard from {heard[0]}" if heard else "a better router was heard"
        return actions + self._lower(who, now)

    def _doubt(self, evidence: str, now: Now) -> Actions:
        if self.doubt is not None or now.fast < self._no_doubt_before:
            return ()
        session = self.context.session
        self._no_doubt_before = now.fast + session.parameters.renew
        self.doubt, self.doubt_reason = now.fast, evidence
        session.revalidate(now)
        told: Actions = (Tell(Doubted(self.name, evidence)),)
        return self._close_gate() + told

    # -- idle

    def _step_idle(self, now: Now) -> Actions:
        actions = self._follow_health(now)
        self._wait_ends = None
        if now.fast >= self._left_until:
            self._left.clear()
        if self._inherited and (self._unwilling(now) or not self.claim.adopting):
            actions += self._disinherit(now)
        if self._unwilling(now):
            self.wanted = self.claim.wanted = self.claim.bidding = False
            self.veto.rest()
            if self.claim.held or self._should_leave(None, now):
                self.claim.release_for = self.claim.release_for or ""
            return actions
        standing = self.claim.standing(now)
        self.pursuit.note(standing, now)
        at = self.wanting_at(now)
        actions += self._follow_wish(standing, now, wish=at is not None and now.fast >= at)
        self.claim.wanted = self.wanted
        self.claim.expect_release(now, expected=self.expects_release)
        self.claim.bidding = self.wanted and self._preempts() and not self.pursuit.may_replace(now)
        self.claim.priority = self.priority()
        if self._should_leave(None if self.veto.refused else at, now):
            self.claim.release_for = ""
        if self.wanted and standing is not Standing.MINE:
            actions += self.pursuit.step(standing, now)
            self._wait_ends = self.pursuit.waiting_until(now)
        if self.claim.usable and self.context.session.live(now):
            actions += self._raise(now)
        return actions

    def _follow_wish(self, standing: Standing, now: Now, *, wish: bool) -> Actions:
        """Want the claim if VRRP does and nobody vetoes it; what is ours already is nobody's to veto."""
        self.veto.pause = self._veto_pause()
        if not wish or self.claim.adopting or self.claim.held:
            self.wanted = wish
            self.veto.rest()
            return ()
        holder = self.claim.holder
        who = "" if holder is None else holder.node
        asked = self.veto.ask(
            Question(self._why_claim(standing), who, self.claim.epoch, self.priority()), now.fast
        )
        self.wanted = self.veto.permits()
        return asked

    def _why_claim(self, standing: Standing) -> str:
        if standing is Standing.TAKEN:
            return "preemption" if self.pursuit.expired_at is None else "takeover"
        return "handover" if self.claim.meant_for_us else "free"

    def _should_leave(self, wanting_at: Instant | None, now: Now) -> bool:
        """Tell whether to give back what an earlier run of this node held: nobody else can know that it is over."""
        session = self.context.session
        if not self.claim.left_over or self.claim.adopting or self._left or not session.live(now):
            return False
        return wanting_at is None or wanting_at > now.fast + session.parameters.renew

    def _preempts(self) -> bool:
        return all(member.parameters.router.preempt_mode for member in self.members)

    def _follow_health(self, now: Now) -> Actions:
        if self.context.stopping or self.leaving:
            return self._all_become(State.STOP, "stopping", now)
        actions: Actions = ()
        faults = self.faults()
        for member in self.members:
            if not faults and member.state not in (State.BACKUP, State.MASTER):
                actions += self._enter(member, now, "ready")
            elif faults and member.state is not State.FAULT:
                actions += self._enter(member, now, faults[0])
        return actions + self._report_group(now)

    def _all_become(self, state: State, reason: str, now: Now) -> Actions:
        actions: Actions = ()
        for member in self.members:
            member.router.interface_down(now.fast)
            actions += member.become(state, now.fast, self.claim.epoch, reason)
        return actions + self._report_group(now)

    def _unwilling(self, now: Now) -> bool:
        return (
            self.context.stopping
            or self.leaving
            or now.fast < self.abstain_until
            or any(member.state is not State.BACKUP for member in self.members)
            or (self.context.paused and not self.claim.held)
        )

    def wanting_at(self, now: Now) -> Instant | None:
        """Return when this node wants the claim by VRRP's timers and what is known of the holder; None: not at all."""
        if self._unwilling(now):
            return self.abstain_until if now.fast < self.abstain_until else None
        if self.claim.adopting:
            return now.fast
        earliest = 0 if self.pursuit.may_hurry() else self.context.earliest_claim
        freed_at, expired_at = self.pursuit.freed_at, self.pursuit.expired_at
        if freed_at is not None and (expired_at is not None or self.claim.meant_for_us):
            return max(earliest, now.fast if self.wanted or self.claim.meant_for_us else freed_at)
        times = [member.wanting_at(freed_at, expired_at) for member in self.members]
        if any(time is None for time in times):
            return None
        return max(earliest, *(time for time in times if time is not None))

    def _disinherit(self, now: Now) -> Actions:
        """Let go of what an earlier worker left in place: the next renewal would be one for it, too."""
        self._inherited = False
        self._left = {member.name for member in self.members}
        self._left_until = now.fast + self.context.session.longest_lease + OUTLIVING
        return (CloseGate(self.name), *(RemoveAddresses(member.name) for member in self.members))

    def _raise(self, now: Now) -> Actions:
        self.gate_open, self._inherited = True, False
        self._left.clear()
        self.raised_at, self._challenges = now.fast, 0
        self.veto.fulfilled()
        actions: tuple[Action, ...] = (OpenGate(self.name, self.claim.epoch),)
        for member in self.members:
            actions += member.raise_up()
        return actions

    def _why_master(self) -> str:
        return "claim held" if self.claim.guarded else "no better router was heard"

    def _report_group(self, now: Now) -> Actions:
        states = {member.state for member in self.members}
        state = states.pop() if len(states) == 1 else self.state
        if not self.parameters.sync or state is self.state:
            self.state = state
            return ()
        old, self.state = self.state, state
        reason = self.members[0].reason
        return (Tell(StateChanged(self.name, old, state, 0, self.claim.epoch, reason, group=True)),)
