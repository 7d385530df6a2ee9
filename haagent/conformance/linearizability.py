"""Judges a history: whether registers that keep the contract can have given these answers at these times.

Promises never to accuse an arbiter wrongly, and to find in one pass whatever contradicts the contract, except a
Conflict that was unjustified only by the exact moment of a concurrent write. Pure.

Theory. In general such a judgement is a search (Wing and Gong 1993, Lowe 2017). Here it is not: every value is
written once, and every swap names the record it replaces, so the writes that happened to a register form one chain

    nothing -> w1 -> w2 -> ...

in which each link is the expectation of the next. A swap of unknown outcome happened if somebody saw its value, or
built on it; if nobody did, it can only have happened at the end of the chain, and takes part in nothing. So first the
chain is built, where a fork is an update lost or a swap that succeeded twice. Then one walk along the chain gives
each write the earliest moment it can have had: not before its call began, not before its predecessor, not before
the reads that saw the predecessor (if reads are to be fresh). A moment after the call had returned is a
contradiction; with writes in a known order the earliest moments are possible if any are. A swap of unknown
outcome may take effect long after its call, but before the first answer that shows it.

Reads are hints: they may show any value that had been written by the time they returned. ``fresh_reads`` demands
more, that each shows what the register held at some moment during the call; some stores promise that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from haagent.arbiter import Record
from haagent.conformance.history import Operation, Outcome, Read, Swap, describe

NEVER = 1 << 63  # later than every time


class Fault(StrEnum):
    """What can be wrong."""

    DOUBLE_SUCCESS = "two swaps succeeded on one record"
    LOST_UPDATE = "a swap succeeded on a record that was not there"
    UNDONE = "a swap said Conflict and its value was there all the same"
    UNWRITTEN = "a value that nobody wrote"
    EARLY = "a value was there before anybody asked for it"
    ORDER = "no order of the swaps fits their times"
    STALE = "a read showed what was over before it began"
    VERSION = "versions do not stand for one write each"
    CONFLICT = "a Conflict although the register held what was expected"


@dataclass(frozen=True, slots=True)
class Violation:
    """One contradiction, and the operations it lies in."""

    fault: Fault
    name: str
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.fault}: " + "; ".join(
            f"{one.client} {describe(one)}" for one in self.operations
        )


def check(operations: Iterable[Operation], *, fresh_reads: bool = False) -> tuple[Violation, ...]:
    """Return every violation found; one that hides others stands alone. Registers begin absent.

    Raises ValueError for a history in which a value was written twice: nothing can be concluded from one.
    """
    registers: dict[str, _Register] = {}
    for one in operations:
        registers.setdefault(one.name, _Register(one.name)).add(one)
    return tuple(violation for one in registers.values() for violation in one.check(fresh_reads))


@dataclass(slots=True)
class _Link:
    """A write of the chain: when it can have happened at the earliest, and at the latest."""

    swap: Swap
    earliest: int = 0
    latest: int = NEVER


@dataclass(slots=True)
class _Register:
    """The operations of one register."""

    name: str
    swaps: dict[bytes, Swap] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    _versions: dict[bytes, str] = field(default_factory=dict)
    _found: list[Violation] = field(default_factory=list)

    def add(self, operation: Operation) -> None:
        match operation:
            case Read():
                self.reads.append(operation)
            case Swap(value=value):
                if value in self.swaps:
                    raise ValueError(f"{self.name}: a value was written twice: {describe(operation)}")
                self.swaps[value] = operation

    def check(self, fresh_reads: bool) -> list[Violation]:
        """Return what is wrong; the later checks make sense only on a chain."""
        self._check_values()
        chain = [] if self._found else self._chain()
        if not self._found:
            self._check_times(chain, fresh_reads)
        if not self._found:
            self._check_conflicts(chain)
        return self._found

    def _note(self, fault: Fault, *operations: Operation) -> None:
        self._found.append(Violation(fault, self.name, operations))

    # -- values and versions

    def _check_values(self) -> None:
        """Every record that was read or built on must be somebody's write, under one version."""
        versions: dict[str, Swap] = {}
        for swap in self.swaps.values():
            if swap.version is not None:
                self._versions[swap.value] = swap.version
                if versions.setdefault(swap.version, swap) is not swap:
                    self._note(Fault.VERSION, versions[swap.version], swap)
        for read in self.reads:
            if read.record is not None:
                self._check_record(read.record, read)
        for swap in self.swaps.values():
            if swap.expected is not None and swap.outcome is Outcome.WRITTEN:
                self._check_record(swap.expected, swap)

    def _check_record(self, record: Record, seen_by: Operation) -> None:
        writer = self.swaps.get(record.value)
        if writer is None:
            self._note(Fault.UNWRITTEN, seen_by)
        elif writer.outcome is Outcome.CONFLICT:
            self._note(Fault.UNDONE, writer, seen_by)
        elif writer.invoked > seen_by.returned:
            self._note(Fault.EARLY, writer, seen_by)
        elif self._versions.setdefault(record.value, record.version) != record.version:
            self._note(Fault.VERSION, writer, seen_by)

    # -- the chain

    def _happened(self) -> dict[bytes, Swap]:
        """Return the swaps that must have happened, by value: they said so, were seen, or were built on."""
        happened: dict[bytes, Swap] = {}
        waiting = [one.value for one in self.swaps.values() if one.outcome is Outcome.WRITTEN]
        waiting += [one.record.value for one in self.reads if one.record is not None]
        while waiting:
            value = waiting.pop()
            if value in happened:
                continue
            swap = self.swaps.get(value)
            if swap is None:
                continue  # the swap that builds on it is found to be wrong below
            happened[value] = swap
            if swap.expected is not None:
                waiting.append(swap.expected.value)
        return happened

    def _chain(self) -> list[_Link]:
        """Return the writes in their order, having noted forks and ends that hang in the air."""
        happened = self._happened()
        after: dict[bytes | None, Swap] = {}
        for swap in happened.values():
            before = None if swap.expected is None else swap.expected.value
            if (rival := after.setdefault(before, swap)) is not swap:
                self._note(Fault.DOUBLE_SUCCESS, rival, swap)
            elif before is not None and self._undone(before):
                self._note(Fault.LOST_UPDATE, swap)
        chain: list[_Link] = []
        value: bytes | None = None
        while (following := after.get(value)) is not None and len(chain) < len(after):
            chain.append(_Link(following))
            value = following.value
        if not self._found and len(chain) < len(happened):
            reached = {link.swap.value for link in chain}
            self._note(Fault.LOST_UPDATE, *[s for v, s in happened.items() if v not in reached][:2])
        return chain

    def _undone(self, value: bytes) -> bool:
        writer = self.swaps.get(value)
        return writer is None or writer.outcome is Outcome.CONFLICT

    # -- times

    def _check_times(self, chain: Sequence[_Link], fresh_reads: bool) -> None:
        """Give every write of the chain its span, and note where there is none."""
        readers = self._readers()
        for link in chain:
            written = link.swap.outcome is Outcome.WRITTEN
            shown = min((read.returned for read in readers[link.swap.value]), default=NEVER)
            link.latest = min(link.swap.returned if written else NEVER, shown)
        for link, successor in zip(reversed(chain[:-1]), reversed(chain[1:]), strict=True):
            link.latest = min(link.latest, successor.latest)
        moment = 0
        before: Swap | None = None
        for link in chain:
            moment = link.earliest = max(moment, link.swap.invoked)
            if moment > link.latest:
                self._note(Fault.ORDER, *(() if before is None else (before,)), link.swap)
                return
            before = link.swap
        if fresh_reads:
            self._check_freshness(chain, readers)

    def _readers(self) -> dict[bytes | None, list[Read]]:
        """Return the reads by the value they showed."""
        readers: dict[bytes | None, list[Read]] = defaultdict(list)
        for read in self.reads:
            readers[None if read.record is None else read.record.value].append(read)
        return readers

    def _check_freshness(self, chain: Sequence[_Link], readers: Mapping[bytes | None, list[Read]]) -> None:
        """Walk the chain again, each value staying until the last call that saw it had begun."""
        moment, last = 0, max(readers.get(None, ()), key=_invoked, default=None)
        for link in chain:
            moment = max(moment, link.swap.invoked, last.invoked if last is not None else 0)
            if moment > link.latest:
                self._note(Fault.STALE, link.swap, *(() if last is None else (last,)))
                return
            last = max(readers.get(link.swap.value, ()), key=_invoked, default=None)

    # -- conflicts

    def _check_conflicts(self, chain: Sequence[_Link]) -> None:
        """Note a Conflict whose whole call lies in the time when the register is sure to have held what it expected."""
        spans = self._spans(chain)
        for swap in self.swaps.values():
            if swap.outcome is not Outcome.CONFLICT:
                continue
            value = None if swap.expected is None else swap.expected.value
            begin, end = spans.get(value, (NEVER, 0))
            if swap.expected is not None and self._versions.get(swap.expected.value) != swap.expected.version:
                continue
            if begin < swap.invoked and swap.returned < end:
                self._note(Fault.CONFLICT, swap)

    def _spans(self, chain: Sequence[_Link]) -> dict[bytes | None, tuple[int, int]]:
        """Return, per value, by when the register was sure to hold it, and until when it was sure to."""
        values: list[bytes | None] = [None, *(link.swap.value for link in chain)]
        begins = [-1, *(link.latest for link in chain)]
        ends = [*(link.earliest for link in chain), NEVER]
        spans = {v: (b, e) for v, b, e in zip(values, begins, ends, strict=True)}
        for swap in self.swaps.values():  # those nobody saw may have ended the last value
            value = None if swap.expected is None else swap.expected.value
            if swap.outcome is Outcome.UNKNOWN and value == values[-1] and swap.value not in spans:
                spans[value] = spans[value][0], min(spans[value][1], swap.invoked)
        return spans


def _invoked(operation: Operation) -> int:
    return operation.invoked
