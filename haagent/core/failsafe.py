"""Renewal by promise: what keeps the address where it is while the arbiter is away.

Theory of operation
-------------------
A lease may be renewed by the arbiter, or by the unanimous promise of the *electors*: the nodes that may ever claim,
as listed in the holder's session record before the holder relies on them. A node that is not listed never claims
from that holder. So if every elector has promised not to claim, nobody can, whatever the arbiter does.

A grant means: *I will not start a claim of these names, nor end that session, until W has passed since now.* It is
refused by whoever holds or may hold such a claim (a swap of mine is under way or of unknown fate counts as
holding), by whoever has started less than W ago and may have forgotten what it did, and by whoever knows that the
asker's session has ended: the asker's clock stood still, or it would not ask, and it must find out soon.

Two weaker rules look sufficient and are not (docs/safety/model.md has the traces): promising only to restart one's
observation of the session (a peer that has already ended the session would still claim at once), and refusing only
while one's own gate is open (a peer that has won the claim but not opened yet would promise, then open).

A promise about a claim ends early in one case: the arbiter shows the claim *released*, with the epoch it was asked
for or a later one. Only that epoch's holder writes so, after it has closed its gate. Otherwise every handover would
have to wait for W.

A promise renews; it never begins a term. After a lapse only the arbiter can say who holds what.

While every round is granted, the promises carry the fast renewals and the arbiter is written only every
few seconds (``session.QUIET``; the record says so). The first round that is not granted in time sends the session back to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from haagent.core.actions import Actions, SendToPeer
from haagent.core.observation import patience
from haagent.core.records import Holder
from haagent.core.session import Session
from haagent.core.units import Duration, Instant, Now

ROUNDS_KEPT = 4


@dataclass(frozen=True, slots=True)
class PromiseRequest:
    """The holder asks one elector. ``number`` grows with every round of one incarnation, over restarts of its worker.

    ``epochs`` are those of ``claims``, in their order; a request without them is bound for the whole of W.
    """

    holder: Holder
    number: int
    claims: tuple[str, ...]
    lease: Duration
    epochs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PromiseReply:
    """An elector's answer to round ``number`` of ``holder``; ``refusal`` is empty for a grant."""

    holder: Holder
    number: int
    refusal: str


@dataclass(slots=True)
class Round:
    """One round of requests: when it began, for which claims, who was asked, and who has not granted yet."""

    t0: Instant
    claims: frozenset[str]
    lease: Duration
    asked: frozenset[str]
    waiting: set[str]


@dataclass(slots=True)
class Heard:
    """What is known of another elector on the peer channel."""

    at: Instant = 0
    refusal: str = ""


class Petitioner:
    """The holder's side: asks every R, and extends the session when all have granted."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.heard: dict[str, Heard] = {}
        self._listed: frozenset[str] = frozenset()
        self._number = 0
        self._rounds: dict[int, Round] = {}
        self._next_at: Instant = 0

    @property
    def asking(self) -> bool:
        """Tell whether rounds are being held, or the session still counts on them."""
        return bool(self._rounds) or self.session.quiet

    def next_deadline(self) -> Instant | None:
        """Return when the next round is due, if rounds are being held."""
        return self._next_at if self._rounds else None

    def step(self, claims: Mapping[str, int], listed: frozenset[str], now: Now) -> Actions:
        """Begin the next round if one is due.

        ``claims`` are what this node holds, with their epochs, ``listed`` the electors that their records name.
        """
        self._listed = listed
        electors = self._others()
        if not claims or not electors or not self.session.live(now):
            self._rounds.clear()
            if not claims and self.session.quiet:
                self.session.quiet = False
                self.session.renew_within(self.session.parameters.renew, now)
            self._quiet(now, quiet=False)
            return ()
        if self._rounds and now.fast < self._next_at:
            return ()
        if self._rounds and self._rounds[self._number].waiting:
            self._quiet(now, quiet=False)  # the last round is not complete after a whole R
        # An incarnation outlives its worker: the next one must not count answers to, nor ask under, old numbers.
        self._number = self._number + 1 if self._number else now.fast
        lease = self.session.parameters.lease
        self._rounds[self._number] = Round(now.fast, frozenset(claims), lease, electors, set(electors))
        self._rounds.pop(self._number - ROUNDS_KEPT, None)
        self._next_at = now.fast + self.session.parameters.renew
        request = PromiseRequest(
            self.session.holder, self._number, tuple(claims), lease, tuple(claims.values())
        )
        return tuple(SendToPeer(elector, request) for elector in sorted(electors))

    def replied(self, peer: str, reply: PromiseReply, held: Iterable[str], now: Now) -> Actions:
        """Take in one answer; when a round is complete, and was about all that is ``held``, count it from its ``t0``."""
        self.heard[peer] = Heard(now.fast, reply.refusal)
        round_ = self._rounds.get(reply.number)
        if reply.holder != self.session.holder or round_ is None:
            return ()
        if reply.refusal:
            self._quiet(now, quiet=False)
            return ()
        round_.waiting.discard(peer)
        if round_.waiting or not self._others() <= round_.asked:
            return ()  # not all of them, or the arbiter has heard of one more meanwhile
        if not round_.claims.issuperset(held):
            return ()  # nobody has promised anything about a claim that was won after the asking
        self._quiet(now, quiet=True)
        return self.session.renewed_by_promise(round_.t0, round_.lease, now)

    def refusal(self, peer: str) -> str:
        """Return why ``peer`` refused the latest round it answered; empty if it granted or never answered."""
        return self.heard[peer].refusal if peer in self.heard else ""

    def _others(self) -> frozenset[str]:
        """Return whom the arbiter may know as electors, in the session's record or in a claim's, but for this node."""
        return (self.session.electors | self._listed) - {self.session.parameters.node}

    def _quiet(self, now: Now, *, quiet: bool) -> None:
        if quiet is self.session.quiet:
            return
        self.session.quiet = quiet
        if not quiet:
            self.session.revalidate(now)


@dataclass(slots=True)
class Elector:
    """The other side: grants or refuses, and remembers what it has promised (on the ``slow`` clock).

    ``started`` begins the time in which it refuses: W, for it may have forgotten what it did.
    """

    lease: Duration
    started: Instant = 0
    _claims: dict[str, Instant] = field(default_factory=dict)
    _epochs: dict[str, int | None] = field(default_factory=dict)
    _sessions: dict[str, Instant] = field(default_factory=dict)
    _last: dict[Holder, int] = field(default_factory=dict)

    def asked(
        self, peer: str, request: PromiseRequest, holding: Iterable[str], now: Now, *, over: bool = False
    ) -> Actions:
        """Answer a request. ``holding`` are the claims this node holds or may hold; ``over``: the asker's session is."""
        refusal = self._refusal(peer, request, frozenset(holding), now, over=over)
        if not refusal:
            self._promise(request, now)
        return (SendToPeer(peer, PromiseReply(request.holder, request.number, refusal)),)

    def bound_until(self, claim: str, holder_node: str, released: int | None = None) -> Instant:
        """Return until when (``slow``) this node has promised not to claim it, nor end that node's session.

        ``released`` is the claim's epoch if the arbiter shows it released.
        """
        epoch = self._epochs.get(claim)
        if released is not None and epoch is not None and released >= epoch:
            return self._sessions.get(holder_node, 0)
        return max(self._claims.get(claim, 0), self._sessions.get(holder_node, 0))

    def _refusal(
        self, peer: str, request: PromiseRequest, holding: frozenset[str], now: Now, *, over: bool
    ) -> str:
        if peer != request.holder.node:
            return "asked in another node's name"
        if now.slow < self.started + patience(max(self.lease, request.lease)):
            return "started a moment ago"
        if holding.intersection(request.claims):
            return "holds or is taking the claim itself"
        if over:
            return "that session has ended"
        if request.number < self._last.get(request.holder, 0):
            return "an old request"
        return ""

    def _promise(self, request: PromiseRequest, now: Now) -> None:
        if request.number == self._last.get(request.holder):
            return  # the same request over another network, or a replay: it binds no longer than the first one did
        if len(self._last) > 64:  # incarnations of nodes that restart a lot; the promises themselves stay
            self._last.clear()
        self._last[request.holder] = request.number
        until = now.slow + patience(request.lease)
        node = request.holder.node
        self._sessions[node] = max(until, self._sessions.get(node, 0))
        epochs = dict(zip(request.claims, request.epochs, strict=False))
        for claim in request.claims:
            epoch, before = epochs.get(claim), self._epochs.get(claim)
            if now.slow >= self._claims.get(claim, 0):
                before = None  # that promise is over; its epoch may be one that the arbiter has lost since
            self._claims[claim] = max(until, self._claims.get(claim, 0))
            # a late request frees nobody
            self._epochs[claim] = None if epoch is None else max(epoch, before or 0)
