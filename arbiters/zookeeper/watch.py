"""The stream of changes below one domain: hints by ZooKeeper's one-shot watches, re-armed at every event.

Promises to begin with everything the domain holds, and to end, Unavailable, when the connection is lost: the caller
asks again, and so sees what it missed. What a server shows may be old.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import EventType

from arbiters.zookeeper.connection import Connection
from arbiters.zookeeper.paths import decode_name, make_parents, record
from haagent.arbiter import Record, Unavailable

Change: TypeAlias = tuple[str, Record | None]

KINDS = ("claims", "sessions")
TIMEOUT = 2.0  # seconds for each of a watch's own calls


class Watch:
    """The changes of every register below ``root``, until ``closed``; one iteration each."""

    def __init__(self, connection: Connection, root: str, closed: asyncio.Event) -> None:
        self._connection, self._root, self._closed = connection, root, closed
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._known: set[str] = set()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield registers and their changes. Raises Unavailable when the connection is lost."""
        closing = asyncio.create_task(self._close(), name="zookeeper-watch-end")
        try:
            for kind in KINDS:
                await make_parents(self._connection, f"{self._root}/{kind}/x", TIMEOUT)
                async for change in self._children(f"{self._root}/{kind}"):
                    yield change
            while True:
                event = await self._events.get()
                if event is None or event.type == EventType.NONE:
                    raise Unavailable("zookeeper: the watch is over")
                async for change in self._after(event):
                    yield change
        finally:
            closing.cancel()

    async def _close(self) -> None:
        await self._closed.wait()
        self._events.put_nowait(None)

    async def _after(self, event: Any) -> AsyncGenerator[Change, None]:
        """Yield what ``event`` announced, and watch on."""
        if event.path.count("/") == self._root.count("/") + 1:
            async for change in self._children(event.path):
                yield change
        else:
            yield await self._register(event.path)

    async def _children(self, parent: str) -> AsyncGenerator[Change, None]:
        """Yield the registers below ``parent`` that were not known, and watch for more."""
        try:
            names = await self._connection.call(
                lambda client: client.get_children_async(parent, watch=self._on_event), TIMEOUT
            )
        except NoNodeError:
            raise Unavailable(f"zookeeper: {parent} is gone") from None
        fresh = [path for path in (f"{parent}/{name}" for name in names) if path not in self._known]
        for change in await asyncio.gather(*(self._register(path) for path in fresh)):
            yield change

    async def _register(self, path: str) -> Change:
        """Return what the register at ``path`` holds now, and watch it if it is there."""
        name = decode_name(path.removeprefix(f"{self._root}/"))
        try:
            found = await self._connection.call(
                lambda client: client.get_async(path, watch=self._on_event), TIMEOUT
            )
        except NoNodeError:
            self._known.discard(path)
            return name, None
        self._known.add(path)
        return name, record(*found)

    def _on_event(self, event: Any) -> None:
        """Take an event over from kazoo's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
