"""How long an address is without an owner: after a crash, and at a planned stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.cluster import Cluster, ClusterOptions, standard
from haagent.lab.daemons import ClusterSpec, DaemonKind
from haagent.lab.faults import Fault, Kill, Stop
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan
from haagent.lab.observers import Pace
from haagent.lab.verdict import Verdict, judge

PACE = Pace(round=5 * MILLISECOND, udp=2 * MILLISECOND, http=SECOND)


@contextlib.contextmanager
def cluster(
    kind: DaemonKind, advert: Duration, pace: Pace = PACE, arbiter: str = "etcd"
) -> Iterator[Cluster]:
    """Build two nodes with one address, observed every few ms."""
    usual = standard(kind, 2, ClusterSpec(advert=advert, vip6=None), arbiter=arbiter)
    options = ClusterOptions(
        kinds=usual.kinds,
        spec=usual.spec,
        arbiters=usual.arbiters,
        arbiter=usual.arbiter,
        addition=usual.addition,
        pace=pace,
    )
    with Cluster(options) as built:
        yield built


def wait_for_owner(built: Cluster, node: str) -> None:
    """Wait until ``node`` alone has answered for a while."""
    advert = built.spec.advert
    built.wait_for_owner(max(2 * advert, 300 * MILLISECOND), 20 * advert + 20 * SECOND, among=(node,))


def wait_for_answer(built: Cluster, node: str, since: Instant) -> None:
    """Wait until ``node`` has answered a question asked after ``since``."""
    until = time.monotonic_ns() + 20 * built.spec.advert + 5 * SECOND
    while time.monotonic_ns() < until:
        if any(a.node == node and a.at > since for a in built.record.answers[-8:]):
            return
        time.sleep(0.005)
    raise LabError(f"{node} did not take over\n{built.logs()}")


def repeat(context: AbstractContextManager[Cluster], runs: int, fault: Callable[[Cluster], Fault]) -> Verdict:
    """Break node1 ``runs`` times in one cluster, each time until node2 has it, and put it right again."""
    with context as built:
        for _ in range(runs):
            wait_for_owner(built, "node1")
            one = fault(built)
            begin = time.monotonic_ns()
            one.inject()
            wait_for_answer(built, "node2", begin)
            time.sleep(0.1)  # a client that follows late is part of the outage
            built.add_fault(FaultSpan(one.name, one.target, begin, time.monotonic_ns()))
            one.heal()
        wait_for_owner(built, "node1")
        return judge(built.finish())


def taken_over(verdict: Verdict) -> list[Duration]:
    """Return the time from each fault to node2's first answer.

    ``FaultVerdict.takeover`` would do but for an observer that just missed node1 at the fault: its next answer
    (its kernel goes on until the gate closes) would look like somebody else's first.
    """
    lane, spans = verdict.lanes["node2"], [fault.span for fault in verdict.faults]
    starts = [[i.begin for i in lane if span.begin < i.begin < span.end] for span in spans]
    return [min(found) - span.begin for found, span in zip(starts, spans, strict=True) if found]


def crash_takeovers(kind: DaemonKind, advert: Duration, runs: int) -> list[Duration]:
    """Return the times from kill -9 of the MASTER's daemon to the first answer of the other node."""
    verdict = repeat(cluster(kind, advert), runs, lambda built: Kill(built.daemons["node1"]))
    return taken_over(verdict)


def stop_outages(kind: DaemonKind, advert: Duration, runs: int) -> list[Duration]:
    """Return the longest times without an answer to a client at graceful stops of the MASTER's daemon."""
    verdict = repeat(cluster(kind, advert), runs, lambda built: Stop(built.daemons["node1"]))
    return [fault.outage for fault in verdict.faults]
