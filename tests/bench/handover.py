"""What a client loses when the address moves on purpose: a datagram every millisecond, and the longest time without an answer.

Each round moves the address away from node1, by a switchover or by SIGTERM, and lets it come back by preemption; both
moves are measured. The time between two answered datagrams counts, so a probe that was itself delayed makes it longer,
never shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from haagent.control.client import request
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, to_seconds
from haagent.lab.cluster import Cluster
from haagent.lab.daemons import DaemonKind, Haagent
from haagent.lab.namespaces import LabError
from haagent.lab.observations import Exchange
from haagent.lab.observers import Pace
from tests.bench import failover

Occasion = Literal["switchover", "stop"]
PACE = Pace(round=10 * MILLISECOND, udp=MILLISECOND, http=SECOND)
SETTLED = 250 * MILLISECOND  # before and after a move: a client that follows late is part of it


@dataclass(frozen=True, slots=True)
class Losses:
    """What each move cost: ``away`` from node1 on the occasion, ``back`` by preemption."""

    away: tuple[Duration, ...]
    back: tuple[Duration, ...]


def measure(
    kind: DaemonKind, occasion: Occasion, advert: Duration, runs: int, arbiter: str = "etcd"
) -> Losses:
    """Move the address away and back ``runs`` times in one cluster."""
    moves: list[tuple[Instant, Instant, Instant]] = []
    with failover.cluster(kind, advert, PACE, arbiter) as built:
        for _ in range(runs):
            failover.wait_for_owner(built, "node1")
            begun = time.monotonic_ns()
            come_back = _leave(built, occasion)
            away = _moved_to(built, "node2", begun)
            come_back()
            moves.append((begun, away, _moved_to(built, "node1", away)))
        exchanges = [one for one in built.finish().exchanges if one.kind == "udp"]
    return Losses(
        tuple(longest_silence(exchanges, "node2", begun, away) for begun, away, _ in moves),
        tuple(longest_silence(exchanges, "node1", away, back) for _, away, back in moves),
    )


def _leave(built: Cluster, occasion: Occasion) -> Callable[[], None]:
    """Make node1 give the address away; return what lets it come back."""
    daemon = built.daemons["node1"]
    if occasion == "stop":
        daemon.stop()
        return daemon.start
    if not isinstance(daemon, Haagent):
        raise LabError(f"{daemon.kind} knows no switchover")
    request(str(daemon.socket), "switchover", claim="VI_1")
    return lambda: None  # it stands back for two leases and preempts by itself


def _moved_to(built: Cluster, node: str, since: Instant) -> Instant:
    """Wait until ``node`` answers and what the client noticed of it is over; return when that was."""
    failover.wait_for_answer(built, node, since)
    time.sleep(to_seconds(SETTLED))
    return time.monotonic_ns()


def longest_silence(exchanges: Sequence[Exchange], node: str, begin: Instant, end: Instant) -> Duration:
    """Return the longest time between two answered requests while the address moved to ``node``.

    That is within ``SETTLED`` of its first answer; the period of the requests themselves is taken off. Without an
    answer of ``node`` it is the whole time.
    """
    answered = sorted(
        (one for one in exchanges if one.node is not None and begin <= one.sent < end),
        key=lambda one: one.sent,
    )
    moved = next((one.sent for one in answered if one.node == node), None)
    if moved is None:
        return end - begin
    return max(
        later.sent - earlier.sent - PACE.udp
        for earlier, later in pairwise(answered)
        if later.sent >= moved - SETTLED and earlier.sent <= moved + SETTLED
    )
