"""``arbiter none``: stand-ins for session and claim that grant everything at once. Plain VRRP, and no promise.

The session still has a deadline, pushed ahead by this node's own timer, so that the gate and the addresses'
lifetimes end by themselves when the agent is killed or stopped for as long as VRRP gives a silent Master.
"""

from __future__ import annotations

from haagent.core.actions import Actions, ExtendGate, Tell
from haagent.core.claim import Claim
from haagent.core.known_claim import Observe, Standing
from haagent.core.records import Holder
from haagent.core.register import Record
from haagent.core.reports import ClaimChanged
from haagent.core.session import Session
from haagent.core.units import Instant, Now
from haagent.core.witnesses import Witnesses


class UnarbitratedSession(Session):
    """A session that nobody has to grant."""

    def live(self, now: Now) -> bool:
        return not self.closed

    def valid_as_of(self, instant: Instant) -> bool:
        return True

    def next_deadline(self) -> Instant | None:
        return self._renew_at if self.active and not self.closed else None

    def step(self, now: Now) -> Actions:
        if self.stopping:
            self.closed = True
        if not self.active or now.fast < self._renew_at:
            return ()
        self._renew_at = now.fast + self.parameters.renew
        self.deadline = now.fast + self.parameters.lease
        return (ExtendGate(self.deadline),)

    def activate(self, now: Now, *, active: bool) -> None:
        if active and not self.active:
            self._renew_at = now.fast
        self.active = active


class UnarbitratedClaim(Claim):
    """A claim that is there for the taking, and counts its epochs for this run alone."""

    guarded = False

    def __init__(
        self,
        name: str,
        session: Session,
        observe: Observe,
        witnesses: Witnesses,
    ) -> None:
        super().__init__(name, session, observe, witnesses)
        self.known = True  # there is nothing to read

    @property
    def held(self) -> bool:
        return self.mine is not None

    @property
    def lost(self) -> bool:
        return False

    @property
    def adopting(self) -> bool:
        return self.adoptable is not None

    def standing(self, now: Now) -> Standing:
        return Standing.MINE if self.held else Standing.FREE

    def next_deadline(self) -> Instant | None:
        return None

    def step(self, now: Now) -> Actions:
        if self.release_for is not None:
            self.mine, self.release_for = None, None
        return ()

    def take(self, now: Now) -> Actions:
        self.epoch = self.adoptable if self.adoptable is not None else self.epoch + 1
        self.adoptable = None
        self.mine = Holder(self.session.parameters.node, self.session.incarnation)
        return (Tell(ClaimChanged(self.name, "won", self.epoch, "no arbiter")),)

    def read(self, record: Record | None, now: Now) -> Actions:
        return ()
