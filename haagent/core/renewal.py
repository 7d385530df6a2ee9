"""Keeping this node's session renewed for what its groups need, and what follows for them from its standing.

Promises that the session's record names every claim that is or may be held, at once when one is added; that after a break
in the session no claim is relied on before it was read again; and that what an earlier worker left open and the arbiter
has not confirmed is closed before the first new deadline. How a session is renewed is core.session's and core.failsafe's
business, what a group makes of it the group's.
"""

from __future__ import annotations

from typing import TypeAlias

from haagent.core.actions import Actions, ExtendGate, Tell
from haagent.core.context import Context
from haagent.core.events import (
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
)
from haagent.core.failsafe import Petitioner
from haagent.core.neighbours import RegisterEvent
from haagent.core.reports import Stopped
from haagent.core.scheduler import Scheduler
from haagent.core.units import Instant, Now

Standing: TypeAlias = tuple[bool, bool, str, int]  # of the session: live, suspended, incarnation, breaks


class Renewal:
    """The renewal of the session in ``context``. ``stopped`` when it was closed and nothing is left to do."""

    def __init__(
        self, context: Context, petitioner: Petitioner, scheduler: Scheduler, *, arbitrated: bool
    ) -> None:
        self.context = context
        self.session = context.session
        self.petitioner = petitioner
        self.scheduler = scheduler
        self.roster = scheduler.roster
        self.groups = scheduler.directory.groups
        self.arbitrated = arbitrated
        self.stopped = False
        self._standing: Standing = (False, False, self.session.incarnation, 0)
        self._proof: Instant = 0  # what the session was last confirmed as of

    def follow(self, now: Now) -> Actions:
        """Renew what is due, and let those groups look again that wait for what has come of it."""
        session, roster = self.session, self.roster
        session.activate(now, active=bool(roster.hungry))
        self._name_claims(now)
        actions = session.step(now) + self._petition(now)
        standing = (session.live(now), session.suspended, session.incarnation, session.breaks)
        if standing != self._standing:
            actions += self._standing_changed(standing, now)
        if roster.deferred:
            actions += self._step_deferred(now)
        if roster.doubting and session.confirmed_t0 != self._proof:
            actions += self._step_doubting(now)
        if self.context.stopping and not self.stopped:
            actions += self._stop_if_done(now)
        return actions

    # -- what is asked of the session

    def _name_claims(self, now: Now) -> None:
        """Have the session's record name what is or may be held, and mark what was lost; at once when that has grown."""
        naming, named, marked = self.roster.naming, self.session.naming, self.session.marks
        marks = self.roster.marks()
        if len(naming) == len(named) and naming.issuperset(named) and marks == marked:
            return
        grown = not naming.issubset(named) or not set(marks).issubset(marked)
        self.session.naming, self.session.marks = tuple(sorted(naming)), marks
        if grown and self.arbitrated:
            self.session.revalidate(now)

    def _petition(self, now: Now) -> Actions:
        """Ask the electors to renew the session, for the claims that are in use.

        Not for one that is on its way back to an arbiter that does not answer: then the session must be able to
        expire, or nobody could take the claim over.
        """
        session = self.session
        if not (session.parameters.electors or session.electors or self.petitioner.asking):
            return ()
        claims, listed = self.roster.in_use()
        return self.petitioner.step(claims, listed, now)

    def _stop_if_done(self, now: Now) -> Actions:
        """Close the session when every group has let go."""
        if not all(group.gone for group in self.groups.values()):
            return ()
        actions: Actions = ()
        if not self.session.stopping:
            self.session.stop(now)
            actions = self.session.step(now)
        if not self.session.closed:
            return actions
        self.stopped = True
        return (*actions, Tell(Stopped()))

    # -- what follows from it

    def _standing_changed(self, standing: Standing, now: Now) -> Actions:
        (_, _, old, old_breaks), self._standing = self._standing, standing
        (_, _, incarnation, breaks) = standing
        for group in self.groups.values():
            if incarnation != old:
                group.claim.lose()
            if breaks != old_breaks and group.claim.held:
                group.claim.forget()
        actions = self.scheduler.step_all(now)
        self.session.activate(now, active=bool(self.roster.hungry))
        self._name_claims(now)  # one may have been taken just now
        return actions + self.session.step(now)

    def _step_deferred(self, now: Now) -> Actions:
        """Let claims be taken that waited for a write of the session that names them."""
        actions: Actions = ()
        for name in sorted(self.roster.deferred):
            if not self.session.overlooks(name):
                self.groups[name].claim.deferred = False
                actions += self.scheduler.step(self.groups[name], now)
                self._name_claims(now)
        return actions

    def _step_doubting(self, now: Now) -> Actions:
        """Let groups go on whose doubt a renewal may have settled."""
        self._proof = self.session.confirmed_t0
        actions: Actions = ()
        for group in [self.groups[name] for name in sorted(self.roster.doubting)]:
            actions += self.scheduler.step(group, now)
        return actions

    # -- what the arbiter says of it

    def answered(self, event: RegisterEvent, now: Now) -> Actions:
        """Take in an answer or a hint about the session's own register."""
        match event:
            case RegisterRead(_, record):
                asked, lived = self._ask_for_adopted(now), self.session.live(now)
                return asked + self._confirmed_first(self.session.read(record, now), lived=lived)
            case RegisterSwapped(_, record):
                lived = self.session.live(now)
                return self._confirmed_first(self.session.swapped(record, now), lived=lived)
            case RegisterConflicted():
                return self.session.conflicted(now)
            case RegisterUnavailable(_, _, error):
                return self.session.unavailable(error, now)
            case RegisterChanged(_, record):
                self.session.hinted(record, now)
                return ()

    def _ask_for_adopted(self, now: Now) -> Actions:
        """Read the claims that an earlier worker held, before the session is renewed and closes what is not confirmed."""
        if not self.session.parameters.resumed or self.session.live(now):
            return ()
        adopted = [group for group in self.groups.values() if group.claim.adopting]
        for group in adopted:
            group.claim.ask_again(now)
        return tuple(action for group in adopted for action in self.scheduler.step(group, now))

    def _confirmed_first(self, actions: Actions, *, lived: bool) -> Actions:
        """Close what an earlier worker left open and the arbiter has not confirmed, before the first new deadline."""
        first = not lived and any(isinstance(action, ExtendGate) for action in actions)
        if not first or not self.session.parameters.resumed:
            return actions
        unconfirmed = [group.inheritance.close_unconfirmed() for group in self.groups.values()]
        return tuple(action for closing in unconfirmed for action in closing) + actions
