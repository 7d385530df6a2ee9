"""The stream of changes: the files are read again and again.

Promises to show only what is decided, sessions within about a poll, and claims as well as long as there are no more than
``TOGETHER``; more of them are looked at in turn, so a change of one of 100 claims may show after six polls.
Never says that a hint is fresh, and never writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import islice
from typing import TypeAlias

from arbiters.shared_file.ballot import Accepted, View, confirmed
from arbiters.shared_file.files import Files
from haagent.arbiter import Record

Change: TypeAlias = tuple[str, Record | None]

TOGETHER = 16  # registers besides the sessions that one poll reads
PATIENCE = 1.0  # seconds for one reading


class Poll:
    """One iteration over the changes of every register."""

    def __init__(self, files: Files, interval: float) -> None:
        self._files, self._interval = files, interval
        self._names: dict[int, str] = {}
        self._shown: dict[int, Accepted] = {}
        self._next = 0
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End the stream."""
        self._stopped.set()

    async def changes(self, learned: Callable[[int, str], None]) -> AsyncGenerator[Change, None]:
        """Yield what is decided, register by register, as it changes. ``learned`` is told which place is whose."""
        registers = (await self._files.ready()).registers
        while not self._stopped.is_set():
            for number, accepted in await self._news(registers):
                self._shown[number] = accepted
                if number not in self._names:
                    self._names[number] = accepted.name
                    learned(number, accepted.name)
                yield accepted.name, Record(accepted.value, str(accepted.version))
            try:
                async with asyncio.timeout(self._interval):
                    await self._stopped.wait()
            except TimeoutError:
                continue

    async def _news(self, registers: int) -> list[tuple[int, Accepted]]:
        """Read once, and those registers that seem to have changed once more: two readings make a proof."""
        first = await self._look(self._due(registers))
        changed = tuple(number for number, views in first.items() if self._seems_new(number, views))
        if not changed:
            return []
        second = await self._look(changed)
        news = []
        for number in changed:
            proven, accepted = confirmed(first[number], second.get(number, {}), self._files.majority)
            if proven and accepted is not None and accepted != self._shown.get(number):
                news.append((number, accepted))
        return news

    async def _look(self, numbers: tuple[int, ...]) -> dict[int, dict[int, View]]:
        """Return views by register and file; none if no majority answers in time."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        try:
            async with asyncio.timeout_at(deadline):
                return await self._files.look(numbers, deadline)
        except TimeoutError:
            return {}

    def _seems_new(self, number: int, views: dict[int, View]) -> bool:
        shown = self._shown.get(number)
        blocks = [block for view in views.values() for block in view.blocks if block.bal]
        return bool(blocks) and max(blocks, key=lambda block: block.bal).accepted != shown

    def _due(self, registers: int) -> tuple[int, ...]:
        """Return what to read now: all sessions, some of the claims in turn, and the first free place."""
        sessions = [number for number, name in self._names.items() if name.startswith("sessions/")]
        claims = sorted(number for number in self._names if number not in sessions)
        turn = [*claims[self._next :], *claims[: self._next]]
        picked = list(islice(turn, TOGETHER))
        self._next = (self._next + len(picked)) % max(1, len(claims))
        free = next((number for number in range(registers) if number not in self._names), None)
        return (*sessions, *picked, *(() if free is None else (free,)))
