"""What this node has seen of somebody else's register, and since when it has looked exactly so.

The waiting half of the lease rule (docs/safety): a contender may act against a holder only when W = 1.10 x lease
has passed since *after* the response that first showed the holder's latest record, on the contender's ``slow``
clock. Seeing any other record, or the record's absence, starts the wait anew. Seeing late only waits longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from haagent.core.records import BadRecord, SessionRecord
from haagent.core.register import Record
from haagent.core.units import Duration, Instant


def patience(lease: Duration) -> Duration:
    """Return W: how long a contender waits for a holder that promised ``lease``."""
    return lease * 11 // 10


@dataclass(slots=True)
class SessionObservation:
    """The session of another node as last seen.

    ``lease`` is the longest lease this node ever showed: what is assumed when its record is missing or unreadable.
    ``late`` says that the owner has noticed the expiry; any change clears it. ``heard_at`` is when anything was
    heard of it at all, ``refresh`` how often it means to write. ``over_for_good`` are incarnations that are known to
    have ended; that never changes again, however old the news is.
    """

    node: str
    lease: Duration
    record: Record | None = None
    session: SessionRecord | None = None
    since: Instant = 0
    known: bool = False
    reading: bool = False
    late: bool = False
    over_for_good: set[str] = field(default_factory=set)
    heard_at: Instant = 0
    refresh: Duration = 0

    def see(self, record: Record | None, slow: Instant) -> bool:
        """Note what the register held; return whether that was news. ``slow`` is the time after the response."""
        if self.known and record == self.record:
            return False
        self.known, self.record, self.since = True, record, slow
        self.session = _parse(record)
        if self.session is not None:
            self.lease = max(self.lease, self.session.lease)
            self.refresh = self.session.renew
            if self.session.ended:
                self.over_for_good.add(self.session.holder.incarnation)
        return True

    @property
    def expires_at(self) -> Instant:
        """Return when (on the ``slow`` clock) the wait for this record is over."""
        lease = self.session.lease if self.session is not None else self.lease
        return self.since + patience(lease)

    def over(self, incarnation: str) -> bool:
        """Tell whether that incarnation has ended for certain.

        That the register shows *another* incarnation proves nothing: what was seen may be older than the one asked
        about. Proof is a record that says so by name, or a swap of our own that ended whatever was there.
        """
        return incarnation in self.over_for_good

    def expired(self, slow: Instant) -> bool:
        """Tell whether the wait is over for whatever the register holds, a missing record included."""
        return self.known and slow >= self.expires_at


def _parse(record: Record | None) -> SessionRecord | None:
    if record is None:
        return None
    try:
        return SessionRecord.decode(record.value)
    except BadRecord:
        return None  # somebody else's writing: neither live nor ended, only its age counts
