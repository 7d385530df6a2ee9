"""Whether this node stands for a claim that it does not use, from when on, and what it does about that.

Promises that the claim is wanted only while every member takes part and VRRP wants to be MASTER, and that a claim which
is not ours yet is neither taken nor bid for against the operator's veto (core.veto). Whether it may be taken is judged by
core.pursuit; what follows once it is ours, by the group.
"""

from __future__ import annotations

from haagent.core.actions import Actions
from haagent.core.claim import Claim
from haagent.core.context import Context
from haagent.core.inheritance import Inheritance
from haagent.core.instance import Instance
from haagent.core.known_claim import Standing
from haagent.core.pursuit import Pursuit
from haagent.core.reports import State
from haagent.core.units import Duration, Instant, Now, sooner
from haagent.core.veto import Question, Veto


class Candidacy:
    """The candidacy of one claim's ``members`` on this node.

    ``wanted`` says whether they want the claim, as of the last step, and stays so while it is in use; ``abstain_until``
    (``fast``) is until when this node stands back.
    """

    def __init__(
        self, members: tuple[Instance, ...], claim: Claim, inheritance: Inheritance, context: Context
    ) -> None:
        self.members = members
        self.claim = claim
        self.inheritance = inheritance
        self.context = context
        self.pursuit = Pursuit(claim, context)
        self.veto = Veto(claim.name, self._veto_pause())
        self.wanted = False
        self.abstain_until: Instant = 0
        self._wait_ends: Instant | None = None  # as of the last step: it must not vanish when it is reached

    # -- what others ask

    def priority(self) -> int:
        """Return what a bid says: the weakest member's effective priority."""
        return min(member.router.priority for member in self.members)

    @property
    def needs_session(self) -> bool:
        """Tell whether the session must be renewed at R for its sake."""
        return self.wanted or self.expects_release or self.veto.asking

    @property
    def expects_release(self) -> bool:
        """Tell whether the MASTER has resigned: its claim is about to be released, and this node may be the next."""
        return any(member.heard_resignation for member in self.members)

    def willing(self, now: Now) -> bool:
        """Tell whether this node may stand: whoever has a fault, is stopping or is leaving is not BACKUP."""
        return (
            now.fast >= self.abstain_until
            and all(member.state is State.BACKUP for member in self.members)
            and (self.claim.held or not self.context.paused)
        )

    def wanting_at(self, now: Now) -> Instant | None:
        """Return when this node wants the claim by VRRP's timers and what is known of the holder; None: not at all."""
        if not self.willing(now):
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

    def next_deadline(self, now: Now) -> Instant | None:
        """Return when ``step`` is due (``fast``)."""
        return sooner(self.veto.next_deadline(self.wanting_at(now), wanted=self.wanted), self._wait_ends)

    # -- what happens

    def stand_back(self, now: Now) -> None:
        """Leave the claim to others for a while: it has just been handed over."""
        self.abstain_until = now.fast + 2 * self.context.session.parameters.lease

    def succeeded(self) -> None:
        """Take note that the claim is in use."""
        self.veto.fulfilled()

    def rest(self, now: Now) -> None:
        """Want nothing, and give back what is held; for whoever is not willing."""
        self.wanted = self.claim.wanted = self.claim.bidding = False
        self.veto.rest()
        self._wait_ends = None
        kept = self.claim.held and not self.inheritance.removing
        if kept or self.inheritance.should_be_returned(None, now):
            self.claim.release_for = self.claim.release_for or ""

    def step(self, now: Now) -> Actions:
        """Look at what is true now and do the next thing: ask the script, bid, end a session or take the claim."""
        standing = self.claim.standing(now)
        self.pursuit.note(standing, now)
        at = self.wanting_at(now)
        actions = self._follow_wish(standing, now, wish=at is not None and now.fast >= at)
        self.claim.wanted = self.wanted
        self.claim.expect_release(now, expected=self.expects_release)
        self.claim.bidding = self.wanted and self._preempts() and not self.pursuit.may_replace(now)
        self.claim.priority = self.priority()
        if self.inheritance.should_be_returned(None if self.veto.refused else at, now):
            self.claim.release_for = ""
        self._wait_ends = None
        if self.wanted and standing is not Standing.MINE:
            actions += self.pursuit.step(standing, now)
            self._wait_ends = self.pursuit.waiting_until(now)
        return actions

    # -- inside

    def _follow_wish(self, standing: Standing, now: Now, *, wish: bool) -> Actions:
        """Want the claim if VRRP does and nobody vetoes it; what is ours already is nobody's to veto."""
        self.veto.pause = self._veto_pause()
        if not wish or self.claim.adopting or self.claim.held:
            self.wanted = wish
            self.veto.rest()
            return ()
        holder = self.claim.holder
        who = "" if holder is None else holder.node
        question = Question(self._why_claim(standing), who, self.claim.epoch, self.priority())
        asked = self.veto.ask(question, now.fast)
        self.wanted = self.veto.permits()
        return asked

    def _why_claim(self, standing: Standing) -> str:
        if standing is Standing.TAKEN:
            return "preemption" if self.pursuit.expired_at is None else "takeover"
        return "handover" if self.claim.meant_for_us else "free"

    def _preempts(self) -> bool:
        return all(member.router.preempts for member in self.members)

    def _veto_pause(self) -> Duration | None:
        pauses = [member.parameters.veto_pause for member in self.members]
        return max((pause for pause in pauses if pause is not None), default=None)
