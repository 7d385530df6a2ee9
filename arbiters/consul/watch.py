"""The stream of changes below one prefix: hints by blocking queries, which Consul answers when something changed.

Promises to begin with everything the prefix holds, and to end, Unavailable, when the server asked does not
answer: the caller asks again, and so sees what it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

from arbiters.consul.api import Api, record
from arbiters.consul.keys import name_of
from arbiters.rest import RestEndpoint
from arbiters.rotation import Rotation
from haagent.arbiter import Record, Unavailable

Change: TypeAlias = tuple[str, Record | None]

WAIT = 4.0  # seconds that Consul holds a query without news; it adds up to a sixteenth
TIMEOUT = 5.0  # seconds until a query counts as lost


class Watch:
    """The changes of every register below ``prefix``, until ``closed``; one iteration each."""

    def __init__(
        self, rotation: Rotation[RestEndpoint], api: Api, prefix: str, closed: asyncio.Event
    ) -> None:
        self._rotation, self._api, self._prefix, self._closed = rotation, api, prefix, closed
        self._known: dict[str, Record] = {}

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield registers and their changes. Raises ArbiterError when the server does not answer."""
        endpoint, index = self._rotation.preferred, 0
        while True:
            newer, entries = await self._unless_closed(endpoint, index)
            for change in self._compare(entries):
                yield change
            index = newer if newer >= index else 0  # an index that goes back is another history

    async def _unless_closed(self, endpoint: RestEndpoint, index: int) -> tuple[int, list[Any]]:
        asking = asyncio.ensure_future(self._api.follow(endpoint, self._prefix, index, WAIT, TIMEOUT))
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((asking, closing), return_when=asyncio.FIRST_COMPLETED)
            if self._closed.is_set():
                raise Unavailable("this arbiter is closed")
            return asking.result()
        finally:
            for task in (asking, closing):
                task.cancel()
            await asyncio.wait((asking, closing))

    def _compare(self, entries: list[Any]) -> list[Change]:
        """Return what differs from what was known."""
        held = {name_of(self._prefix, entry["Key"]): record(entry) for entry in entries}
        gone: list[Change] = [(name, None) for name in self._known if name not in held]
        fresh: list[Change] = [(name, one) for name, one in held.items() if self._known.get(name) != one]
        self._known = held
        return gone + fresh
