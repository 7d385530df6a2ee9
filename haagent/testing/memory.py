"""An arbiter in this process, shared by any number of clients, with faults to switch on.

Promises to obey the contract exactly while no fault is switched on. ``MemoryStore`` is the backend,
``MemoryArbiter`` one node's connection to it, ``Faults`` what goes wrong on that connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TypeAlias

from haagent.arbiter import Conflict, Misconfigured, Record, Unavailable

Change: TypeAlias = tuple[str, Record | None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a store held at one moment, and where its versions stood."""

    records: tuple[tuple[str, Record], ...]
    revision: int


class MemoryStore:
    """Registers with versions that count up over the whole store, as etcd's revisions do."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._revision = 0
        self._watchers: list[asyncio.Queue[Change]] = []

    def swap(self, name: str, value: bytes, expected: Record | None) -> str:
        """Compare, write and return the new version, in one step. Raises Conflict."""
        held = self.records.get(name)
        if held is not None and held.value == value:
            return held.version
        if held != expected:
            raise Conflict(f"{name} holds {'nothing' if held is None else 'version ' + held.version}")
        self._revision += 1
        self._put(name, Record(value, str(self._revision)))
        return str(self._revision)

    def delete(self, name: str) -> None:
        """Remove one register, as an operator or the expiry of a store's own session would."""
        self._put(name, None)

    def wipe(self) -> None:
        """Lose everything; versions begin again."""
        self.restore(Snapshot((), 0))

    def snapshot(self) -> Snapshot:
        """Return what ``restore`` takes."""
        return Snapshot(tuple(self.records.items()), self._revision)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to ``snapshot``. Versions given out since then are given out again."""
        for name in tuple(self.records):
            self._put(name, None)
        for name, record in snapshot.records:
            self._put(name, record)
        self._revision = snapshot.revision

    def watch(self) -> asyncio.Queue[Change]:
        """Return a queue that receives every change from now on."""
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watchers.append(queue)
        return queue

    def unwatch(self, queue: asyncio.Queue[Change]) -> None:
        """Stop filling ``queue``."""
        self._watchers.remove(queue)

    def _put(self, name: str, record: Record | None) -> None:
        if record is None:
            self.records.pop(name, None)
        else:
            self.records[name] = record
        for queue in self._watchers:
            queue.put_nowait((name, record))


@dataclass(slots=True)
class Faults:
    """What goes wrong on one connection; the counts apply to the next so many calls, -1 to all of them.

    ``before``: Unavailable, and the write does not happen. ``after``: Unavailable, and it has happened.
    ``late``: Unavailable, and it happens ``delay`` seconds later. ``hang``: no answer until the call's timeout.
    ``delay`` seconds precede every answer. ``stale`` makes reads show ``past``. ``deaf`` loses changes.
    """

    before: int = 0
    after: int = 0
    late: int = 0
    hang: int = 0
    misconfigured: int = 0
    delay: float = 0.0
    deaf: bool = False
    stale: bool = False
    past: dict[str, Record] = field(default_factory=dict)

    def strike(self, kind: str) -> bool:
        """Say whether the fault ``kind`` hits this call, and count it."""
        left: int = getattr(self, kind)
        if left > 0:
            setattr(self, kind, left - 1)
        return left != 0

    def freeze_reads(self, store: MemoryStore) -> None:
        """From now on show reads what ``store`` holds at this moment."""
        self.stale, self.past = True, dict(store.records)


class MemoryArbiter:
    """One node's connection to a MemoryStore."""

    def __init__(self, store: MemoryStore, faults: Faults | None = None) -> None:
        self.store, self.faults = store, faults or Faults()
        self.reads = self.swaps = 0
        self._closed = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what the register holds, or held when the reads were frozen."""
        self.reads += 1
        await self._travel(timeout)
        records = self.faults.past if self.faults.stale else self.store.records
        return records.get(name)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Swap in the store; see Faults for what may come between."""
        self.swaps += 1
        if self.faults.strike("late"):
            self._apply_later(name, value, expected)
            raise Unavailable("fault: the write comes late")
        await self._travel(timeout)
        version = self.store.swap(name, value, expected)
        if self.faults.strike("after"):
            raise Unavailable("fault: the answer was lost")
        return version

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield what the store holds and then its changes, until closed."""
        queue = self.store.watch()
        closed = asyncio.create_task(self._closed.wait())
        try:
            for change in tuple(self.store.records.items()):
                yield change
            while not self._closed.is_set():
                waiting = asyncio.create_task(queue.get())
                try:
                    await asyncio.wait((waiting, closed), return_when=asyncio.FIRST_COMPLETED)
                    if waiting.done() and not self.faults.deaf:
                        yield waiting.result()
                finally:
                    waiting.cancel()
        finally:
            closed.cancel()
            self.store.unwatch(queue)

    async def aclose(self) -> None:
        """Refuse further calls and end the streams of changes."""
        self._closed.set()
        for task in self._late:
            task.cancel()

    async def _travel(self, timeout: float) -> None:
        """Take the way to the store, with everything that may happen on it."""
        if self._closed.is_set():
            raise Unavailable("this arbiter is closed")
        if self.faults.strike("misconfigured"):
            raise Misconfigured("fault: wrong credentials")
        hangs = self.faults.strike("hang")
        await asyncio.sleep(timeout if hangs else min(self.faults.delay, timeout))
        if hangs or self.faults.delay >= timeout:
            raise Unavailable(f"no answer within {timeout:.3f} s")
        if self.faults.strike("before"):
            raise Unavailable("fault: the request was lost")

    def _apply_later(self, name: str, value: bytes, expected: Record | None) -> None:
        async def apply() -> None:
            await asyncio.sleep(self.faults.delay)
            try:
                self.store.swap(name, value, expected)
            except Conflict:
                return  # somebody else was faster; the caller was told that nothing is known

        task = asyncio.create_task(apply())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
