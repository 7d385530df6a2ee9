"""What an earlier run of this node left behind for one claim: an open gate, addresses, and the claim itself.

Promises that a gate found open does not outlive the first new deadline unless the arbiter has confirmed the claim, that
addresses are removed before the claim they were for is given back, and that it is given back if this run does not want
it: nobody else can know that the earlier one is over.
"""

from __future__ import annotations

from haagent.core.actions import Actions, CloseGate, RemoveAddresses
from haagent.core.claim import Claim
from haagent.core.units import SECOND, Duration, Instant, Now

OUTLIVING: Duration = 3 * SECOND  # addresses outlive the lease by less (their lifetimes are whole seconds)


class Inheritance:
    """What was left to one claim and its ``members``; nothing, unless the session is ``resumed``."""

    def __init__(self, claim: Claim, members: tuple[str, ...]) -> None:
        self.claim = claim
        self.members = members
        # The worker before us may have left this gate open and these addresses on, whatever the deadline is by now.
        self._undecided = claim.session.parameters.resumed
        # Members whose addresses it left and that are not reported as removed yet.
        self._left: set[str] = set()
        # When those are gone by their lifetime.
        self._gone_at: Instant = 0

    def close_unconfirmed(self) -> Actions:
        """Close the gate that an earlier worker left open, unless the arbiter has confirmed the claim by now.

        It must come before the first new deadline: the flag in the kernel would otherwise open with it.
        """
        return (CloseGate(self.claim.name),) if self._undecided and not self.claim.held else ()

    def next_deadline(self) -> Instant | None:
        """Return when ``step`` is due (``fast``)."""
        return self._gone_at if self._left else None

    def step(self, now: Now, *, willing: bool) -> Actions:
        """Let go of it as soon as the claim is not ours to go on with, or this node is not ``willing`` to."""
        if now.fast >= self._gone_at:
            self._left.clear()
        if not self._undecided or (willing and self.claim.adopting):
            return ()
        return self._disclaim(now)

    def _disclaim(self, now: Now) -> Actions:
        """Close the gate and remove the addresses: the next renewal would be one for them, too."""
        self._undecided = False
        self._left = set(self.members)
        self._gone_at = now.fast + self.claim.session.longest_lease + OUTLIVING
        return (CloseGate(self.claim.name), *(RemoveAddresses(member) for member in self.members))

    @property
    def removing(self) -> bool:
        """Tell whether addresses that an earlier run left may be there still."""
        return bool(self._left)

    def accept(self) -> None:
        """Take note that the claim is in use again, and with it whatever was left."""
        self._undecided = False
        self._left.clear()

    def removed(self, member: str) -> bool:
        """Take in that a member has no addresses; tell whether these were left by an earlier run."""
        was_left = member in self._left
        self._left.discard(member)
        return was_left

    def should_be_returned(self, wanting_at: Instant | None, now: Now) -> bool:
        """Tell whether to give back a claim that an earlier run held and this one does not want before ``wanting_at``."""
        claim, session = self.claim, self.claim.session
        if not claim.left_over or claim.adopting or self.removing or not session.live(now):
            return False
        return wanting_at is None or wanting_at > now.fast + session.parameters.renew
