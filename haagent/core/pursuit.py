"""How a node that wants a claim gets it: what is known of its holder, and what may be done about that.

Promises that nothing is taken and nobody is ended while a promise of this node forbids it, and that a holder is ended
only by a node it has listed as an elector (or that an operator vouches for). It judges evidence; when VRRP wants the
claim is the group's business.
"""

from __future__ import annotations

from haagent.core.actions import Actions
from haagent.core.claim import Claim
from haagent.core.context import Context
from haagent.core.known_claim import Standing
from haagent.core.records import Holder
from haagent.core.units import Instant, Now
from haagent.core.witnesses import holder_of


class Pursuit:
    """The pursuit of one claim.

    ``freed_at`` is since when (``fast``) the claim is known to be free, or its holder to be gone; ``expired_at`` when the
    session of the one who holds or held it expired. None: it is not so.
    """

    def __init__(self, claim: Claim, context: Context) -> None:
        self.claim, self.context = claim, context
        self.freed_at: Instant | None = None
        self.expired_at: Instant | None = None

    def note(self, standing: Standing, now: Now) -> None:
        """Remember since when the holder is known to be gone, or late."""
        if standing not in (Standing.FREED, Standing.MINE):
            self.freed_at = None
        elif self.freed_at is None:
            self.freed_at = now.fast
        self.expired_at = self._expiry(now) if standing is Standing.TAKEN else self.expired_at
        if standing is not Standing.TAKEN and self.freed_at is None:
            self.expired_at = None

    def _expiry(self, now: Now) -> Instant | None:
        holder = self.claim.holder
        if holder is None or holder.node == self.context.session.parameters.node:
            return None
        observation = self.context.observe(holder.node)
        if not observation.expired(now.slow):
            return None
        return now.fast - (now.slow - observation.expires_at)

    def may_hurry(self) -> bool:
        """Tell whether a run that has just begun may take a claim that an earlier run of this node held, or was left.

        Not with electors: after the arbiter lost data the record may be older than a promise this node has forgotten.
        """
        session, holder = self.context.session, self.claim.holder
        if session.parameters.electors:
            return False
        ours = holder is not None and holder.node == session.parameters.node
        return ours or self.claim.meant_for_us

    def may_replace(self, now: Now) -> bool:
        """Tell whether the holder may be replaced without being asked: it is late, and we promised it nothing."""
        return self.expired_at is not None and now.slow >= self.bound_until()

    def bound_until(self) -> Instant:
        """Return when (``slow``) the promises end that forbid to take the claim as it stands."""
        holder = self.claim.holder
        return self._bound_to(holder.node if holder else "")

    def waiting_until(self, now: Now) -> Instant | None:
        """Return when (``fast``) a wait on the ``slow`` clock is over, if that is what stands in the way."""
        if self.claim.claim is None:
            return None
        until = self.bound_until()
        if self.claim.standing(now) is Standing.LATER:
            until = max(until, self.claim.later_at())
        if until <= now.slow:
            ends = (max(seen.silent_at, self._bound_to(seen.node)) for seen in self.claim.awaited())
            until = min((end for end in ends if end > now.slow), default=now.slow)
        return now.fast + (until - now.slow) if until > now.slow else None

    def step(self, standing: Standing, now: Now) -> Actions:
        """Take the claim if it may be taken, or end the session of a holder that is late."""
        holder = self.claim.holder
        if now.slow < self.bound_until():
            return ()
        if standing in (Standing.FREE, Standing.FREED):
            return self.claim.take(now)
        actions = self._end_silent(now) if self.claim.lost else ()
        late = standing is Standing.TAKEN and self.expired_at is not None
        if holder is None or not late or not self._may_end(holder):
            return actions
        return actions + self.context.end(holder, now)

    def _bound_to(self, node: str) -> Instant:
        return self.context.bound_until(self.claim.name, node, self.claim.released)

    def _end_silent(self, now: Now) -> Actions:
        """End the sessions that may hold the claim whose record was lost and that do not write any more."""
        actions: Actions = ()
        if self.claim.claim is None or now.slow < self.claim.later_at():
            return actions
        for seen in self.claim.awaited():
            holder = holder_of(seen)
            if now.slow >= max(seen.silent_at, self._bound_to(seen.node)) and self._may_end(holder):
                actions += self.context.end(holder, now)
        return actions

    def _may_end(self, holder: Holder) -> bool:
        """Tell whether the holder counts on our promise; if not, it may live on promises that we know nothing of."""
        session, claim = self.context.observe(holder.node).session, self.claim.claim
        assert claim is not None
        electors = claim.electors if session is None else session.electors
        known = not electors or self.context.session.parameters.node in electors
        return known or holder.node in self.context.declared_down
