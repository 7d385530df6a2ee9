"""One other node on the peer channel: which of its messages are fresh, and whether its clock agrees with ours.

Pure: times come in with every call. Promises that a body is handed on at most once, and only if it was written by
the peer's present process for *this* link of ours; anything else is a hello's worth of news at most.

Theory of operation
-------------------
Every link draws a random channel when it begins: at the start of its process, or when a reload names the peer
again. A message counts only if it is addressed to our channel, so whatever was recorded before is worth nothing.
That leaves what an earlier process of the *peer* sent to us: a channel of the peer's is adopted only by a message
that echoes a later number of ours than any message before. Our numbers only grow, so a recorded message can never
bring an old channel back. Within a channel every number is taken once (``REORDERED`` numbers back at most): the
same message over another network, or a replay, is dropped.

Two nodes that do not know each other say hello without an address (``toward`` ""), which proves nothing and is
answered with a hello addressed to that channel. The answer to that proves both. Each channel is answered rarely, and
by its own count: a recorded hello that somebody repeats all the time must not keep a restarted peer waiting.

Time from outside: each message says when it was sent on the peer's ``fast`` clock. Between two of them the peer's
clock has advanced by some time, and so has ours; if ours by much less, ours stood still (a guest whose clock
stopped while it was frozen). The first message may have been under way for long, which looks the same, but for
no longer than the round trip that its echo shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, to_seconds
from haagent.effects.peer_messages import Body, Discard, Echo, Envelope

REORDERED = 256
GREETING_PAUSE: Duration = 100 * MILLISECOND  # between two answers to one channel's hellos that prove nothing
MOST_GREETED = 64  # channels whose last greeting is remembered; each was a process of the peer's once
TOLERANCE: Duration = 20 * MILLISECOND  # of the elapsed-time check, for what nobody measured
STRETCH: Duration = SECOND  # how long at least clocks are compared over


@dataclass(slots=True)
class OutsideTime:
    """Compares how far a peer's clock and ours have advanced since one of its messages.

    ``sent`` is the peer's ``fast`` clock in that message, ``here`` ours at its arrival, ``delay`` at most how long
    it was under way; None while there is no such message.
    """

    sent: Instant = 0
    here: Instant = 0
    delay: Duration | None = None

    def missing(self, sent: Instant, here: Instant, delay: Duration | None) -> Duration:
        """Take in one message; return how much of the peer's time ours cannot explain, 0 if there is no doubt.

        ``delay`` is None if it is unknown how long this message was under way. Either clock may be wrong by a
        tenth, as everywhere (W = 1.10 x L). Comparing over ``STRETCH`` finds a clock that is merely slow, too.
        """
        found = 0
        if self.delay is not None and sent > self.sent:
            outside, inside = sent - self.sent, here - self.here
            if outside > inside * 11 // 10 + self.delay + TOLERANCE:
                found = outside - inside
        if delay is not None and (self.delay is None or found or sent - self.sent >= STRETCH):
            self.sent, self.here, self.delay = sent, here, delay
        return found

    def forget(self) -> None:
        """Begin anew: the peer is another process, maybe on a host that was started again."""
        self.delay = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of a message: ``body`` to hand on, a hello to ``answer`` with at once, ``evidence`` for a doubt.

    ``proved`` is False for a hello that may be a replay: only its answer will tell.
    """

    body: Body = None
    answer: Envelope | None = None
    evidence: str = ""
    proved: bool = True


class Link:
    """What this process (``channel``) knows of ``peer``. Numbers, freshness and time of both directions."""

    def __init__(self, node: str, channel: str, peer: str) -> None:
        self.node, self.channel, self.peer = node, channel, peer
        self.toward = ""  # the peer's channel, once it is proved
        self.outside = OutsideTime()
        self._number = 0
        self._proof = 0  # the latest number of ours that the peer has echoed
        self._highest = 0
        self._seen = 0  # bit n: number ``_highest - n`` was taken
        self._last: tuple[int, Instant, Instant] | None = None  # number, sent, here of the newest message
        self._greeted: dict[str, Instant] = {}  # by channel, in order of the greetings

    def write(self, body: Body, now: Instant) -> Envelope:
        """Return the next message to the peer, to be sent at once."""
        echo = None
        if self._last is not None:
            number, sent, here = self._last
            echo = Echo(number, sent, now - here)
        return self._compose(self.toward, body, now, echo)

    def read(self, envelope: Envelope, clock: Callable[[], Instant]) -> Accepted | Discard:
        """Take in an authentic message of the peer to this node. ``clock`` is read only for what is fresh."""
        if envelope.toward != self.channel:
            return self._stranger(envelope, clock())
        adopted = envelope.channel != self.toward
        if adopted and not self._proves_itself(envelope):
            return Discard.STALE
        if not adopted and self._taken(envelope.number):
            return Discard.REPEATED
        if adopted:
            self._adopt(envelope.channel)
        self._take(envelope.number)
        here = clock()
        evidence = self._compare(envelope, here)
        return Accepted(envelope.body, self.write(None, here) if adopted else None, evidence)

    def _compose(self, toward: str, body: Body, now: Instant, echo: Echo | None) -> Envelope:
        self._number += 1
        return Envelope(self.node, self.peer, self.channel, toward, self._number, now, echo, body)

    def _stranger(self, envelope: Envelope, now: Instant) -> Accepted | Discard:
        """Answer a hello of somebody who does not know our channel; it may be a replay and changes nothing."""
        if envelope.toward or envelope.channel in (self.toward, ""):
            return Discard.STALE
        greeted = self._greeted.get(envelope.channel)
        if greeted is not None and now - greeted < GREETING_PAUSE:
            return Discard.STALE
        self._greeted.pop(envelope.channel, None)
        if len(self._greeted) >= MOST_GREETED:
            del self._greeted[next(iter(self._greeted))]
        self._greeted[envelope.channel] = now
        echo = Echo(envelope.number, envelope.sent, 0)
        return Accepted(answer=self._compose(envelope.channel, None, now, echo), proved=False)

    def _proves_itself(self, envelope: Envelope) -> bool:
        return envelope.echo is not None and self._proof < envelope.echo.number <= self._number

    def _adopt(self, channel: str) -> None:
        self.toward = channel
        self._highest = self._seen = 0
        self._last = None
        self.outside.forget()

    def _taken(self, number: int) -> bool:
        age = self._highest - number
        return age >= REORDERED or (age >= 0 and bool(self._seen >> age & 1))

    def _take(self, number: int) -> None:
        if number > self._highest:
            self._seen = (self._seen << min(number - self._highest, REORDERED)) & ((1 << REORDERED) - 1)
            self._highest = number
        self._seen |= 1 << (self._highest - number)

    def _compare(self, envelope: Envelope, here: Instant) -> str:
        """Note what the message says of the time; return the evidence against our own clock, if there is any."""
        echo, delay = envelope.echo, None
        if echo is not None and echo.number <= self._number:
            self._proof = max(self._proof, echo.number)
            # "held" is by the peer's clock, which may be a tenth too fast
            delay = max(0, here - echo.sent - echo.held) + echo.held // 10
        if self._last is None or envelope.number > self._last[0]:
            self._last = (envelope.number, envelope.sent, here)
        missing = self.outside.missing(envelope.sent, here, delay)
        if not missing:
            return ""
        return f"this node's clock stood still for {to_seconds(missing):.3f} s by the clock of {self.peer}"
