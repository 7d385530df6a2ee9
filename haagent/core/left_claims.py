"""The claims that an earlier worker or run of this node held and this one has no group for: they are given back.

Whoever held such a claim is over, and nobody but this node can tell: its session goes on, so the others would wait for the
holder for ever. Promises to give back nothing but what the register shows held by this node, by a swap on exactly that
record, and only once nothing can pass its traffic any more: the session is live, so whatever ran under this node's name
before has been replaced in the arbiter; the gate of that one is closed, or its deadline is over; and its addresses, which no
gate guards that does not know them, have outlived their lifetimes. One that ran on another host, which is a namesake if it
was not this machine before its reboot, may live on promises all the same: what it held with electors is left alone.

The claims are known by name from what our session's record said when it was read, and by hints. Not known are those
of a record with more names than it has room for, until a hint comes (somebody bids for the claim).
"""

from __future__ import annotations

from urllib.parse import unquote

from haagent.core.actions import Actions
from haagent.core.claim import Claim
from haagent.core.context import Context
from haagent.core.inheritance import OUTLIVING
from haagent.core.neighbours import RegisterEvent
from haagent.core.observation import patience
from haagent.core.records import CLAIMS, SHORTENED, claim_register, shown_claim, shown_session
from haagent.core.register import Record
from haagent.core.units import Duration, Instant, Now, sooner
from haagent.core.witnesses import Witnesses


class LeftClaims:
    """The claims to give back, by register. ``due`` (``fast``) is when ``step`` is, None if it waits for an event.

    ``replacing_since`` is when our session's register was last read (``fast``): what it showed then has made way later.
    """

    def __init__(self, context: Context, witnesses: Witnesses) -> None:
        self.context = context
        self.witnesses = witnesses
        self.claims: dict[str, Claim] = {}
        self.replacing_since: Instant = 0
        self.due: Instant | None = None
        self._lease: Duration = 0  # the longest that a record of this node showed
        self._over: set[str] = set()  # incarnations that cannot live on promises
        self._promised: set[str] = set()  # those that may, on whatever claim

    def session_read(self, record: Record | None, now: Now) -> tuple[str, ...]:
        """Take in what our session's register held; return the registers of the claims that it names."""
        self.replacing_since = now.fast
        session, parameters = shown_session(record), self.context.session.parameters
        if session is None or session.holder.node != parameters.node:
            return ()
        self._lease = max(self._lease, session.lease)
        if session.host == parameters.host or not session.electors:
            self._over.add(session.holder.incarnation)
        else:
            self._over.discard(session.holder.incarnation)
            self._promised.add(session.holder.incarnation)
        return tuple(claim_register(name) for name in session.claims if not name.startswith(SHORTENED))

    def shown(self, record: Record | None) -> bool:
        """Tell whether ``record`` of a claim shows it held by this node."""
        claim = shown_claim(record)
        me = self.context.session.parameters.node
        return claim is not None and claim.holder is not None and claim.holder.node == me

    def add(self, register: str) -> None:
        """Find out about a claim that there is no group for, and give it back if it is ours."""
        if register not in self.claims:
            session, observe = self.context.session, self.context.observe
            claim = Claim(unquote(register.removeprefix(CLAIMS)), session, observe, self.witnesses)
            claim.release_for = ""
            self.claims[register] = claim

    def take_over(self, register: str) -> Claim | None:
        """Return the claim for a group that has come to be configured, whatever is under way for it."""
        claim = self.claims.pop(register, None)
        if claim is not None and claim.pending is None:
            claim.release_for = None
        return claim

    def answered(self, event: RegisterEvent, now: Now) -> Actions:
        """Take in an answer or a hint about one of the claims."""
        return self.claims[event.name].answered(event, now)

    def step(self, now: Now) -> Actions:
        """Do what is due for all of them, and forget those that are done with."""
        self.due = None
        session = self.context.session
        if not self.claims or self.context.paused or self.context.stopping or not session.live(now):
            return ()  # a renewal leads here again
        earliest = self.replacing_since + patience(max(session.longest_lease, self._lease)) + OUTLIVING
        if now.fast < earliest:
            self.due = earliest
            return ()
        actions: Actions = ()
        for register, claim in tuple(self.claims.items()):
            if self._may_be_used(claim):
                claim.release_for = None
            else:
                actions += claim.step(now)
            if claim.release_for is None or claim.unreadable:
                del self.claims[register]
            else:
                self.due = sooner(self.due, claim.next_deadline())
        return actions

    def _may_be_used(self, claim: Claim) -> bool:
        """Tell whether its holder may have run on another host, under this node's name, and live on promises."""
        if not claim.known or claim.pending is not None or claim.claim is None or claim.holder is None:
            return False  # not before it was read again
        incarnation = claim.holder.incarnation
        of_this_run = incarnation.partition(".")[0] == self.context.session.parameters.incarnation
        promised = bool(claim.claim.electors) or incarnation in self._promised
        return promised and not of_this_run and incarnation not in self._over
