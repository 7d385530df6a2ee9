"""When a node's gate was open, by its own flight recording: intervals on CLOCK_BOOTTIME, with their uncertainty.

The recording has ``fast`` and ``slow``, not CLOCK_BOOTTIME itself. Both began as CLOCK_BOOTTIME, one advances by the larger and
one by the smaller progress of two clocks of which it is one; so it lies between them, and each bound here is a pair.
Promises to say what was *decided*: what the kernel did a moment later is for the gate's own tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from haagent.core.actions import Action, CloseGate, ExtendGate, OpenGate, Tell
from haagent.core.reports import Stopped
from haagent.core.units import Duration, Now
from haagent.effects.recording import Entry


@dataclass(frozen=True, slots=True)
class Moment:
    """A CLOCK_BOOTTIME known to lie in [earliest, latest]."""

    earliest: int
    latest: int

    def plus(self, span: Duration) -> Moment:
        return Moment(self.earliest + span, self.latest + span)


@dataclass(frozen=True, slots=True)
class Interval:
    """For one claim and epoch, traffic could pass from ``begin`` to ``end``."""

    claim: str
    epoch: int
    begin: Moment
    end: Moment

    def overlap(self, other: Interval) -> tuple[Duration, Duration]:
        """Return by how much both were open at once: at least (negative: none for certain) and at most."""
        sure = min(self.end.earliest, other.end.earliest) - max(self.begin.latest, other.begin.latest)
        possible = min(self.end.latest, other.end.latest) - max(self.begin.earliest, other.begin.earliest)
        return sure, possible


@dataclass(slots=True)
class GateRecord:
    """Follows one gate through one run."""

    intervals: list[Interval] = field(default_factory=list)
    stopped: bool = False
    _open: dict[str, tuple[int, Moment]] = field(default_factory=dict)
    _deadline: Moment | None = None

    def follow(self, entries: Iterable[Entry]) -> None:
        """Take in what was done, in order, and close the books: a gate left open ends at its deadline."""
        for entry in entries:
            for action in entry.actions:
                self._act(action, entry.now)
        for claim in tuple(self._open):
            self._close(claim, None)

    def _act(self, action: Action, now: Now) -> None:
        at = Moment(now.slow, now.fast)
        match action:
            case OpenGate(claim, epoch):
                self._close(claim, at)
                self._open[claim] = (epoch, at)
            case CloseGate(claim):
                self._close(claim, at)
            case ExtendGate(until):
                self._extend(at, at.plus(until - now.fast) if until else None)
            case Tell(Stopped()):
                self.stopped = True

    def _extend(self, at: Moment, deadline: Moment | None) -> None:
        lapsed = self._deadline is None or self._deadline.latest <= at.earliest
        if lapsed or deadline is None:
            for claim, (epoch, _) in tuple(self._open.items()):
                self._close(claim, at)
                self._open[claim] = (epoch, at)  # the kernel lets it pass again from here on
        self._deadline = deadline

    def _close(self, claim: str, at: Moment | None) -> None:
        epoch, begin = self._open.pop(claim, (0, None))
        if begin is None or self._deadline is None:
            return
        end = self._deadline
        if at is not None:
            end = Moment(min(at.earliest, end.earliest), min(at.latest, end.latest))
        if end.latest > begin.earliest:
            self.intervals.append(Interval(claim, epoch, begin, end))
