"""One claim: who may be MASTER of one instance or one sync group.

Theory of operation
-------------------
The claim is one register, ``claims/<name>``. It changes hands only by a swap on exactly the record that was read,
so no two nodes can win it. A node may *take* it when nobody can be acting on it any more:

* it was released by its holder (who closed its gate first);
* its holder's incarnation has ended: the holder's session says so, or shows another incarnation;
* it is vacant (created by somebody who found nothing), W has passed since this node first saw it, and no other session
  may still hold it (core.witnesses). A missing record is not a free one: the arbiter may have lost it under a living
  holder.

Whoever takes it counts the epoch up by one. An epoch lower than one seen before means that the arbiter lost data;
such a record is treated like a missing one.

The machine is level-triggered: the group sets what it wants (``wanted``, ``release``), and after every event
``step`` returns the next operation that leads there, if none is under way. A swap whose fate is unknown is sent
again unchanged until it is known; while one is under way or unknown, ``uncertain`` is true and nothing may be
promised to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from haagent.core.actions import Actions, ReadRegister, SwapRegister, Tell
from haagent.core.observation import SessionObservation, patience
from haagent.core.records import (
    NOBODY,
    BadRecord,
    Bid,
    ClaimRecord,
    ClaimState,
    Holder,
    claim_mark,
    claim_register,
)
from haagent.core.register import Record
from haagent.core.reports import ClaimChanged
from haagent.core.session import Session
from haagent.core.units import SECOND, Duration, Instant, Now
from haagent.core.witnesses import Witnesses

Observe = Callable[[str], SessionObservation]
# A hint may be lost, and with it a bid: whoever cares reads now and then.
LOOK_AGAIN: Duration = 10 * SECOND
LOOK_SPACING: Duration = SECOND  # between the looks of a node that holds many claims, on average


class Purpose(Enum):
    """What a swap under way is for."""

    CREATE = "create"
    TAKE = "take"
    RELEASE = "release"
    BID = "bid"


class Standing(Enum):
    """What stands between this node and the claim."""

    UNKNOWN = "unknown"  # not read yet, or not readable
    MINE = "mine"
    FREE = "free"  # may be taken now
    FREED = "freed"  # may be taken now, and was released or ended just now: no need to wait for VRRP's timers
    LATER = "later"  # may be taken at ``free_at``
    TAKEN = "taken"  # held by an incarnation that has not ended


@dataclass(slots=True)
class PendingSwap:
    purpose: Purpose
    value: bytes
    record: ClaimRecord
    expected: Record | None
    retry_at: Instant
    in_flight: bool = True


class Claim:
    """The claim machine of one name."""

    guarded = True  # an arbiter stands behind it

    def __init__(
        self,
        name: str,
        session: Session,
        observe: Observe,
        witnesses: Witnesses,
    ) -> None:
        self.name = name
        self.register = claim_register(name)
        self.session = session
        self.observe = observe
        self.witnesses = witnesses
        self.wanted = False
        self.bidding = False  # ask a living holder to hand over
        self.answered = False  # the holder has resigned: a bid has done its work, and must not get in the way
        self.deferred = False  # to be taken as soon as the session's write under way is answered
        self.priority = 0
        self.release_for: str | None = None
        self.epoch = 0
        self.mine: Holder | None = None  # under which of our incarnations we hold it, if we do
        self.adoptable: int | None = None  # the epoch that the local gate was found open for, after a restart
        self.known = False
        self.record: Record | None = None
        self.claim: ClaimRecord | None = None
        self.since: Instant = 0
        self.pending: PendingSwap | None = None
        self.rolled_back = False
        self._rolled_back_at: Instant = 0
        self._last_epoch = 0
        self._cleared: set[str] = set()  # nodes that certainly do not hold what this record does not show
        self._missed: tuple[Record | None] | None = None  # a hint that came while an answer was awaited
        self._reading = False
        self._retry_at: Instant = 0
        self._looking = False  # the read under way is only to see what hints may have kept from us
        self._looked_at: Instant = 0
        self._writes = 0

    # -- what others ask

    @property
    def held(self) -> bool:
        """Tell whether this node holds the claim under its present incarnation, by its own successful swap."""
        mine, holder = self.mine, self.session.holder
        return mine is holder or (mine is not None and mine == holder)

    @property
    def left_over(self) -> bool:
        """Tell whether the record names an incarnation of this node that our session has replaced."""
        holder, session = self.holder, self.session
        return holder is not None and holder.node == session.parameters.node and holder != session.holder

    @property
    def usable(self) -> bool:
        """Tell whether the gate may be opened: held, and neither in doubt nor on its way back to the arbiter."""
        return self.held and self.known and self.release_for is None and self.pending is None

    @property
    def meant_for_us(self) -> bool:
        """Tell whether the holder let go in our favour."""
        return self.claim is not None and self.claim.reserved_for == self.session.parameters.node

    @property
    def adopting(self) -> bool:
        """Tell whether the claim was ours when this run began and the arbiter has not been asked yet."""
        return self.adoptable is not None or self.mine is not None

    @property
    def uncertain(self) -> bool:
        """Tell whether a swap that would make this node the holder is under way or of unknown fate."""
        return self.pending is not None and self.pending.purpose is Purpose.TAKE

    @property
    def bid(self) -> Bid | None:
        """Return the bid of another node for a claim we hold."""
        if not self.held or self.claim is None or self.claim.bid is None:
            return None
        return self.claim.bid if self.claim.bid.holder.node != self.session.parameters.node else None

    @property
    def released(self) -> int | None:
        """Return the epoch whose holder has let go, None if that is not what the arbiter shows."""
        if self.claim is None or self.claim.state is not ClaimState.RELEASED:
            return None
        # The epoch may be one that was lost, with its holder alive.
        if self.rolled_back and (not self.known or self.awaited()):
            return None
        return self.claim.epoch

    @property
    def lost(self) -> bool:
        """Tell whether the arbiter lost the claim's record, or never had one: somebody may hold it all the same."""
        if not self.known or self.held or (self.record is not None and self.claim is None):
            return False
        return self.claim is None or self.claim.state is ClaimState.VACANT or self.rolled_back

    @property
    def mark(self) -> str:
        """Return the mark of the record that lies there now, empty if there is none."""
        return "" if self.claim is None else claim_mark(self.register, self.claim.by)

    @property
    def holder(self) -> Holder | None:
        return self.claim.holder if self.claim is not None else None

    def standing(self, now: Now) -> Standing:
        """Say what stands between this node and the claim."""
        if self.held:
            return Standing.MINE
        if not self.known or (self.record is not None and self.claim is None) or self.claim is None:
            return Standing.UNKNOWN
        if self.claim.state is ClaimState.HELD:
            return self._standing_of_holder(self.claim, now)
        if now.slow < self.free_at() or self.awaited():
            return Standing.LATER
        hurry = self.claim.state is ClaimState.RELEASED and self.claim.reserved_for != NOBODY
        return Standing.FREED if hurry else Standing.FREE

    def free_at(self) -> Instant:
        """Return when (``slow``) a claim nobody holds may be taken."""
        assert self.claim is not None
        lease = self.session.parameters.lease
        if self.claim.state is ClaimState.VACANT:
            return self.since + self.witnesses.wait()
        if self.rolled_back:
            return self._rolled_back_at + self.witnesses.wait()
        reserved = self.claim.reserved_for
        if reserved in (None, NOBODY, self.session.parameters.node):
            return self.since
        return self.since + lease  # hold back for the one it is meant for

    def later_at(self) -> Instant:
        """Return when (``slow``) a claim that stands at LATER may be taken."""
        if self.claim is not None and self.claim.state is ClaimState.HELD:
            return self.since + patience(self.session.longest_lease)
        return self.free_at()

    def awaited(self) -> list[SessionObservation]:
        """Return the sessions that may hold this claim although its record was lost: nobody takes it from them.

        One whose own record was lost, too, meets that with its next renewal. One whose claim alone was lost goes on
        renewing, and finds out by a hint or when it looks again (docs/safety/model.md, finding 3).
        """
        if not self.lost or self.claim is None:
            return []
        holder = "" if self.claim.holder is None else self.claim.holder.node  # of him the record itself tells
        sessions = self.witnesses.awaited(self.name, self.mark, self.since, self._cleared)
        return [session for session in sessions if session.node != holder]

    def next_deadline(self) -> Instant | None:
        """Return when (``fast``) a retry is due."""
        if self._reading:
            return None
        if self.pending is not None:
            return None if self.pending.in_flight else self.pending.retry_at
        if not self.known or self._unreadable():
            return self._retry_at
        if not self._cares():
            return None
        return max(self._looked_at + self._look_interval(), self._retry_at)

    # -- what others ask for

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
        if not self.known or self._unreadable():
            self._reading = True
            return (ReadRegister(self.register),)
        if self.release_for is not None:
            return self._release(now)
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
        electors = self.session.parameters.electors
        taken = ClaimRecord(
            ClaimState.HELD,
            self.epoch + 1,
            self.session.holder,
            electors=electors,
        )
        return self._swap(Purpose.TAKE, taken, now)

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
                self.mine = pending.record.holder
                return self._tell("won", "")
            return ()  # won under an incarnation that has ended meanwhile: anybody may take it
        if pending.purpose is Purpose.RELEASE:
            self.mine, self.release_for = None, None
            return self._tell(
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
            self.pending.retry_at = again
        else:
            self._retry_at = again

    def hinted(self, record: Record | None, now: Now) -> Actions:
        """Take in a hint. It may be old news; that costs a conflict or a wait, never more."""
        if self.pending is not None or self._reading:
            if self.pending is None or record is None or record.value != self.pending.value:
                self._missed = (record,)  # which of the two is newer cannot be told: look when this is over
            return ()
        if not self.known:
            return ()
        if self.held and (record is None or not self._names_us(record)):
            self.known = False  # do not believe it, but look
            return ()
        hinted = _parse(record)
        if hinted is not None and hinted.epoch < self.epoch and not self.rolled_back:
            self.known = False  # old news that waited while we slept, or lost data: the register knows
            return ()
        return self._see(record, now)

    # -- inside

    def _pause(self) -> Duration:
        return max(10_000_000, self.session.parameters.renew // 2)

    def _cares(self) -> bool:
        return self.held or self.wanted or self.rolled_back

    def _look_interval(self) -> Duration:
        """Return for how long hints alone are trusted.

        A bidder waits for a release, which must not pass unseen. A holder only makes sure that its record is still there
        (nobody takes it from a living session that names it), so what it asks does not grow with what it holds.
        """
        if self.bidding and not self.held:
            return LOOK_SPACING
        return max(LOOK_AGAIN, len(self.session.naming) * LOOK_SPACING)

    def _look_again(self, now: Now) -> Actions:
        if not self._cares() or now.fast < self._looked_at + self._look_interval():
            return ()
        self._reading = self._looking = True
        self._looked_at = now.fast
        return (ReadRegister(self.register),)

    def _distrusted(self, now: Now) -> bool:
        """Tell whether the record is older than one we knew, and a holder of the lost one may still act."""
        waiting = now.slow < self._rolled_back_at + self.witnesses.wait()
        return self.rolled_back and (waiting or bool(self.awaited()))

    def _unreadable(self) -> bool:
        return self.record is not None and self.claim is None

    def _taken_by(self, pending: PendingSwap, record: Record | None) -> bool:
        """Tell whether ``record`` shows that ``pending`` has taken the claim; somebody may have bid for it since."""
        claim, taken = _parse(record), pending.record
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
        claim = _parse(record)
        return claim is not None and claim.holder == self.session.holder

    def _standing_of_holder(self, claim: ClaimRecord, now: Now) -> Standing:
        holder = claim.holder
        assert holder is not None
        if holder.node == self.session.parameters.node:
            return self._standing_of_ourselves(holder, now)
        if self._distrusted(now):
            return Standing.TAKEN
        over = self.observe(holder.node).over(holder.incarnation)
        return Standing.FREED if over else Standing.TAKEN

    def _standing_of_ourselves(self, holder: Holder, now: Now) -> Standing:
        """The record names this node, but not by a swap of this run.

        Another incarnation of ours is certainly over: our session replaced it after its gates were closed. Our
        own incarnation in a record that we did not write in this run is old data: wait as for a missing record.
        """
        if holder != self.session.holder and not self.rolled_back:
            return Standing.FREED
        wait = patience(self.session.longest_lease)
        return Standing.LATER if now.slow < self.since + wait or self.awaited() else Standing.FREE

    def _see(self, record: Record | None, now: Now) -> Actions:
        changed = record != self.record or self.since == 0
        self.known, self._looked_at = True, now.fast
        if self._unreadable():
            self._retry_at = now.fast + self._pause()  # somebody may repair it
        if not changed:
            return self._check_ours()
        before, self.claim = self.claim, _parse(record)
        self.since, self.record = now.slow, record
        if before is None or self.claim is None or not _goes_on(before, self.claim):
            self._cleared = set()
        elif before.holder is not None:
            self._cleared.add(before.holder.node)
        told: Actions = ()
        if record is not None and self.claim is None:
            told = self._tell("unreadable", "the register holds something haagent did not write")
            self._retry_at = now.fast + self._pause()
        if self.claim is not None:
            self._notice_rollback(self.claim.epoch, now)
            if self.rolled_back:
                told = self._tell("rolled back", f"the arbiter shows epoch {self.claim.epoch}: it lost data")
            self.epoch = max(self.epoch, self.claim.epoch)
        return told + self._check_ours()

    def _notice_rollback(self, epoch: int, now: Now) -> None:
        """Note since when the arbiter shows less than it once did; every further loss begins the wait anew."""
        if epoch < self._last_epoch:
            self._rolled_back_at = now.slow
        self._last_epoch = epoch
        self.rolled_back = epoch < self.epoch

    def _check_ours(self) -> Actions:
        named = self.claim is not None and self.claim.holder == self.session.holder
        current = named and not self.rolled_back
        if self.mine is not None and not current:
            self.mine = None
            return self._tell(
                "lost", "the arbiter shows another holder" if self.claim else "its record is gone"
            )
        if named and current and self.claim is not None and self.adoptable == self.claim.epoch:
            self.mine, self.adoptable = self.session.holder, None
            return self._tell("resumed", "")
        self.adoptable = None  # the arbiter has been asked, and it is not ours
        return ()

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
        if claim is None or claim.holder is None or claim.holder.node == me.node or self._distrusted(now):
            return ()
        ours = claim.bid is not None and claim.bid.holder.node == me.node
        if not self.wanted:
            unmeant = ours and not self.answered
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
        self.pending = PendingSwap(purpose, signed.encode(), signed, self.record, retry_at=now.fast)
        return (SwapRegister(self.register, self.pending.value, self.record),)

    def _send_again_if_due(self, pending: PendingSwap, now: Now) -> Actions:
        if pending.in_flight or self._reading or now.fast < pending.retry_at:
            return ()
        pending.in_flight = True
        return (SwapRegister(self.register, pending.value, pending.expected),)

    def _tell(self, what: str, detail: str) -> Actions:
        return (Tell(ClaimChanged(self.name, what, self.epoch, detail)),)


def vacancy_mark(register: str, record: Record | None) -> str:
    """Return the mark of a claim's vacant record, empty if it is none."""
    claim = _parse(record)
    vacant = claim is not None and claim.state is ClaimState.VACANT
    return claim_mark(register, claim.by) if claim is not None and vacant else ""


def _parse(record: Record | None) -> ClaimRecord | None:
    if record is None:
        return None
    try:
        return ClaimRecord.decode(record.value)
    except BadRecord:
        return None


def _goes_on(before: ClaimRecord, now: ClaimRecord) -> bool:
    """Tell whether ``now`` is ``before`` with a bid, without one, or released: whoever was cleared before is so still.

    Never a vacant one: that is what somebody made where the record was gone, with the same epoch.
    """
    if before.state is not ClaimState.HELD or now.epoch != before.epoch:
        return False
    return now.state is ClaimState.RELEASED or now.holder == before.holder
