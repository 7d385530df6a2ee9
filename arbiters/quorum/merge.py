"""The hints of all members as one stream: a register's change is shown when a majority of members shows it.

Promises hints only. A change that too few members announce is looked up by a read a moment later, so members
that give no hints are no hindrance. A register that a member lost is not gone; the quorum is told to look after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol, TypeAlias

from arbiters.quorum.acceptor import ForeignStateError, State, decode
from arbiters.quorum.members import Member
from haagent.arbiter import ArbiterError, Record

Change: TypeAlias = tuple[str, Record | None]

LOOK_AFTER = 0.05  # seconds until a change announced by a minority is looked up
LOOK_TIMEOUT = 1.0


class Quorum(Protocol):
    """What merging needs of the arbiter."""

    @property
    def members(self) -> tuple[Member, ...]: ...

    @property
    def majority(self) -> int: ...

    async def read(self, name: str, *, timeout: float) -> Record | None: ...

    def suspect(self, name: str) -> None: ...

    def saw(self, name: str, state: State) -> None: ...


def register_name(stored: str) -> str | None:
    """Return the register whose state a member keeps as ``stored``; None for a stranger's."""
    kind, colon, rest = stored.removeprefix("claims/").partition(":")
    return f"{kind}/{rest}" if colon and kind in {"claims", "sessions"} else None


class _Merge:
    """What every member showed last, and the registers that changed."""

    def __init__(self, quorum: Quorum) -> None:
        self._quorum = quorum
        self._seen: dict[str, dict[int, State]] = {}
        self._shown: dict[str, str] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self.changed: asyncio.Queue[Change | None] = asyncio.Queue()

    async def follow(self, number: int) -> None:
        """Take in the hints of one member, for good."""
        async for stored, record in self._quorum.members[number].changes():
            if (name := register_name(stored)) is not None:
                self._take(number, name, record)

    def end(self) -> None:
        """Stop looking up."""
        for task in self._looking.values():
            task.cancel()

    def _take(self, number: int, name: str, record: Record | None) -> None:
        try:
            state = decode(None if record is None else record.value, len(self._quorum.members))
        except ForeignStateError:
            return
        self._quorum.saw(name, state)
        seen = self._seen.setdefault(name, {})
        if state.accepted is None and number in seen and seen[number].accepted is not None:
            self._quorum.suspect(name)
        seen[number] = state
        if state.accepted is None:
            return
        ballot = state.accepted.ballot
        agreeing = [s for s in seen.values() if s.accepted is not None and s.accepted.ballot == ballot]
        if len(agreeing) >= self._quorum.majority:
            self._show(name, Record(state.accepted.value, state.accepted.version))
        elif name not in self._looking and self._shown.get(name) != state.accepted.version:
            task = asyncio.create_task(self._look(name))
            self._looking[name] = task
            task.add_done_callback(lambda _: self._looking.pop(name, None))

    async def _look(self, name: str) -> None:
        await asyncio.sleep(LOOK_AFTER)
        try:
            record = await self._quorum.read(name, timeout=LOOK_TIMEOUT)
        except ArbiterError:
            return
        if record is not None:
            self._show(name, record)

    def _show(self, name: str, record: Record) -> None:
        if self._shown.get(name) != record.version:
            self._shown[name] = record.version
            self.changed.put_nowait((name, record))


async def merged_changes(quorum: Quorum, closed: asyncio.Event) -> AsyncGenerator[Change, None]:
    """Yield (name, record) whenever a majority shows a new version, until ``closed``."""
    merge = _Merge(quorum)

    async def end() -> None:
        await closed.wait()
        merge.changed.put_nowait(None)

    tasks = [asyncio.create_task(merge.follow(number)) for number in range(len(quorum.members))]
    tasks.append(asyncio.create_task(end()))
    try:
        while (change := await merge.changed.get()) is not None:
            yield change
    finally:
        merge.end()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
