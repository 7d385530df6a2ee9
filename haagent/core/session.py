"""This node's own session: the lease under which all its claims are held.

Theory of operation
-------------------
The session is one register, ``sessions/<node>``, that this node rewrites every R. ``deadline`` says until when
this node may act; it is the only thing the gate in the kernel knows.

* *Counted from the sending.* A write takes effect at some instant between its sending and its answer. Everybody
  else counts from when they first *saw* it, so this node counts from ``t0``, the time before it was sent:
  ``deadline = t0 + lease - guard``. Whoever waits, waits longer than whoever acts.
* *Late success does not count.* An answer that arrives after the deadline extends nothing. Once the deadline has
  passed, only a write that was *sent* after it can start a new term.
* *Unknown is not failure.* A write without an answer is sent again, unchanged, until its fate is known, and keeps
  its first ``t0``. Nothing changes before the deadline.
* *Definite trouble acts at once.* When the register turns out to hold somebody else's writing, every gate closes
  first (``suspended``) and questions are asked afterwards.
* *An unbroken chain is proof.* Each write swaps exactly the record of the one before it. If it succeeds, nobody
  ended this session meanwhile, so nobody could take its claims.

A session that was ended, or whose record is gone, is never revived: this node starts a new incarnation, and what
the old one held is for others to take.

This module decides nothing about claims, and it does not touch the gate: it returns actions and the node acts
on ``live``, ``suspended`` and ``incarnation``.
"""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.actions import Action, Actions, ExtendGate, ReadRegister, SwapRegister, Tell
from haagent.core.namesake import Namesakes, patience_with
from haagent.core.observation import patience
from haagent.core.records import SESSIONS, Holder, SessionRecord, claim_names, shown_session
from haagent.core.register import Record
from haagent.core.reports import SessionChanged
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, Now, sooner, to_seconds

QUIET: Duration = 3 * SECOND  # how often the arbiter is written while promises carry the fast renewals
PRESENCE: Duration = 10 * SECOND  # how often a node that wants nothing shows that it is there
MARKS = 64  # of claims whose record was lost, in the session's record: the others come when these are done
FIRST_RETRY: Duration = 5 * MILLISECOND


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """Who this node is and how it keeps time.

    ``host`` identifies the running kernel and network namespace: a session of this node's name on the same host
    was another process of the same kernel, whose gates this agent has already closed. ``lease``, ``renew`` and
    ``guard`` are L, R and g of docs/safety.
    """

    node: str
    incarnation: str
    host: str
    lease: Duration
    renew: Duration
    guard: Duration
    electors: tuple[str, ...] = ()
    resumed: bool = False


@dataclass(slots=True)
class PendingWrite:
    """A write whose fate is not known yet. ``t0`` is the time before it was first sent."""

    record: SessionRecord
    value: bytes
    expected: Record | None
    t0: Instant
    retry_at: Instant
    in_flight: bool = True
    unanswered: bool = False


class Session:
    """The session machine. Every method is total: an answer nobody waits for changes nothing."""

    def __init__(self, parameters: SessionParameters) -> None:
        self.parameters = parameters
        self.name = SESSIONS + parameters.node
        # Under which this node claims at present.
        self.holder = Holder(parameters.node, parameters.incarnation)
        self.generation = 0
        self.seq = 0
        # While no deadline is ours: the gate that an earlier worker left runs for so long at most (agent.remains).
        self._left_lease = parameters.lease if parameters.resumed else 0
        # Of anybody, ever seen: what to assume of a record that is gone.
        self.longest_lease = parameters.lease
        self.deadline: Instant = 0
        self.confirmed_t0: Instant = 0  # the latest t0 that counted: "valid as of then"
        self.renewed_by = ""
        self.suspended = False
        self.active = False
        self.stopping = False
        self.closed = False
        self.naming: tuple[str, ...] = ()  # the claims to be named in the record: held, or perhaps held
        self.marks: tuple[str, ...] = ()  # of claims whose record was lost; see core.witnesses
        self.quiet = False  # promises carry the fast renewals; see core.failsafe
        self.electors: frozenset[str] = frozenset()  # as the arbiter has them for certain, or may have them
        self.error = ""
        self._term_from: Instant = 0  # only writes sent at or after this can start a term
        self._established = False
        self._known = False
        self._reading = False
        self.lapses = 0  # how often the deadline has passed, and was noticed to
        self.breaks = 0  # how often the chain of our writes was found broken; claims must then be read again
        self._prove_after: Instant = 0
        self._seen: Record | None = None
        self._seen_since: Instant | None = None
        self._namesakes = Namesakes(parameters.node, parameters.host)
        self._pending: PendingWrite | None = None
        self._renew_at: Instant = 0
        self._lapsed = True

    # -- what others ask

    @property
    def last_seen(self) -> Record | None:
        """Return what our register held when last known."""
        return self._seen

    @property
    def incarnation(self) -> str:
        return self.holder.incarnation

    def live(self, now: Now) -> bool:
        """Tell whether this node may act on its claims at ``now``."""
        return self._established and not self.suspended and now.fast < self.deadline

    def valid_as_of(self, instant: Instant) -> bool:
        """Tell whether a renewal sent at or after ``instant`` has counted."""
        return self.confirmed_t0 >= instant

    def overlooks(self, claim: str) -> bool:
        """Tell whether a write is under way that does not name ``claim``: a swap that takes it must not overtake that."""
        return self._pending is not None and not self._pending.record.names(claim)

    def next_deadline(self) -> Instant | None:
        """Return when ``step`` wants to be called next, on the ``fast`` clock."""
        lapse = None if self._lapsed else self.deadline
        pending = self._pending
        if self._reading or (self.closed if pending is None else pending.in_flight):
            return lapse
        return sooner(lapse, self._renew_at if pending is None else pending.retry_at)

    # -- what others ask for

    def activate(self, now: Now, *, active: bool) -> None:
        """Renew at R (a claim is held or wanted), or only show presence."""
        if active and not self.active:
            self._renew_at = min(self._renew_at, now.fast) if self._established else self._renew_at
        self.active = active

    def revalidate(self, now: Now) -> None:
        """Renew as soon as possible: somebody needs proof newer than ``now``."""
        self._prove_after = now.fast
        if self._known:
            self._renew_at = min(self._renew_at, now.fast)

    def renew_within(self, duration: Duration, now: Now) -> None:
        """Renew by then at the latest, also if there was more time until now."""
        self._renew_at = min(self._renew_at, now.fast + duration)

    def suspect(self, now: Now) -> None:
        """Take note that the register may not be ours any more: stop acting until a write has proved it is."""
        self.suspended = True
        self.revalidate(now)

    def stop(self, now: Now) -> None:
        """End this session as the last thing a clean shutdown does, so that nobody waits for it."""
        self.stopping = True
        self.active = False
        if not self._established and self._pending is None:
            self.closed = True
        self.revalidate(now)

    def renewed_by_promise(self, t0: Instant, lease: Duration, now: Now) -> Actions:
        """Count the unanimous promise of the electors that was asked for at ``t0``. It renews, it begins no term."""
        if self._lapsed or self.suspended:
            return ()
        return self.extend(t0, lease, now, "peers")

    def extend(self, t0: Instant, lease: Duration, now: Now, by: str) -> Actions:
        """Count a renewal of ``lease`` that was asked for at ``t0``, granted by the arbiter or by the electors."""
        if not self._counts(t0, now):
            return ()
        until = t0 + lease - self.parameters.guard
        if until <= now.fast:
            return ()
        self.confirmed_t0 = max(self.confirmed_t0, t0)
        self.renewed_by = by
        was_lapsed, self._lapsed = self._lapsed, False
        if until <= self.deadline:
            return ()
        self.deadline = until
        extended: tuple[Action, ...] = (ExtendGate(until),)
        if was_lapsed and self.active:
            extended += (Tell(SessionChanged("live", f"renewed by {by}")),)
        return extended

    # -- what happens

    def step(self, now: Now) -> Actions:
        """Do what is due: lapse, send again, find out, or renew."""
        actions = self._lapse_if_due(now)
        if self.closed or self._reading:
            return actions
        if self._pending is not None:
            return actions + self._send_again_if_due(self._pending, now)
        if now.fast < self._renew_at:
            return actions
        if not self._known:
            self._reading = True
            return (*actions, ReadRegister(self.name))
        if not self._established and not self._may_replace(now):
            return actions
        return actions + self._write(now)

    def read(self, record: Record | None, now: Now) -> Actions:
        """Take in the answer to our own read."""
        if not self._reading:
            return ()
        self._reading = False
        pending = self._pending
        if pending is not None and record is not None and record.value == pending.value:
            return self.swapped(record, now)  # the store called it a conflict, but the writing is ours
        self._pending = None
        if self._seen_since is None or record != self._seen:
            self._seen_since = now.slow
        self._known, self._seen = True, record
        self._renew_at = now.fast
        return self._recognise(record, now)

    def swapped(self, record: Record, now: Now) -> Actions:
        """Take in a definite success."""
        pending = self._pending
        if pending is None or record.value != pending.value:
            return ()
        self._pending, self._seen, self._known = None, record, True
        self.error = ""
        if pending.record.ended:
            self.closed, self._established = True, False
            return ()
        self._established = True
        self.electors = frozenset(pending.record.electors)
        if pending.t0 < self._prove_after or self.stopping:
            self._renew_at = now.fast  # too old to prove what somebody wants to know
        else:
            # Not later than the record says: others go by that.
            self._renew_at = pending.t0 + min(self._rhythm(), pending.record.renew)
            self.suspended = False
        return self.extend(pending.t0, pending.record.lease, now, "arbiter")

    def conflicted(self, now: Now) -> Actions:
        """Take in a definite conflict: close everything now, then find out."""
        pending = self._pending
        if pending is None or self._reading:
            return ()
        pending.in_flight = False
        if not pending.unanswered:
            self.suspect(now)
        self._reading = True
        return (ReadRegister(self.name),)

    def unavailable(self, error: str, now: Now) -> Actions:
        """Take in that a read or write of ours got no answer."""
        told: Actions = ()
        if not self.error:
            told = (Tell(SessionChanged("unavailable", error)),)
        self.error = error
        again = now.fast + self._pause()
        if (
            self._pending is not None
        ):  # also when it was the read after a conflict: the swap asks the same question
            self._pending.in_flight = False
            self._pending.unanswered = self._pending.unanswered or not self._reading
            self._pending.retry_at = again
        else:
            self._renew_at = again
        self._reading = False
        return told

    def hinted(self, record: Record | None, now: Now) -> None:
        """Take in a hint about our own register: if it does not look like ours, prove it."""
        if not self._established or self.suspended or record == self._seen:
            return
        session = shown_session(record)
        if session is None or session.ended or session.holder != self.holder:
            self.suspect(now)

    # -- inside

    def _rhythm(self) -> Duration:
        if not self.active:
            return PRESENCE
        return max(QUIET, self.parameters.renew) if self.quiet else self.parameters.renew

    def _pause(self) -> Duration:
        return max(FIRST_RETRY, self.parameters.renew // 8)

    def _counts(self, t0: Instant, now: Now) -> bool:
        if not self._established or t0 < self._term_from:
            return False
        return self._lapsed or now.fast < self.deadline

    def _lapse_if_due(self, now: Now) -> Actions:
        if self._lapsed or now.fast < self.deadline:
            return ()
        self._lapsed = True
        self.lapses += 1
        self._term_from = now.fast
        if not self.active:
            return ()
        late = to_seconds(self.parameters.lease)
        return (
            Tell(SessionChanged("lapsed", f"no renewal counted for {late:g} s: {self.error or 'no answer'}")),
        )

    def _send_again_if_due(self, pending: PendingWrite, now: Now) -> Actions:
        if pending.in_flight or now.fast < pending.retry_at:
            return ()
        pending.in_flight = True
        return (SwapRegister(self.name, pending.value, pending.expected),)

    def _write(self, now: Now) -> Actions:
        self.seq += 1
        p = self.parameters
        # A lease that a reload made shorter: we still count on the longer one, so others must, too.
        counted = self.deadline + p.guard - now.fast if self.deadline else self._left_lease
        record = SessionRecord(
            holder=self.holder,
            seq=self.seq,
            lease=max(p.lease, counted),
            renew=self._rhythm(),
            host=p.host,
            electors=p.electors,
            claims=claim_names(self.naming),
            vacant=self.marks[:MARKS],
            ended_by=p.node if self.stopping else None,
            by=f"{self.incarnation}.{self.seq}.{now.fast:x}",  # an incarnation outlives its worker
        )
        self._pending = PendingWrite(record, record.encode(), self._seen, t0=now.fast, retry_at=now.fast)
        self.electors |= frozenset(p.electors)  # it may take effect at once
        return (SwapRegister(self.name, self._pending.value, self._seen),)

    def _may_replace(self, now: Now) -> bool:
        """Tell whether what the register holds may make way for this incarnation."""
        session = shown_session(self._seen)
        if self._seen is None:
            return True
        if session is not None:
            mine = session.holder.node == self.parameters.node
            if session.ended or session.holder == self.holder:
                return True
            if mine and session.host == self.parameters.host:
                return True  # the same kernel: its gates are closed or ours by now
        wait = patience(self.parameters.lease) if session is None else patience_with(session)
        remaining = (self._seen_since or 0) + wait - now.slow
        if remaining <= 0:
            return True
        self._known = False  # look again: a twin would renew
        self._renew_at = now.fast + min(remaining, self.parameters.renew)
        return False

    def _recognise(self, record: Record | None, now: Now) -> Actions:
        """Decide, from a fresh look at the register, whether this incarnation goes on."""
        session, latest = shown_session(record), self.seq
        if session is not None and session.holder.node == self.parameters.node:
            # It grows over incarnations: others tell old from new by it.
            self.seq = max(self.seq, session.seq)
        mine = session is not None and not session.ended and session.holder == self.holder
        if mine and session is not None:
            # Ours, but not the write we expected: a resumed run of this incarnation, or a store that lost data.
            self.breaks += 1
            self._established = self._established or self.parameters.resumed
            return ()
        # A resumed run continues what a worker before us had established, so it can lose it, too.
        continuing = self.parameters.resumed and not self.generation
        if not self._established and not continuing:
            return self._namesakes.in_the_way(session)
        why = "its record is gone" if record is None else "its record was ended or replaced"
        told: Actions = ()
        if session is not None and session.seq >= latest:  # an older one is from a store that lost data
            told = self._namesakes.took_over(session)
        return told + self._lose(now, why, session)

    def _lose(self, now: Now, why: str, shown: SessionRecord | None) -> Actions:
        self._established = self.suspended = False
        self._lapsed = True
        self.deadline = self._left_lease = 0
        self._term_from = now.fast
        # A worker before us may have come further: an incarnation that was over must not come back to life.
        known = 0 if shown is None else _generation(shown.holder.incarnation)
        self.generation = max(self.generation, known) + 1
        incarnation = f"{self.parameters.incarnation}.{self.generation}"
        self.holder = Holder(self.parameters.node, incarnation)
        return (ExtendGate(0), Tell(SessionChanged("lost", why)))


def _generation(incarnation: str) -> int:
    """Return the number after the dot, 0 if there is none."""
    number = incarnation.partition(".")[2]
    return int(number) if number.isdecimal() and len(number) < 10 else 0
