"""One claim: who may be MASTER of one instance or one sync group.

Theory of operation
-------------------
The claim is one register, ``claims/<name>``. It changes hands only by a swap on exactly the record that was read,
so no two nodes can win it. When it may be taken is what core.known_claim says. Whoever takes it counts the epoch up by
one.

The machine is level-triggered: the group sets what it wants (``wanted``, ``release``), and after every event
``step`` returns the next operation that leads there, if none is under way. A swap whose fate is unknown is sent
again unchanged until it is known; while one is under way or unknown, ``uncertain`` is true and nothing may be
promised to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from haagent.core.actions import Actions, ReadRegister, SwapRegister
from haagent.core.events import (
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
)
from haagent.core.known_claim import KnownClaim, Observe
from haagent.core.neighbours import RegisterEvent
from haagent.core.records import Bid, ClaimRecord, ClaimState, shown_claim
from haagent.core.register import Record
from haagent.core.session import Session
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, Now
from haagent.core.witnesses import Witnesses

# A hint may be lost, and with it a bid: whoever cares reads now and then.
LOOK_AGAIN: Duration = 10 * SECOND
LOOK_SPACING: Duration = SECOND  # between the looks of a node that holds many claims, on average
FIRST_LOOK: Duration = 20 * MILLISECOND  # after a resignation; the next ones ever more rarely


class Purpose(Enum):
    """What a swap under way is for."""

    CREATE = "create"
    TAKE = "take"
    RELEASE = "release"
    BID = "bid"


@dataclass(slots=True)
class PendingSwap:
    purpose: Purpose
    value: bytes
    record: ClaimRecord
    expected: Record | None
    retry_at: Instant
    lapses: int  # of our session when it was made
    in_flight: bool = True
    hinted: bool = False  # it has happened, says a hint: only the answer is missing


class Claim(KnownClaim):
    """The claim machine of one name."""

    guarded = True  # an arbiter stands behind it

    def __init__(self, name: str, session: Session, observe: Observe, witnesses: Witnesses) -> None:
        super().__init__(name, session, observe, witnesses)
        self.wanted = False
        self.bidding = False  # ask a living holder to hand over
        self.resigned = False  # the holder has: a bid has done its work, and must not get in the way
        self.deferred = False  # to be taken as soon as the session's write under way is answered
        self.priority = 0
        self.release_for: str | None = None
        self.pending: PendingSwap | None = None
        self._missed: tuple[Record | None] | None = None  # a hint that came while an answer was awaited
        self._reading = False
        self._retry_at: Instant = 0
        self._looking = False  # the read under way is only to see what hints may have kept from us
        self._looked_at: Instant = 0
        self._look_soon: Duration = FIRST_LOOK
        self._lapses = 0  # of our session when the swap was made that confirmed us
        self._writes = 0

    # -- what others ask

    @property
    def usable(self) -> bool:
        """Tell whether the gate may be opened: confirmed, and neither in doubt nor on its way back to the arbiter."""
        return self.confirmed and self.known and self.release_for is None and self.pending is None

    @property
    def confirmed(self) -> bool:
        """Tell whether it is held by a swap that was sent since our session last lapsed.

        What was won before a lapse, or is learned after it, may be of a history that the store has lost since, or of a
        record that was deleted and taken by somebody who saw no trace of us.
        """
        return self.held and self._lapses == self.session.lapses

    @property
    def uncertain(self) -> bool:
        """Tell whether a swap that would make this node the holder is under way or of unknown fate."""
        return self.pending is not None and self.pending.purpose is Purpose.TAKE

    def next_deadline(self) -> Instant | None:
        """Return when (``fast``) a retry is due."""
        if self._reading:
            return None
        if self.pending is not None:
            return None if self.pending.in_flight else self.pending.retry_at
        if not self.known or self.unreadable:
            return self._retry_at
        if not self._cares():
            return None
        return max(self._looked_at + self._look_interval(), self._retry_at)

    # -- what others ask for

    def expect_release(self, now: Now, *, expected: bool) -> None:
        """Take note whether the holder has resigned: its release is one swap away, and the hint of it may be slow."""
        if expected and not self.resigned:
            self._looked_at, self._look_soon = now.fast, FIRST_LOOK
        self.resigned = expected

    def ask_again(self, now: Now) -> None:
        """Read now what could not be read before: the arbiter answers again."""
        if self.pending is None and not self.known:
            self._retry_at = min(self._retry_at, now.fast)

    def forget(self) -> None:
        """Read the register again before trusting anything: the chain of our writes was broken."""
        self.known = False

    def lose(self) -> None:
        """Our incarnation ended; whatever it held is for others to take."""
        self.mine = None
        self.adoptable = None

    # -- what happens

    def step(self, now: Now) -> Actions:
        """Do what leads to what is wanted, if nothing is under way."""
        if self.pending is not None:
            return self._send_again_if_due(self.pending, now)
        if self._reading or now.fast < self._retry_at:
            return ()
        if self._missed is not None:
            self.known = self.known and self._missed == (self.record,)
            self._missed = None
        if not self.known or self.unreadable:
            self._reading = True
            return (ReadRegister(self.register),)
        if self.release_for is not None:
            return self._release(now)
        if self.held and not self.confirmed and self.claim is not None and self.session.live(now):
            return self._swap(Purpose.TAKE, self.claim, now)
        if self.record is None:
            return self._swap(Purpose.CREATE, ClaimRecord(ClaimState.VACANT, self.epoch), now)
        return self._bid(now) or self._look_again(now)

    def take(self, now: Now) -> Actions:
        """Swap the claim to us. The caller has checked that it may be taken and that nobody was promised otherwise."""
        if self.pending is not None or self._reading or not self.known or not self.session.live(now):
            return ()
        self.deferred = self.session.overlooks(self.name)
        if self.deferred:
            return ()
        session = self.session
        electors = session.parameters.electors
        taken = ClaimRecord(ClaimState.HELD, self.epoch + 1, session.holder, electors=electors)
        return self._swap(Purpose.TAKE, taken, now)

    def answered(self, event: RegisterEvent, now: Now) -> Actions:
        """Take in an answer or a hint about the register."""
        match event:
            case RegisterRead(_, record):
                return self.read(record, now)
            case RegisterSwapped(_, record):
                return self.swapped(record, now)
            case RegisterConflicted():
                return self.conflicted()
            case RegisterUnavailable():
                self.unavailable(now)
                return ()
            case RegisterChanged(_, record):
                return self.hinted(record, now)

    def read(self, record: Record | None, now: Now) -> Actions:
        """Take in the answer to our read."""
        looking, self._reading, self._looking = self._looking, False, False
        if looking:
            return self.hinted(record, now)
        pending = self.pending
        if pending is not None and pending.purpose is Purpose.TAKE and self._taken_by(pending, record):
            return self._confirm(pending, record, now)
        if pending is not None and record is not None and record.value == pending.value:
            return self.swapped(record, now)
        if pending is not None and not pending.in_flight:
            self.pending = None  # the read came after a conflict: our write has not happened
        self._retry_at = now.fast
        return self._see(record, now)

    def swapped(self, record: Record, now: Now) -> Actions:
        """Take in a definite success of ours."""
        pending = self.pending
        if pending is None or record.value != pending.value:
            return ()
        self.pending = None
        self._see(record, now)
        if pending.purpose is Purpose.TAKE:
            if pending.record.holder == self.session.holder:
                again, self.mine, self._lapses = self.held, pending.record.holder, pending.lapses
                return () if again else self.tell("won", "")
            return ()  # won under an incarnation that has ended meanwhile: anybody may take it
        if pending.purpose is Purpose.RELEASE:
            self.mine, self.release_for = None, None
            return self.tell(
                "released", f"for {pending.record.reserved_for}" if pending.record.reserved_for else ""
            )
        return ()

    def conflicted(self) -> Actions:
        """Take in a definite conflict: somebody else wrote; read again."""
        if self.pending is None:
            return ()
        self.pending.in_flight = False
        self._reading = True
        return (ReadRegister(self.register),)

    def unavailable(self, now: Now) -> None:
        """Take in that a read or swap of ours got no answer."""
        again = now.fast + self._pause()
        if self._looking:  # what it was to find out is as urgent as before
            self._looked_at = again - self._look_interval()
        self._reading = self._looking = False
        if self.pending is not None:
            self.pending.in_flight = False
            self.pending.retry_at = now.fast if self.pending.hinted else again
            self.pending.hinted = False
        else:
            self._retry_at = again

    def hinted(self, record: Record | None, now: Now) -> Actions:
        """Take in a hint. It may be old news; that costs a conflict or a wait, never more."""
        if self.pending is not None and record is not None and record.value == self.pending.value:
            self.pending.hinted = self.pending.in_flight
            self.pending.retry_at = now.fast  # the same swap, sent again, is answered at once
            return ()
        if self.pending is not None or self._reading:
            self._missed = (record,)  # which of the two is newer cannot be told: look when this is over
            return ()
        if not self.known:
            return ()
        if self.held and (record is None or not self._names_us(record)):
            self.known = False  # do not believe it, but look
            return ()
        hinted = shown_claim(record)
        if hinted is not None and hinted.epoch < self.epoch and not self.rolled_back:
            self.known = False  # old news that waited while we slept, or lost data: the register knows
            return ()
        return self._see(record, now)

    # -- inside

    def _pause(self) -> Duration:
        return max(10 * MILLISECOND, self.session.parameters.renew // 2)

    def _cares(self) -> bool:
        return self.held or self.wanted or self.resigned or self.rolled_back

    def _look_interval(self) -> Duration:
        """Return for how long hints alone are trusted.

        Who heard a resignation, or bids, waits for a release, which must not pass unseen. A holder only makes sure that
        its record is still there (nobody takes it from a living session that names it), so what it asks does not grow with
        what it holds.
        """
        if self.resigned and not self.held:
            return self._look_soon
        if self.bidding and not self.held:
            return LOOK_SPACING
        return max(LOOK_AGAIN, len(self.session.naming) * LOOK_SPACING)

    def _look_again(self, now: Now) -> Actions:
        if not self._cares() or now.fast < self._looked_at + self._look_interval():
            return ()
        self._reading = self._looking = True
        self._looked_at, self._look_soon = now.fast, min(2 * self._look_soon, LOOK_SPACING)
        return (ReadRegister(self.register),)

    def _taken_by(self, pending: PendingSwap, record: Record | None) -> bool:
        """Tell whether ``record`` shows that ``pending`` has taken the claim; somebody may have bid for it since."""
        claim, taken = shown_claim(record), pending.record
        return claim is not None and (claim.holder, claim.epoch) == (taken.holder, taken.epoch)

    def _confirm(self, pending: PendingSwap, record: Record | None, now: Now) -> Actions:
        """Swap once more what a read says we hold.

        A read may show the history that a restored store has lost, in which we took the claim while another node takes it
        in the new one. Only the success of a swap makes a holder.
        """
        self.pending = None
        told = self._see(record, now)
        if self.claim is None or pending.record.holder != self.session.holder:
            return told  # taken under an incarnation that has ended meanwhile: anybody may take it
        return told + self._swap(Purpose.TAKE, self.claim, now)

    def _names_us(self, record: Record) -> bool:
        claim = shown_claim(record)
        return claim is not None and claim.holder == self.session.holder

    def _see(self, record: Record | None, now: Now) -> Actions:
        self._looked_at = now.fast
        told = self.see(record, now)
        if self.unreadable:
            self._retry_at = now.fast + self._pause()  # somebody may repair it
        return told

    def _release(self, now: Now) -> Actions:
        if (
            self.claim is None
            or self.claim.holder is None
            or self.claim.holder.node != self.session.parameters.node
        ):
            self.mine, self.release_for = None, None
            return ()
        reserved = self.release_for or None
        return self._swap(
            Purpose.RELEASE, ClaimRecord(ClaimState.RELEASED, self.claim.epoch, reserved_for=reserved), now
        )

    def _bid(self, now: Now) -> Actions:
        """Ask the living holder to hand over, or withdraw a bid that is no longer meant."""
        claim, me = self.claim, self.session.holder
        if claim is None or claim.holder is None or claim.holder.node == me.node or self.distrusted(now):
            return ()
        ours = claim.bid is not None and claim.bid.holder.node == me.node
        if not self.wanted:
            unmeant = ours and not self.resigned
            return self._swap(Purpose.BID, replace(claim, bid=None), now) if unmeant else ()
        if not self.bidding or not self.session.live(now):
            return ()
        bid = Bid(me, self.priority)
        if claim.bid == bid or (claim.bid is not None and not ours and claim.bid.priority >= self.priority):
            return ()
        return self._swap(Purpose.BID, replace(claim, bid=bid), now)

    def _swap(self, purpose: Purpose, record: ClaimRecord, now: Now) -> Actions:
        self._writes += 1
        writer = f"{self.session.parameters.node}.{self.session.incarnation}.{self._writes}"
        # An incarnation outlives its worker, and the next one counts anew: the time makes the write unique.
        signed = replace(record, by=f"{writer}.{now.fast:x}")
        self.pending = PendingSwap(
            purpose, signed.encode(), signed, self.record, retry_at=now.fast, lapses=self.session.lapses
        )
        return (SwapRegister(self.register, self.pending.value, self.record),)

    def _send_again_if_due(self, pending: PendingSwap, now: Now) -> Actions:
        if pending.in_flight or self._reading or now.fast < pending.retry_at:
            return ()
        pending.in_flight = True
        return (SwapRegister(self.register, pending.value, pending.expected),)
