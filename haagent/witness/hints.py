"""Who wants to be told of changes, and what each has not been told yet.

Promises that one watcher never costs more than one entry per register of its domain, however slow it is: it is told
what a register holds now, not everything it held. Hints may be lost with the connection; nobody relies on them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from haagent.arbiter import Record
from haagent.witness.wire import record_fields


@dataclass(eq=False, slots=True)
class Watcher:
    """What one connection is still to be told."""

    _changed: dict[str, Record | None] = field(default_factory=dict)
    _erased: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, name: str, record: Record | None) -> None:
        """Take in a change; an empty name says that the whole domain was erased."""
        if name:
            self._changed[name] = record
        else:
            self._changed.clear()
            self._erased = True
        self._news.set()

    async def messages(self) -> list[dict[str, Any]]:
        """Wait for news and return them as messages."""
        await self._news.wait()
        self._news.clear()
        found: list[dict[str, Any]] = [{"erased": True}] if self._erased else []
        found += [{"name": name, "record": record_fields(record)} for name, record in self._changed.items()]
        self._changed.clear()
        self._erased = False
        return found


class Hints:
    """The watchers of every domain."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)

    def watch(self, domain: str) -> Watcher:
        """Return a new watcher of a domain."""
        watcher = Watcher()
        self._watchers[domain].add(watcher)
        return watcher

    def forget(self, domain: str, watcher: Watcher) -> None:
        """Tell ``watcher`` nothing any more. Idempotent."""
        self._watchers[domain].discard(watcher)
        if not self._watchers[domain]:
            del self._watchers[domain]

    def tell(self, domain: str, name: str, record: Record | None) -> None:
        """Tell the watchers of ``domain`` what a register holds now."""
        for watcher in self._watchers.get(domain, ()):
            watcher.note(name, record)
