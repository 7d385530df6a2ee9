"""A rehearsal from the first fault to the last: aim, inject, hold, heal, settle, cut the records, judge, go on.

Promises a verdict of outside observers only, that whatever was injected is healed, and that one bad fault does not end the
run: what could not be played says why. Nothing here decides how long an outage may be: that is the plan's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from haagent.core.units import SECOND, Duration, Instant
from haagent.lab.budget import NO_BUDGET, Bounds, Budget
from haagent.lab.evidence import MOST, copy_files
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan
from haagent.lab.rehearsal.aiming import Aim
from haagent.lab.rehearsal.catalogue import Entry
from haagent.lab.rehearsal.stage import Stage
from haagent.lab.rehearsal.stubs import Notification
from haagent.lab.report import in_words
from haagent.lab.verdict import Interval, Verdict, judge
from haagent.lab.windows import SETTLED, cut

MOST_HOLD: Duration = 20 * SECOND


@dataclass(frozen=True, slots=True)
class Tempo:
    """How long things are left alone: a fault held, one owner ``steady``, at most ``patience`` until there is one."""

    hold: Duration
    steady: Duration
    patience: Duration

    @classmethod
    def of(cls, advert: Duration, lease: Duration, preempt_delay: Duration) -> Tempo:
        """Return a tempo in which plain VRRP and a lease of this length both have time to take over."""
        hold = min(MOST_HOLD, max(4 * advert, 2 * lease, 2 * SECOND) + SECOND)
        steady = min(5 * SECOND, max(advert, SECOND))
        return cls(hold, steady, max(10 * advert, 12 * SECOND) + min(preempt_delay, 30 * SECOND))

    def estimate(self, entries: Sequence[Entry], repeat: int) -> Duration:
        """Return how long a run takes when all goes well."""
        each = self.steady + self.hold // 3 + SECOND
        return 8 * SECOND + repeat * sum(round(self.hold * one.hold) + each for one in entries)


@dataclass(frozen=True, slots=True)
class Seen:
    """One fault as one instance's client saw it."""

    verdict: Verdict

    @property
    def outage(self) -> Duration:
        """The longest that began while the fault lasted."""
        return self.verdict.faults[-1].outage

    @property
    def after(self) -> Duration:
        """The longest that began after it healed."""
        return self.verdict.faults[-1].outage_after


@dataclass(frozen=True, slots=True)
class Scene:
    """One fault played. ``settled``: from healing until every instance had one steady owner; None: never."""

    number: int
    place: int  # in the list of the run, left out ones counted: the same on every stage
    entry: Entry
    target: str
    description: str
    begin: Instant
    end: Instant
    span: FaultSpan
    seen: dict[str, Seen]
    gates: dict[str, tuple[Interval, ...]]
    arbiter: tuple[Interval, ...] | None  # None: nobody could ask it
    notified: dict[str, tuple[Notification, ...]]
    budget: Budget
    slack: Duration
    settled: Duration | None
    failure: str

    @property
    def dual(self) -> Duration:
        """How long two nodes answered for the same address, the worst instance."""
        return max((one.verdict.dual_total for one in self.seen.values()), default=0)

    @property
    def outage(self) -> Duration:
        """The longest outage while the fault lasted, of the worst instance."""
        return max((one.outage for one in self.seen.values()), default=0)

    @property
    def after(self) -> Duration:
        """The longest outage after it healed, of the worst instance."""
        return max((one.after for one in self.seen.values()), default=0)

    @property
    def over_during(self) -> bool:
        """Whether the outage while it lasted is above the plan."""
        return self.budget.exceeded(self.outage, 0, self.slack)

    @property
    def over_after(self) -> bool:
        """Whether the outage after it healed is above the plan."""
        return self.budget.exceeded(0, self.after, self.slack)

    @property
    def over(self) -> bool:
        """Whether either is."""
        return self.over_during or self.over_after


@dataclass(frozen=True, slots=True)
class Skipped:
    """A fault that was not played, and why."""

    entry: Entry
    why: str


@dataclass
class Rehearsal:
    """Everything that happened on one stage; grows by one Scene per fault."""

    kind: str
    scenes: list[Scene] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    interrupted: str = ""

    @property
    def dual(self) -> Duration:
        """All dual ownership, summed over the faults."""
        return sum(scene.dual for scene in self.scenes)

    @property
    def over(self) -> int:
        """How many faults had an outage above the plan."""
        return sum(scene.over for scene in self.scenes)

    @property
    def rounds(self) -> int:
        """How often all nodes were asked at once."""
        return sum(seen.verdict.rounds for scene in self.scenes for seen in scene.seen.values())

    @property
    def requests(self) -> int:
        """How many requests the clients sent."""
        return sum(seen.verdict.requests for scene in self.scenes for seen in scene.seen.values())

    @property
    def failures(self) -> list[Scene]:
        """The faults that broke a promise."""
        return [scene for scene in self.scenes if scene.failure]

    @property
    def longest(self) -> Duration:
        """The longest outage of all."""
        return max((max(scene.outage, scene.after) for scene in self.scenes), default=0)


Tell = Callable[[Scene | Skipped | str], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """How scenes are judged. ``bounds`` None: outages are measured and not compared."""

    tempo: Tempo
    bounds: Bounds | None
    slack: Duration
    evidence: Path | None = None  # where the nodes' files go when a fault ended badly


class Director:
    """Plays entries on a running stage."""

    def __init__(self, stage: Stage, rules: Rules, tell: Tell) -> None:
        self._stage, self._rules, self._tell = stage, rules, tell
        self.rehearsal = Rehearsal(stage.play.kind)
        self._place = 0
        self._epochs: dict[str, int] = {}
        self._told: dict[str, int] = dict.fromkeys(stage.machines, 0)

    def run(self, entries: Iterator[Entry]) -> Rehearsal:
        """Play all; return what happened, also kept as ``rehearsal`` while it goes on. Raises LabError."""
        tempo = self._rules.tempo
        self._stage.await_start(tempo.steady, max(tempo.patience, 60 * SECOND))
        self._cut(time.monotonic_ns() - SETTLED)
        for self._place, entry in enumerate(entries, 1):
            why = entry.needs(self._stage)
            if why:
                self._add(Skipped(entry, why))
                continue
            try:
                self._add(self._play(entry))
            except LabError as error:
                if self._stage.ended():
                    raise
                self._add(Skipped(entry, f"could not be played: {error}"))
        return self.rehearsal

    def _add(self, what: Scene | Skipped) -> None:
        if isinstance(what, Scene):
            self.rehearsal.scenes.append(what)
        else:
            if any(one.entry.name == what.entry.name for one in self.rehearsal.skipped):
                return
            self.rehearsal.skipped.append(what)
        self._tell(what)

    def _play(self, entry: Entry) -> Scene:
        stage, tempo = self._stage, self._rules.tempo
        aim = self._aim()
        hold = round(tempo.hold * entry.hold)
        fault = entry.make(aim)
        begin = time.monotonic_ns()
        try:
            fault.inject()
            time.sleep(max(0, hold - (time.monotonic_ns() - begin)) / SECOND)
        finally:
            end = time.monotonic_ns()
            fault.heal()
            span = FaultSpan(entry.name, fault.target or "arbiter", begin, end, fault.description)
            stage.add_fault(span)
        settled = self._settle(end)
        scene = self._judge(entry, span, settled)
        if scene.failure:
            self._keep(scene)
        return scene

    def _keep(self, scene: Scene) -> None:
        """Copy logs, configurations and recordings of every node, of the first few failures."""
        if self._rules.evidence is None or len(self.rehearsal.failures) >= MOST:
            return
        place = self._rules.evidence / f"{self.rehearsal.kind}-{scene.number}-{scene.entry.name}"
        for name, daemon in self._stage.daemons.items():
            copy_files(daemon.directory, place / name)

    def _aim(self) -> Aim:
        stage = self._stage
        first = stage.watched[0]
        owner = stage.owner_of(first) or first.best
        rivals = [name for name, machine in stage.machines.items() if name != owner]
        return Aim(stage, owner, rivals[0])

    def _settle(self, healed: Instant) -> Duration | None:
        """Wait for the best nodes to own everything again, or else for whoever has it when the time is over."""
        tempo = self._rules.tempo
        if self._stage.settle(tempo.steady, tempo.patience, best=True):
            return time.monotonic_ns() - healed
        if self._stage.settle(tempo.steady, tempo.steady + 3 * SECOND, best=False):
            return time.monotonic_ns() - healed
        return None

    def _cut(self, at: Instant) -> dict[str, Seen]:
        return {name: Seen(judge(cut(record, at))) for name, record in self._stage.records.items()}

    def _judge(self, entry: Entry, span: FaultSpan, settled: Duration | None) -> Scene:
        stage, rules = self._stage, self._rules
        begin = min(record.begin for record in stage.records.values())
        at = time.monotonic_ns() - SETTLED
        seen = self._cut(at)
        allowed = entry.allow(rules.bounds, span.end - span.begin) if rules.bounds is not None else NO_BUDGET
        notified = self._notified()
        return Scene(
            number=len(self.rehearsal.scenes) + 1,
            place=self._place,
            entry=entry,
            target=span.target,
            description=span.description,
            begin=begin,
            end=at,
            span=span,
            seen=seen,
            gates={name: stage.lanes.gate(name, begin, at) for name in stage.lanes.gates},
            arbiter=stage.lanes.arbiter(begin, at) if stage.lanes.members else None,
            notified=notified,
            budget=allowed,
            slack=rules.slack,
            settled=settled,
            failure=self._failure(seen, settled, notified),
        )

    def _notified(self) -> dict[str, tuple[Notification, ...]]:
        """Return what every node's scripts were told since the last scene."""
        found = {}
        for name, stubs in self._stage.stubs.items():
            every = stubs.notifications()
            found[name] = every[self._told[name] :]
            self._told[name] = len(every)
        return found

    def _failure(
        self, seen: dict[str, Seen], settled: Duration | None, notified: dict[str, tuple[Notification, ...]]
    ) -> str:
        dual = {name: one.verdict.dual_total for name, one in seen.items() if one.verdict.dual_total}
        if dual:
            return "; ".join(f"two owners of {name} for {in_words(length)}" for name, length in dual.items())
        blind = [name for name, one in seen.items() if not one.verdict.rounds or not one.verdict.requests]
        if blind:
            return f"nothing was observed of {', '.join(blind)}"
        ended = self._stage.ended()
        if ended:
            return f"the daemon ended by itself on {', '.join(ended)}"
        if settled is None:
            return f"no single owner after healing: {self._stage.answering()}"
        return self._epochs_fell(notified)

    def _epochs_fell(self, notified: dict[str, tuple[Notification, ...]]) -> str:
        """Return what is wrong when a MASTER was told an epoch below one that was told before."""
        told = sorted(
            (one for many in notified.values() for one in many if one.epoch), key=lambda one: one.at
        )
        for one in told:
            name, state = ([*one.words, "", "", "", ""])[2:4]
            if state != "MASTER":
                continue
            if one.epoch < self._epochs.get(name, 0):
                return f"epoch of {name} fell from {self._epochs[name]} to {one.epoch}"
            self._epochs[name] = one.epoch
        return ""
