"""What was asked of an arbiter and what it answered, with the times of both, for ``linearizability`` to judge.

Promises to change nothing about a call: ``RecordingArbiter`` passes on every argument, answer and error. Times are
CLOCK_MONOTONIC in nanoseconds of one process, so one history can only hold what one process did.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from haagent.arbiter import Arbiter, Conflict, Record


class Outcome(StrEnum):
    """What the caller of a swap was told. ``UNKNOWN``: it may have happened, or happen at any later time."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Swap:
    """One call of ``swap``. ``version`` is None unless it was written; ``invoked`` and ``returned`` in ns."""

    client: str
    name: str
    value: bytes
    expected: Record | None
    invoked: int
    returned: int
    outcome: Outcome
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One call of ``read`` that was answered."""

    client: str
    name: str
    invoked: int
    returned: int
    record: Record | None


Operation: TypeAlias = Swap | Read


class History:
    """The operations of any number of clients, in the order in which they ended."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self.operations: list[Operation] = list(operations)
        self.failed_reads = 0

    def __len__(self) -> int:
        return len(self.operations)

    def count(self, outcome: Outcome) -> int:
        """Return how many swaps ended with ``outcome``."""
        return sum(isinstance(one, Swap) and one.outcome is outcome for one in self.operations)

    def lines(self) -> Iterator[str]:
        """Yield the history for people: one operation a line, times in us since the first."""
        begun = min((one.invoked for one in self.operations), default=0)
        for one in sorted(self.operations, key=lambda operation: operation.invoked):
            span = f"{(one.invoked - begun) // 1000:>10} {(one.returned - begun) // 1000:>10}"
            yield f"{span} {one.client} {describe(one)}"


class RecordingArbiter:
    """An arbiter that writes down what ``client`` does with it."""

    def __init__(self, arbiter: Arbiter, history: History, client: str) -> None:
        self.arbiter, self._history, self._client = arbiter, history, client

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Pass the call on; only an answered one is recorded."""
        invoked = time.monotonic_ns()
        try:
            record = await self.arbiter.read(name, timeout=timeout)
        except BaseException:
            self._history.failed_reads += 1
            raise
        self._history.operations.append(Read(self._client, name, invoked, time.monotonic_ns(), record))
        return record

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Pass the call on; whatever ends it but a version or a Conflict is recorded as unknown."""
        invoked = time.monotonic_ns()
        outcome, version = Outcome.UNKNOWN, None
        try:
            version = await self.arbiter.swap(name, value, expected, timeout=timeout)
            outcome = Outcome.WRITTEN
        except Conflict:
            outcome = Outcome.CONFLICT
            raise
        finally:
            returned = time.monotonic_ns()
            swap = Swap(self._client, name, value, expected, invoked, returned, outcome, version)
            self._history.operations.append(swap)
        return version

    def changes(self) -> AsyncIterator[tuple[str, Record | None]]:
        """Pass the stream on, unrecorded: it is hints."""
        return self.arbiter.changes()

    async def aclose(self) -> None:
        """Close the arbiter."""
        await self.arbiter.aclose()


def describe(operation: Operation) -> str:
    """Return what was asked and answered, without the times."""
    match operation:
        case Read(name=name, record=record):
            return f"read {name} -> {_short(record)}"
        case Swap(name=name, value=value, expected=expected, outcome=outcome, version=version):
            answer = f"version {version}" if outcome is Outcome.WRITTEN else outcome.value
            return f"swap {name} {_short(expected)} to {_digest(value)} -> {answer}"


def _short(record: Record | None) -> str:
    return "nothing" if record is None else f"{_digest(record.value)} at version {record.version}"


def _digest(value: bytes) -> str:
    """Return a value as far as it fits into a line."""
    return value[:48].decode() if value.isascii() else b64encode(value[:36]).decode()
