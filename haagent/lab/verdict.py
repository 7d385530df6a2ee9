"""From observations to a verdict; pure.

Dual ownership: two nodes answered the same question of the same round. Each such round counts from its question
to the next one. An outage is a run of unanswered client requests, from sending the first of them to sending the
next answered one, so an observer that slept does not look like a node that did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from haagent.core.units import Duration, Instant
from haagent.lab.observations import Exchange, FaultSpan, Record


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``begin`` up to, not including, ``end``."""

    begin: Instant
    end: Instant

    @property
    def length(self) -> Duration:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class FaultVerdict:
    """What one fault did, from its injection to the next one's (or the end).

    ``outage`` is the longest while the fault lasted, ``outage_after`` the longest that began after it healed.
    ``taken_over_by`` is the first other node that began to answer while the fault lasted, ``takeover`` the time
    from the injection to that answer; None when nobody did.
    """

    span: FaultSpan
    dual: Duration
    outage: Duration
    outage_after: Duration
    owner_before: str | None
    taken_over_by: str | None
    takeover: Duration | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole run. ``lanes`` holds who answered when, ``presence`` whose kernel had an address when."""

    nodes: tuple[str, ...]
    begin: Instant
    end: Instant
    lanes: dict[str, tuple[Interval, ...]]
    presence: dict[str, tuple[Interval, ...]]
    dual: tuple[Interval, ...]
    outages: tuple[Interval, ...]
    faults: tuple[FaultVerdict, ...]
    rounds: int
    requests: int

    @property
    def dual_total(self) -> Duration:
        """Return how long two nodes owned the address at the same time."""
        return sum(interval.length for interval in self.dual)

    @property
    def outage_total(self) -> Duration:
        """Return how long a client got no answer."""
        return sum(interval.length for interval in self.outages)


def judge(record: Record) -> Verdict:
    """Return the verdict on a finished record."""
    windows = _windows(record)
    lanes = {node: _lane(record, windows, node) for node in record.nodes}
    dual, outages = dual_ownership(record), outage_intervals(record.exchanges, record.end)
    limits = [*(span.begin for span in record.faults), record.end][1:]
    return Verdict(
        nodes=record.nodes,
        begin=record.begin,
        end=record.end,
        lanes=lanes,
        presence={node: _presence(record, node) for node in record.nodes},
        dual=dual,
        outages=outages,
        faults=tuple(
            _judge_fault(span, limit, lanes, dual, outages)
            for span, limit in zip(record.faults, limits, strict=True)
        ),
        rounds=len(record.rounds),
        requests=len(record.exchanges),
    )


def dual_ownership(record: Record) -> tuple[Interval, ...]:
    """Return the times in which two nodes answered the same question."""
    windows = _windows(record)
    answered: dict[tuple[int, str], set[str]] = {}
    for answer in record.answers:
        answered.setdefault((answer.round, answer.probe), set()).add(answer.node)
    rounds = {number for (number, _), nodes in answered.items() if len(nodes) > 1}
    return _merge(windows[number] for number in rounds if number in windows)


def outage_intervals(exchanges: Sequence[Exchange], end: Instant, kind: str = "udp") -> tuple[Interval, ...]:
    """Return the runs of unanswered requests of one kind; one still going on ends at ``end``.

    Requests before the first answered one belong to starting up, not to an outage.
    """
    found: list[Interval] = []
    since, started = None, False
    for exchange in sorted((e for e in exchanges if e.kind == kind), key=lambda e: e.sent):
        if exchange.node is None:
            since = exchange.sent if since is None and started else since
            continue
        if since is not None:
            found.append(Interval(since, exchange.sent))
        since, started = None, True
    if since is not None and end > since:
        found.append(Interval(since, end))
    return tuple(found)


def _windows(record: Record) -> dict[int, Interval]:
    """Return the time each round stands for: up to the next question, two periods at most."""
    longest = 2 * record.round_period
    windows = {
        this.number: Interval(this.sent, min(following.sent, this.sent + longest))
        for this, following in pairwise(record.rounds)
    }
    if record.rounds:
        last = record.rounds[-1]
        windows[last.number] = Interval(last.sent, last.sent + record.round_period)
    return windows


def _lane(record: Record, windows: dict[int, Interval], node: str) -> tuple[Interval, ...]:
    rounds = {answer.round for answer in record.answers if answer.node == node}
    return _merge((windows[n] for n in rounds if n in windows), slack=record.round_period)


def _merge(intervals: Iterable[Interval], slack: Duration = 0) -> tuple[Interval, ...]:
    """Join intervals that touch, or stand no more than ``slack`` apart."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=lambda i: i.begin):
        if merged and interval.begin <= merged[-1].end + slack:
            merged[-1] = Interval(merged[-1].begin, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return tuple(merged)


def _presence(record: Record, node: str) -> tuple[Interval, ...]:
    """Return when the node's kernel had any of the addresses."""
    have: set[str] = set()
    found, since = [], record.begin
    for change in (c for c in record.addresses if c.node == node):
        before = bool(have)
        (have.add if change.present else have.discard)(change.address)
        if not before and have:
            since = change.at
        elif before and not have:
            found.append(Interval(since, change.at))
    if have:
        found.append(Interval(since, record.end))
    return tuple(found)


def _judge_fault(
    span: FaultSpan,
    limit: Instant,
    lanes: dict[str, tuple[Interval, ...]],
    dual: Sequence[Interval],
    outages: Sequence[Interval],
) -> FaultVerdict:
    before = _owner_at(lanes, span.begin)
    during = [o for o in outages if o.begin < span.end and o.end > span.begin]
    after = [o for o in outages if span.end <= o.begin < limit]
    who, since = _taken_over(lanes, span, before)
    return FaultVerdict(
        span=span,
        dual=sum(_overlap(interval, span.begin, limit) for interval in dual),
        outage=max((o.length for o in during), default=0),
        outage_after=max((o.length for o in after), default=0),
        owner_before=before,
        taken_over_by=who,
        takeover=None if since is None else since - span.begin,
    )


def _overlap(interval: Interval, begin: Instant, end: Instant) -> Duration:
    return max(0, min(interval.end, end) - max(interval.begin, begin))


def _owner_at(lanes: dict[str, tuple[Interval, ...]], at: Instant) -> str | None:
    """Return who owned the address at ``at``; of two, the one that had it longer."""
    since = {node: i.begin for node, lane in lanes.items() for i in lane if i.begin <= at < i.end}
    return min(since, key=lambda node: since[node]) if since else None


def _taken_over(
    lanes: dict[str, tuple[Interval, ...]], span: FaultSpan, before: str | None
) -> tuple[str | None, Instant | None]:
    """Return the first node but ``before`` to own the address while the fault lasted, and since when."""
    starts = [
        (interval.begin, node)
        for node, lane in lanes.items()
        if node != before
        for interval in lane
        if span.begin < interval.begin < span.end
    ]
    if not starts:
        return None, None
    since, node = min(starts)
    return node, since
