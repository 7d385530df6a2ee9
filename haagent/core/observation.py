"""What this node has seen of somebody else's register, and since when it has looked exactly so.

The waiting half of the lease rule (docs/safety): a contender may act against a holder only when W = 1.10 x lease
has passed since *after* the response that first showed the holder's latest record, on the contender's ``slow``
clock. Seeing any other record, or the record's absence, starts the wait anew. Seeing late only waits longer.
"""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.records import SessionRecord, shown_session
from haagent.core.register import Record
from haagent.core.units import Duration, Instant


def patience(lease: Duration) -> Duration:
    """Return W: how long a contender waits for a holder that promised ``lease``."""
    return lease * 11 // 10


@dataclass(slots=True)
class SessionObservation:
    """The session of another node as last seen.

    ``lease`` is the longest lease this node ever showed, or anybody did before its record was gone: what is assumed then.
    ``late`` says that the owner has noticed the expiry; any change clears it. ``heard_at`` is when anything was
    heard of it at all, ``refresh`` how often it means to write. ``ended_here`` are the incarnations that were over when
    our own swap wrote the record, ``ended_at`` when (``slow``) that swap was sent. ``confirmed`` is false after the
    arbiter was away: it may have lost what we saw. ``replaced`` is when (``slow``) the record before this one was first
    seen, None if none was: this one was written after that was read.
    """

    node: str
    lease: Duration
    record: Record | None = None
    session: SessionRecord | None = None
    since: Instant = 0
    known: bool = False
    reading: bool = False
    late: bool = False
    ended_here: frozenset[str] = frozenset()
    ended_at: Instant | None = None
    confirmed: bool = False
    heard_at: Instant = 0
    refresh: Duration = 0
    replaced: Instant | None = None

    def see(self, record: Record | None, slow: Instant) -> bool:
        """Note what the register held; return whether that was news. ``slow`` is the time after the response."""
        self.confirmed = True
        if self.known and record == self.record:
            return False
        self.replaced = self.since if self.known else None
        self.known, self.record, self.since = True, record, slow
        self.ended_here, self.ended_at = frozenset(), None
        self.session = shown_session(record)  # None: neither live nor ended, only its age counts
        if self.session is not None:
            self.lease = max(self.lease, self.session.lease)
            self.refresh = self.session.renew
        return True

    @property
    def expires_at(self) -> Instant:
        """Return when (on the ``slow`` clock) the wait for this record is over."""
        lease = self.session.lease if self.session is not None else self.lease
        return self.since + patience(lease)

    @property
    def silent_at(self) -> Instant:
        """Return when (``slow``) the node will not have written as it said it would, with one lease of patience."""
        if self.session is None or self.session.ended:
            return self.expires_at
        return self.since + self.refresh * 3 // 2 + patience(self.session.lease)

    def over(self, incarnation: str) -> bool:
        """Tell whether that incarnation has ended for certain.

        That the register shows *another* incarnation proves nothing: what was seen may be older than the one asked
        about. Proof is the record that says so by name, or that a swap of our own wrote over whatever was there. An
        older proof is none: the arbiter may have lost that history and the incarnation may live on in another.
        """
        if self.session is None or not self.session.ended or not self.confirmed:
            return False
        return incarnation == self.session.holder.incarnation or incarnation in self.ended_here

    def alive(self, slow: Instant) -> bool:
        """Tell whether the node has written as often as it said it would, with one lease of patience."""
        if self.session is None or self.session.ended:
            return False
        return slow <= self.silent_at

    def expired(self, slow: Instant) -> bool:
        """Tell whether the wait is over for whatever the register holds, a missing record included."""
        return self.known and slow >= self.expires_at
