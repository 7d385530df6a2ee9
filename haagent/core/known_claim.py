"""What a node knows of one claim, and what that allows.

Promises to judge by what its own reads and swaps showed, and to decide nothing: what is asked of the arbiter, and when, is
the claim machine's business (core.claim). A node may *take* a claim when nobody can be acting on it any more:

* it was released by its holder (who closed its gate first);
* its holder's incarnation has ended for certain (core.observation says what proves that);
* it is vacant (created by somebody who found nothing), W has passed since this node first saw it, and no other session
  may still hold it (core.witnesses). A missing record is not a free one: the arbiter may have lost it under a living
  holder.

An epoch lower than one seen before means that the arbiter lost data; such a record is treated like a missing one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from haagent.core.actions import Actions, Tell
from haagent.core.observation import SessionObservation, patience
from haagent.core.records import (
    NOBODY,
    Bid,
    ClaimRecord,
    ClaimState,
    Holder,
    claim_mark,
    claim_register,
    shown_claim,
)
from haagent.core.register import Record
from haagent.core.reports import ClaimChanged
from haagent.core.session import Session
from haagent.core.units import Instant, Now
from haagent.core.witnesses import Witnesses

Observe = Callable[[str], SessionObservation]


class Standing(Enum):
    """What stands between this node and the claim."""

    UNKNOWN = "unknown"  # not read yet, or not readable
    MINE = "mine"
    FREE = "free"  # may be taken now
    FREED = "freed"  # may be taken now, and was released or ended just now: no need to wait for VRRP's timers
    LATER = "later"  # may be taken at ``free_at``
    TAKEN = "taken"  # held by an incarnation that has not ended


class KnownClaim:
    """What is known of the claim ``name``.

    ``known`` is false until its register was read, and whenever that must be done again; ``since`` (``slow``) is when the
    record was first seen; ``mine`` says under which of our incarnations we hold it, if we do; ``adoptable`` is the epoch that
    the local gate was found open for, after a restart.
    """

    def __init__(self, name: str, session: Session, observe: Observe, witnesses: Witnesses) -> None:
        self.name = name
        self.register = claim_register(name)
        self.session = session
        self.observe = observe
        self.witnesses = witnesses
        self.epoch = 0
        self.mine: Holder | None = None
        self.adoptable: int | None = None
        self.known = False
        self.record: Record | None = None
        self.claim: ClaimRecord | None = None
        self.since: Instant = 0
        self.rolled_back = False
        self._rolled_back_at: Instant = 0
        self._last_epoch = 0
        self._cleared: set[str] = set()  # nodes that certainly do not hold what this record does not show

    # -- whose it is

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
    def meant_for_us(self) -> bool:
        """Tell whether the holder let go in our favour."""
        return self.claim is not None and self.claim.reserved_for == self.session.parameters.node

    @property
    def adopting(self) -> bool:
        """Tell whether the claim was ours when this run began and the arbiter has not been asked yet."""
        return self.adoptable is not None or self.mine is not None

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
        if not self.known or self.held or self.unreadable:
            return False
        return self.claim is None or self.claim.state is ClaimState.VACANT or self.rolled_back

    @property
    def mark(self) -> str:
        """Return the mark of the record that lies there now, empty if there is none."""
        return "" if self.claim is None else claim_mark(self.register, self.claim.by)

    @property
    def holder(self) -> Holder | None:
        return self.claim.holder if self.claim is not None else None

    def named(self) -> tuple[str, ...]:
        """Return the nodes that the record names, its holder and its bidder; all of them if it was lost."""
        if self.lost:
            return self.witnesses.known()
        claim = self.claim
        if claim is None:
            return ()
        bidder = () if claim.bid is None else (claim.bid.holder.node,)
        return bidder if claim.holder is None else (claim.holder.node, *bidder)

    # -- whether it may be taken

    def standing(self, now: Now) -> Standing:
        """Say what stands between this node and the claim."""
        if self.held:
            return Standing.MINE
        if not self.known or self.claim is None:
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

    def distrusted(self, now: Now) -> bool:
        """Tell whether the record is older than one we knew, and a holder of the lost one may still act."""
        waiting = now.slow < self._rolled_back_at + self.witnesses.wait()
        return self.rolled_back and (waiting or bool(self.awaited()))

    @property
    def unreadable(self) -> bool:
        """Tell whether the register holds something that haagent did not write."""
        return self.record is not None and self.claim is None

    # -- what is seen

    def see(self, record: Record | None, now: Now) -> Actions:
        """Take in what the register holds, or held a moment ago."""
        changed = record != self.record or self.since == 0
        self.known = True
        if not changed:
            return self._check_ours()
        before, self.claim = self.claim, shown_claim(record)
        self.since, self.record = now.slow, record
        if before is None or self.claim is None or not _goes_on(before, self.claim):
            self._cleared = set()
        elif before.holder is not None:
            self._cleared.add(before.holder.node)
        told: Actions = ()
        if record is not None and self.claim is None:
            told = self.tell("unreadable", "the register holds something haagent did not write")
        if self.claim is not None:
            self._notice_rollback(self.claim.epoch, now)
            if self.rolled_back:
                told = self.tell("rolled back", f"the arbiter shows epoch {self.claim.epoch}: it lost data")
            self.epoch = max(self.epoch, self.claim.epoch)
        return told + self._check_ours()

    # -- inside

    def _standing_of_holder(self, claim: ClaimRecord, now: Now) -> Standing:
        holder = claim.holder
        assert holder is not None
        if holder.node == self.session.parameters.node:
            return self._standing_of_ourselves(holder, now)
        if self.distrusted(now):
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
            return self.tell(
                "lost", "the arbiter shows another holder" if self.claim else "its record is gone"
            )
        if named and current and self.claim is not None and self.adoptable == self.claim.epoch:
            self.mine, self.adoptable = self.session.holder, None
            return self.tell("resumed", "")
        self.adoptable = None  # the arbiter has been asked, and it is not ours
        return ()

    def tell(self, what: str, detail: str) -> Actions:
        """Return the report that the claim changed."""
        return (Tell(ClaimChanged(self.name, what, self.epoch, detail)),)


def vacancy_mark(register: str, record: Record | None) -> str:
    """Return the mark of a claim's vacant record, empty if it is none."""
    claim = shown_claim(record)
    vacant = claim is not None and claim.state is ClaimState.VACANT
    return claim_mark(register, claim.by) if claim is not None and vacant else ""


def _goes_on(before: ClaimRecord, now: ClaimRecord) -> bool:
    """Tell whether ``now`` is ``before`` with a bid, without one, or released: whoever was cleared before is so still.

    Never a vacant one: that is what somebody made where the record was gone, with the same epoch.
    """
    if before.state is not ClaimState.HELD or now.epoch != before.epoch:
        return False
    return now.state is ClaimState.RELEASED or now.holder == before.holder
