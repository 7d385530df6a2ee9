"""The stream of changes of one domain: hints by Kubernetes' own watch.

Promises to begin with everything the domain holds, and to end, Unavailable, when the watch is over or the server
does not answer: the caller asks again, and so sees what it missed. A watch is asked for some seconds at a time,
so that a hung server is noticed; an API server's watch may lag behind all by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

from arbiters.kubernetes.api import Api
from arbiters.kubernetes.objects import record, register
from arbiters.rest import RestEndpoint
from arbiters.rotation import Rotation
from haagent.arbiter import Record, Unavailable

Change: TypeAlias = tuple[str, Record | None]

SECONDS = 8  # how long one watch is asked for
TIMEOUT = 2.0  # seconds for the list, and beyond a watch's own end


class Watch:
    """The changes of every register of ``domain``, until ``closed``; one iteration each."""

    def __init__(
        self, rotation: Rotation[RestEndpoint], api: Api, domain: str, closed: asyncio.Event
    ) -> None:
        self._rotation, self._api, self._domain, self._closed = rotation, api, domain, closed
        self._version = ""

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield registers and their changes. Raises ArbiterError when the server does not answer."""
        endpoint = self._rotation.preferred
        self._version, leases = await self._api.list(endpoint, TIMEOUT)
        for lease in leases:
            if (name := register(lease, self._domain)) is not None:
                yield name, record(lease)
        while True:
            async with aclosing(self._api.watch(endpoint, self._version, SECONDS)) as events:
                async for kind, lease in self._in_time(events):
                    if kind == "ERROR":
                        raise Unavailable(f"{endpoint.target}: the watch is over: {lease.get('message', '')}")
                    self._version = lease["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK" and (name := register(lease, self._domain)) is not None:
                        yield name, None if kind == "DELETED" else record(lease)

    async def _in_time(
        self, events: AsyncGenerator[tuple[str, Any], None]
    ) -> AsyncGenerator[tuple[str, Any], None]:
        """Yield ``events`` until they end. Raises Unavailable when they do not end in time, or we are closed."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SECONDS + TIMEOUT
        closing = asyncio.ensure_future(self._closed.wait())
        asking: asyncio.Future[tuple[str, Any] | None] = closing.get_loop().create_future()
        try:
            while True:
                asking = asyncio.ensure_future(anext(events, None))
                done, _ = await asyncio.wait(
                    (asking, closing), timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
                if asking not in done:
                    raise Unavailable("the watch hears nothing" if not done else "this arbiter is closed")
                event = asking.result()
                if event is None:
                    return
                yield event
        finally:
            for waiting in (asking, closing):
                waiting.cancel()
            await asyncio.wait((asking, closing))
