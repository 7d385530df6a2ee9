"""Checks the promise over flight recordings of several nodes, by what each of them recorded of itself.

Promises to say what was checked and what could not be: a recording proves what an agent decided and was told, not
what the kernel let pass. Times of two nodes are compared only if both count with the same clock (one kernel, one
time namespace); across hosts only the registers' versions and the epochs tell the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from haagent.agent.gate_record import GateRecord, Interval
from haagent.agent.recordings import RecordingError, parameters_of
from haagent.core.actions import OpenGate, SwapRegister
from haagent.core.events import RegisterChanged, RegisterRead, RegisterSwapped
from haagent.core.records import CLAIMS, shown_claim
from haagent.core.register import Record
from haagent.core.units import MILLISECOND, Duration
from haagent.effects.recording import Recording


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. ``violations`` empty means: nothing of what was ``checked`` contradicts the promise."""

    violations: tuple[str, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passing:
    """One interval and whose it is; ``clock`` names the clock its times are on."""

    node: str
    clock: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class Write:
    """One swap that succeeded for certain: which version of which register it replaced, and by what."""

    node: str
    name: str
    replaced: Record | None
    written: Record


class _Inquiry:
    """Collects over all recordings; ``verdict`` concludes."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.unchecked: list[str] = []
        self.passings: list[Passing] = []
        self.writes: list[Write] = []
        self.opened: dict[tuple[str, int], set[str]] = {}
        self._last: dict[tuple[str, str], int] = {}
        self.runs = 0

    def take(self, recording: Recording) -> None:
        about = recording.about
        node, name = str(about.get("node", "?")), _name(recording)
        self.runs += 1
        record = GateRecord()
        record.follow(recording.entries)
        clock = str(about.get("clock", ""))
        self.passings += [Passing(node, clock, interval) for interval in record.intervals]
        self._note_gaps(recording, name, stopped=record.stopped)
        if _arbitrated(recording):
            self.writes += writes(recording)
            if recording.entries:
                self._follow_epochs(recording, node, name)
        else:
            self.unchecked.append(f"{name}: plain VRRP, its epochs count for itself alone")

    def _note_gaps(self, recording: Recording, name: str, *, stopped: bool) -> None:
        numbers = [entry.number for entry in recording.entries]
        lost = sum(after - before - 1 for before, after in zip([0, *numbers], numbers, strict=False))
        if lost:
            self.unchecked.append(f"{name}: {lost} events are not in the recording")
        if recording.unreadable:
            self.unchecked.append(f"{name}: {recording.unreadable} lines cannot be read")
        if not stopped:
            self.unchecked.append(
                f"{name}: it ends without a clean stop; a second of renewals may be missing at its end, and its gate "
                "may have been open for that much longer"
            )

    def _follow_epochs(self, recording: Recording, node: str, name: str) -> None:
        """Every opening must be of an epoch that this node was seen to hold, and never below an earlier one."""
        held: set[tuple[str, int]] = set()
        complete = not recording.unreadable and recording.entries[-1].number == len(recording.entries)
        for entry in recording.entries:
            held |= set(_held(entry.event, node))
            for action in entry.actions:
                if isinstance(action, OpenGate):
                    known = not complete or (action.claim, action.epoch) in held
                    self._opening(action, node, name, known=known)

    def _opening(self, action: OpenGate, node: str, name: str, *, known: bool) -> None:
        claim, epoch = action.claim, action.epoch
        self.opened.setdefault((claim, epoch), set()).add(node)
        if not known:
            self.violations.append(
                f"{name} opened its gate for {claim} epoch {epoch}, which no answer of the arbiter showed as its own"
            )
        before = self._last.get((node, claim), 0)
        if epoch < before:
            self.violations.append(
                f"{name} opened its gate for {claim} epoch {epoch} after it had epoch {before}"
            )
        self._last[node, claim] = max(epoch, before)

    # -- conclusions

    def verdict(self) -> Verdict:
        checked = [
            f"{self.runs} runs: {len(self.passings)} intervals of an open gate, {len(self.writes)} successful writes"
        ]
        checked += self._epochs()
        checked += self._registers()
        checked += self._overlaps()
        self.unchecked.append("what the kernel let pass: recordings hold decisions, not packets")
        return Verdict(tuple(self.violations), tuple(checked), tuple(self.unchecked))

    def _epochs(self) -> Iterator[str]:
        for (claim, epoch), nodes in sorted(self.opened.items()):
            if len(nodes) > 1:
                self.violations.append(
                    f"{claim} epoch {epoch} has two holders: {' and '.join(sorted(nodes))}"
                )
        yield f"that none of {len(self.opened)} epochs has two holders, and that they do not go back on a node"

    def _registers(self) -> Iterator[str]:
        """A version replaced twice is a broken arbiter; an epoch that does not grow with its holder is a broken node."""
        successors: dict[tuple[str, str], Write] = {}
        for write in self.writes:
            self.violations += _bad_step(write)
            if write.replaced is None:
                continue
            first = successors.setdefault((write.name, write.replaced.version), write)
            if first.written.value != write.written.value:
                self.violations.append(
                    f"{write.name} version {write.replaced.version} was replaced twice, by {first.node} and by "
                    f"{write.node}: the arbiter is not linearizable, or it lost data in between"
                )
        yield (
            f"that none of {len(successors)} versions of registers was replaced twice, and that epochs grow with every "
            "change of holder"
        )

    def _overlaps(self) -> Iterator[str]:
        compared = unsure = 0
        apart: set[tuple[str, str]] = set()
        for one, other in combinations(self.passings, 2):
            if one.node == other.node or one.interval.claim != other.interval.claim:
                continue
            if not one.clock or one.clock != other.clock:
                apart.add((min(one.node, other.node), max(one.node, other.node)))
                continue
            compared += 1
            sure, possible = one.interval.overlap(other.interval)
            if sure > 0:
                self.violations.append(_overlap(one, other, sure))
            elif possible > 0:
                unsure += 1
        if unsure:
            self.unchecked.append(
                f"{unsure} pairs of intervals lie closer together than their clocks can tell"
            )
        for first, second in sorted(apart):
            self.unchecked.append(
                f"whether {first} and {second} passed traffic at once: their clocks cannot be compared"
            )
        yield f"that {compared} pairs of intervals of two nodes on the same clock do not overlap"


def verify(recordings: Sequence[Recording]) -> Verdict:
    """Check the recordings, several runs and nodes in any order but each node's runs in theirs."""
    inquiry = _Inquiry()
    for recording in recordings:
        inquiry.take(recording)
    return inquiry.verdict()


def writes(recording: Recording) -> Iterator[Write]:
    """Return the swaps of one run that succeeded for certain, with what they replaced."""
    node = str(recording.about.get("node", "?"))
    asked: dict[tuple[str, bytes], Record | None] = {}
    for entry in recording.entries:
        event = entry.event
        if isinstance(event, RegisterSwapped) and (event.name, event.record.value) in asked:
            yield Write(node, event.name, asked[event.name, event.record.value], event.record)
        for action in entry.actions:
            if isinstance(action, SwapRegister):
                asked[action.name, action.value] = action.expected


def _held(event: object, node: str) -> Iterable[tuple[str, int]]:
    """Return the (claim, epoch) that an answer shows as this node's."""
    if not isinstance(event, RegisterSwapped | RegisterRead | RegisterChanged):
        return ()
    claim = shown_claim(event.record) if event.name.startswith(CLAIMS) else None
    if claim is None or claim.holder is None or claim.holder.node != node:
        return ()
    return ((event.name.removeprefix(CLAIMS), claim.epoch),)


def _bad_step(write: Write) -> Iterator[str]:
    if not write.name.startswith(CLAIMS):
        return
    before, after = shown_claim(write.replaced), shown_claim(write.written)
    if before is None or after is None:
        return
    grown = after.holder is None or after.holder == before.holder or after.epoch > before.epoch
    if after.epoch < before.epoch or not grown:
        yield f"{write.node} wrote epoch {after.epoch} to {write.name} over epoch {before.epoch} of another holder"


def _overlap(one: Passing, other: Passing, length: Duration) -> str:
    first, second = sorted((one, other), key=lambda passing: passing.interval.begin.earliest)
    return (
        f"{first.node} (epoch {first.interval.epoch}) and {second.node} (epoch {second.interval.epoch}) both had "
        f"their gate open for {first.interval.claim}, for {length / MILLISECOND:.3f} ms"
    )


def _name(recording: Recording) -> str:
    about = recording.about
    return f"{about.get('node', '?')} (run {str(about.get('run', '?'))[:8]})"


def _arbitrated(recording: Recording) -> bool:
    try:
        return parameters_of(recording.about).arbitrated
    except RecordingError:
        return True  # an older description: assume that there was an arbiter
