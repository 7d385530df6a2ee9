"""A random campaign on one cluster: fire a shot, heal, wait until it is whole, judge the piece, count, go on.

Promises bounded memory (every piece is judged and dropped), the verdict of outside observers only, and the evidence of the
first failures on disk before the cluster is taken down. Ends at the first failure if the rules say so, as they do for
haagent: keepalived fails as a matter of course, and its sums are what a comparison wants.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.budget import NO_BUDGET, Bounds, Budget, budget
from haagent.lab.cluster import Cluster
from haagent.lab.evidence import Evidence
from haagent.lab.namespaces import LabError
from haagent.lab.nemesis import fire
from haagent.lab.report import in_words
from haagent.lab.shots import Shot
from haagent.lab.timekeeping import keeping_time
from haagent.lab.verdict import Verdict, judge
from haagent.lab.windows import SETTLED, cut

ARBITER_PATIENCE: Duration = 120 * SECOND  # ZooKeeper's own elections back off to a minute


@dataclass(frozen=True, slots=True)
class Rules:
    """How shots are judged. ``bounds`` None: outages are counted and not compared (keepalived)."""

    bounds: Bounds | None
    slack: Duration
    settle: Duration  # after healing, exactly one owner within this
    stop_at_failure: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """What one shot did. ``settled``: from healing until one owner was steady and every node back, with the rest; None: never.

    ``waited``: how long the agent that waited most for a processor did so, from the injection until the shot was judged.
    """

    shot: Shot
    target: str
    dual: Duration
    outage: Duration
    outage_after: Duration
    outage_sum: Duration
    budget: Budget
    over: bool
    settled: Duration | None
    failure: str
    waited: Duration = 0


@dataclass
class Tally:
    """Sums over all shots; grows by one Hit (a few hundred bytes) per shot."""

    begin: Instant
    end: Instant = 0
    hits: list[Hit] = field(default_factory=list)
    dual: Duration = 0
    outage: Duration = 0
    rounds: int = 0
    requests: int = 0
    failure: str = ""

    def add(self, hit: Hit, verdict: Verdict) -> None:
        """Count one more shot."""
        self.hits.append(hit)
        self.dual += verdict.dual_total
        self.outage += verdict.outage_total
        self.rounds += verdict.rounds
        self.requests += verdict.requests
        self.failure = self.failure or hit.failure
        self.end = time.monotonic_ns()

    @property
    def over(self) -> int:
        """Return how many shots had an outage over their budget."""
        return sum(hit.over for hit in self.hits)


Tell = Callable[[Hit, Tally], None]


class Torture:
    """One campaign on a running cluster."""

    def __init__(self, cluster: Cluster, rules: Rules, evidence: Evidence, tell: Tell) -> None:
        self._cluster, self._rules, self._evidence, self._tell = cluster, rules, evidence, tell
        self._steady = max(3 * cluster.spec.advert, 500 * MILLISECOND)
        self.tally = Tally(time.monotonic_ns())
        self._best = max(cluster.daemons, key=cluster.spec.priority)

    def run(self, shots: Iterator[Shot], until: Instant | None = None) -> Tally:
        """Fire ``shots`` (no new one after ``until``) and return the sums, also kept as ``tally``.

        Raises LabError when the cluster never comes up.
        """
        self._cluster.wait_until_up(self._steady, max(15 * self._cluster.spec.advert, 30 * SECOND))
        tally = self.tally = Tally(time.monotonic_ns())
        with (
            keeping_time()
        ):  # this thread holds the interpreter's lock now and then, and the observer waits for it
            self._play(takewhile(lambda _: until is None or time.monotonic_ns() < until, shots))
        tally.end = time.monotonic_ns()
        return tally

    def _play(self, shots: Iterator[Shot]) -> None:
        for shot in shots:
            hit, verdict = self._one(shot)
            self.tally.add(hit, verdict)
            self._tell(hit, self.tally)
            if hit.failure and self._rules.stop_at_failure:
                break

    def _one(self, shot: Shot) -> tuple[Hit, Verdict]:
        owner, waited = self._cluster.owner() or self._best, self._waits()
        span = fire(shot, self._cluster, owner, _sleep)
        settled = self._settle(shot, span.end)
        # one owner has been steady for longer than SETTLED, so no outage is cut in two
        piece = cut(self._cluster.record, time.monotonic_ns() - SETTLED)
        verdict = judge(piece)
        hit = self._hit(shot, verdict, settled, waited)
        if hit.failure:
            self._evidence.keep("failure", shot, hit.failure, piece, verdict)
        elif hit.over:
            what = f"outages of {in_words(hit.outage)} and {in_words(hit.outage_after)} after healing"
            what += f"; an agent waited {in_words(hit.waited)} for a processor"
            self._evidence.keep("over-budget", shot, what, piece, verdict)
        return hit, verdict

    def _settle(self, shot: Shot, healed: Instant) -> Duration | None:
        """Wait until every node is back and the best one owns the address again, or whoever has it when the time is over.

        The plan takes it for granted that nothing else is wrong, so no shot is fired at a cluster that is not whole. How
        long an arbiter takes to elect a leader among its own members is not the cluster's fault.
        """
        _sleep(shot.rest)
        electing = time.monotonic_ns()
        if shot.role == "arbiter":
            self._cluster.wait_until_served(ARBITER_PATIENCE)
        until = healed + self._rules.settle + time.monotonic_ns() - electing
        try:
            self._cluster.wait_until_whole(max(SECOND, until - time.monotonic_ns()))
        except LabError:
            return None
        left = max(SECOND, until - time.monotonic_ns())
        for among in ((self._best,), ()):
            try:
                self._cluster.wait_for_owner(self._steady, left, among)
            except LabError:
                left = self._steady + 2 * SECOND
            else:
                return time.monotonic_ns() - healed
        return None

    def _failure(self, verdict: Verdict, settled: Duration | None) -> str:
        ended = [
            name
            for name, one in self._cluster.daemons.items()
            if one.process is None or not one.process.alive
        ]
        if verdict.dual_total:
            return f"two owners at once for {verdict.dual_total / MILLISECOND:.0f} ms"
        if settled is None:
            return f"no single owner, or not every node back, within {self._rules.settle / SECOND:g} s after healing"
        if not verdict.rounds or not verdict.requests:
            return "nothing was observed"
        return f"daemon ended by itself on {', '.join(ended)}" if ended else ""

    def _waits(self) -> dict[int, Duration]:
        """Return how long each agent, by its pid, has waited for a processor so far."""
        running = (one.process for one in self._cluster.daemons.values() if one.process is not None)
        return {process.pid: process.waited_ns() for process in running}

    def _hit(
        self, shot: Shot, verdict: Verdict, settled: Duration | None, before: dict[int, Duration]
    ) -> Hit:
        judged = verdict.faults[-1]
        rules = self._rules
        allowed = budget(shot, rules.bounds) if rules.bounds is not None else NO_BUDGET
        over = allowed.exceeded(judged.outage, judged.outage_after, rules.slack)
        failure = self._failure(verdict, settled)
        outages = judged.outage, judged.outage_after, verdict.outage_total
        waited = max([0, *(now - before.get(pid, 0) for pid, now in self._waits().items())])
        return Hit(
            shot, judged.span.target, verdict.dual_total, *outages, allowed, over, settled, failure, waited
        )


def _sleep(duration: Duration) -> None:
    time.sleep(duration / SECOND)
