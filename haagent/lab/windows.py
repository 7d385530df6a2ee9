"""Cuts what was observed so far off a growing record, so that a run of hours is judged in pieces of seconds.

Promises that no question and no request falls between two pieces: both are cut by the time they were sent, and the cut lies
far enough back for every answer to have come.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Protocol, TypeVar

from haagent.core.units import MILLISECOND, Duration, Instant
from haagent.lab.observations import AddressChange, Record

SETTLED: Duration = 500 * MILLISECOND  # after this, an unanswered question stays unanswered


class _Sent(Protocol):
    @property
    def sent(self) -> Instant: ...


class _At(Protocol):
    @property
    def at(self) -> Instant: ...


S = TypeVar("S", bound=_Sent)
A = TypeVar("A", bound=_At)
T = TypeVar("T")


def cut(record: Record, at: Instant) -> Record:
    """Take everything sent or seen before ``at`` out of ``record`` and return it; observers may go on writing.

    At least two rounds stay behind: the observer reads the last ones to say who answers now.
    """
    piece = Record(nodes=record.nodes, begin=record.begin, end=at, round_period=record.round_period)
    keep = record.rounds[-2].sent if len(record.rounds) > 1 else 0
    piece.rounds = _take(record.rounds, _count_sent(record.rounds, min(at, keep)))
    last = piece.rounds[-1].number if piece.rounds else -1
    piece.answers = _take(
        record.answers, sum(1 for _ in takewhile(lambda a: a.round <= last, record.answers))
    )
    # an unanswered request is written down late, so these are not in order of sending
    seen = record.exchanges[:]
    piece.exchanges = [exchange for exchange in seen if exchange.sent < at]
    record.exchanges[: len(seen)] = [exchange for exchange in seen if exchange.sent >= at]
    piece.adverts = _take(record.adverts, _count_at(record.adverts, at))
    piece.addresses = _take(record.addresses, _count_at(record.addresses, at))
    record.addresses[:0] = _still_there(piece.addresses, at)
    piece.faults = _take(record.faults, sum(1 for span in record.faults if span.begin < at))
    record.begin = at
    return piece


def _take(items: list[T], count: int) -> list[T]:
    taken = items[:count]
    del items[:count]
    return taken


def _still_there(changes: list[AddressChange], at: Instant) -> list[AddressChange]:
    """Return what the next piece must know: the addresses that are present at its beginning."""
    last = {(change.node, change.address): change.present for change in changes}
    return [AddressChange(at, node, address, present=True) for (node, address), here in last.items() if here]


def _count_sent(items: list[S], before: Instant) -> int:
    return sum(1 for _ in takewhile(lambda item: item.sent < before, items))


def _count_at(items: list[A], before: Instant) -> int:
    return sum(1 for _ in takewhile(lambda item: item.at < before, items))
