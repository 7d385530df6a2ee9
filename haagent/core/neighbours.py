"""The sessions of the other nodes: watching them, noticing that they expired, and ending them.

Promises that a session is ended only by a swap on exactly the record that has not changed for W on this node's
``slow`` clock. Hints keep the picture fresh; a session that has been quiet for longer than its own rhythm is read.
Whoever must look again because of what was seen is told once, through ``stirred``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.actions import Actions, ReadRegister, SwapRegister, Tell
from haagent.core.events import (
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
)
from haagent.core.observation import SessionObservation
from haagent.core.records import SESSIONS, Holder, SessionRecord
from haagent.core.register import Record
from haagent.core.reports import ClaimChanged
from haagent.core.session import Session
from haagent.core.units import MILLISECOND, Duration, Instant, Now

RegisterEvent: TypeAlias = (
    RegisterRead | RegisterSwapped | RegisterConflicted | RegisterUnavailable | RegisterChanged
)


@dataclass(slots=True)
class Ending:
    """A swap under way that ends another node's expired session.

    ``incarnations`` are those known before it was sent, at ``sent_at`` (``slow``): when it succeeds, all of them are over.
    """

    value: bytes
    expected: Record | None
    incarnations: frozenset[str]
    sent_at: Instant
    in_flight: bool = True


class Neighbours:
    """The watch over other nodes' sessions.

    ``seen`` is told of every change of an observation, before anybody looks at it. ``holding`` returns the incarnations
    of a node that claims are known to name.
    """

    def __init__(
        self,
        session: Session,
        seen: Callable[[SessionObservation], None],
        holding: Callable[[str], frozenset[str]],
    ) -> None:
        self.session = session
        self.observations: dict[str, SessionObservation] = {}
        self.watch_at: Instant | None = None
        self.stirred: list[str] = []  # nodes whose claims somebody should look at again
        self.hinted = False  # the arbiter tells of changes, so sessions we never asked for are known, too
        # Claims whose record was lost: every record of a session may be the word they wait for (core.witnesses).
        self.lost: Collection[str] = ()
        self._seen, self._holding = seen, holding
        self._endings: dict[str, Ending] = {}
        self._writes = 0
        # When to look at which node; ``watch_at`` is the earliest of them.
        self._looks: dict[str, Instant] = {}

    def observe(self, node: str) -> SessionObservation:
        """Return what is known of another node's session; asking begins the watching."""
        known = self.observations.get(node)
        if known is None:
            known = SessionObservation(node, self.session.parameters.lease)
            self.observations[node] = known
        return known

    def begin(self, nodes: Iterable[str], now: Now) -> None:
        """Look soon at those of ``nodes`` that have never been looked at."""
        for node in nodes:
            if node != self.session.parameters.node and (
                node not in self._looks or not self.observe(node).known
            ):
                self._look(node, now.fast)

    def only_candidate(self, now: Now) -> str | None:
        """Return the other node that may claim if just one is known to be alive."""
        electors, me = self.session.parameters.electors, self.session.parameters.node
        alive = [
            o.node
            for o in self.observations.values()
            if o.node != me and o.alive(now.slow) and (not electors or o.node in electors)
        ]
        return alive[0] if len(alive) == 1 else None

    # -- answers and hints

    def answered(self, node: str, event: RegisterEvent, now: Now) -> Actions:
        """Take in an answer or a hint about the session of ``node``."""
        observation = self.observe(node)
        match event:
            case RegisterRead(_, record):
                observation.reading = False
                self._see(observation, record, now)
            case RegisterChanged(_, record):
                self._see(observation, record, now)
            case RegisterSwapped(_, record):
                ending = self._endings.pop(node, None)
                self._see(observation, record, now)
                if ending is not None:
                    observation.ended_here, observation.ended_at = ending.incarnations, ending.sent_at
                    self.stirred.append(node)  # the hint may have come first, and proved less
                return (Tell(ClaimChanged("", "ended", 0, f"the expired session of {node}")),)
            case RegisterConflicted():
                self._endings.pop(node, None)
                observation.reading = True
                return (ReadRegister(event.name),)
            case RegisterUnavailable(_, swap, _):
                self._unanswered(observation, now, swap=swap)
        return ()

    def arbiter_away(self, now: Now) -> None:
        """Take note that the arbiter did not answer: what it said before must be confirmed before it proves anything."""
        for observation in self.observations.values():
            observation.confirmed = False
        for node in tuple(self._looks):
            self._look_by(node, now.fast + self._pause())

    def _unanswered(self, observation: SessionObservation, now: Now, *, swap: bool) -> None:
        observation.reading = observation.reading and swap
        ending = self._endings.get(observation.node)
        if swap and ending is not None:
            ending.in_flight = False
        self._look_by(observation.node, now.fast + self._pause())

    def _see(self, observation: SessionObservation, record: Record | None, now: Now) -> None:
        observation.heard_at = now.fast
        was_late, was, was_confirmed = observation.late, observation.session, observation.confirmed
        if not observation.see(record, now.slow):
            if not was_confirmed:
                self.stirred.append(observation.node)
            return
        observation.late = False
        session = observation.session
        if session is None:  # its last record may have said a lease that we have not seen there
            observation.lease = max(observation.lease, self.session.longest_lease)
        self._seen(observation)
        # Not only when it should have written again: under failsafe it writes more seldom than its lease runs out.
        self._look(observation.node, self._look_again_at(observation, now))
        alive = was is not None and session is not None and not session.ended
        if alive and was.holder == session.holder and not was_late and not self.lost:  # type: ignore[union-attr]
            return  # an ordinary renewal
        self.stirred.append(observation.node)

    def _look(self, node: str, at: Instant) -> None:
        self._looks[node] = at
        self.watch_at = min(self._looks.values())

    def _look_by(self, node: str, at: Instant) -> None:
        self._look(node, min(self._looks.get(node, at), at))

    # -- the watch

    def watch(self, named: Iterable[str], now: Now) -> Actions:
        """Read sessions that have been quiet for too long, and notice the ones that have expired."""
        if self.watch_at is None or now.fast < self.watch_at:
            return ()
        actions: Actions = ()
        self._looks.clear()  # of nodes that no claim names any more, too
        for node in sorted(set(named) - {self.session.parameters.node}):
            observation = self.observe(node)
            actions += self._poll(observation, now)
            ending = self._endings.get(node)
            expired = observation.expired(now.slow) and not observation.late
            if expired or (ending is not None and not ending.in_flight):
                observation.late = observation.late or expired
                self.stirred.append(node)
            self._looks[node] = self._look_again_at(observation, now)
        self.watch_at = min(self._looks.values(), default=None)
        return actions

    def _poll(self, observation: SessionObservation, now: Now) -> Actions:
        quiet_until = observation.heard_at + self._quiet_for(observation)
        fresh = observation.known and observation.confirmed
        if observation.reading or (fresh and now.fast < quiet_until):
            return ()
        observation.reading = True
        observation.heard_at = now.fast  # asked: be patient for as long again
        return (ReadRegister(SESSIONS + observation.node),)

    def _quiet_for(self, observation: SessionObservation) -> Duration:
        """Return how long a session may be quiet before it is read: a little over its own rhythm."""
        return max(self.session.parameters.renew, observation.refresh * 3 // 2)

    def _look_again_at(self, observation: SessionObservation, now: Now) -> Instant:
        poll = observation.heard_at + self._quiet_for(observation)
        if observation.late or not observation.known:
            return max(poll, now.fast + self._pause())
        if not observation.confirmed and not observation.reading:
            return now.fast + self._pause()
        expiry = now.fast + max(0, observation.expires_at - now.slow)
        # a read that hangs is not asked again
        return max(expiry if observation.reading else min(poll, expiry), now.fast + 1)

    def _pause(self) -> Duration:
        return max(10 * MILLISECOND, self.session.parameters.renew // 4)

    # -- ending

    def end(self, holder: Holder, now: Now) -> Actions:
        """End an expired session, by a swap on exactly the record that has not changed for W."""
        observation = self.observe(holder.node)
        if not observation.expired(now.slow):
            return ()
        name = SESSIONS + holder.node
        known = self._endings.get(holder.node)
        if known is not None and known.expected == observation.record:
            if known.in_flight:
                return ()
            known.in_flight = True
            return (SwapRegister(name, known.value, known.expected),)
        known_ones = self._holding(holder.node) | {holder.incarnation}
        ending = Ending(self._epitaph(holder, observation, now), observation.record, known_ones, now.slow)
        self._endings[holder.node] = ending
        return (SwapRegister(name, ending.value, ending.expected),)

    def _epitaph(self, holder: Holder, observation: SessionObservation, now: Now) -> bytes:
        self._writes += 1
        me = self.session.parameters.node
        by = f"{me}.{self.session.incarnation}.end{self._writes}.{now.fast:x}"
        unknown = SessionRecord(holder, 0, observation.lease, observation.refresh, "unknown")
        return (observation.session or unknown).ended_by_node(me, by).encode()
