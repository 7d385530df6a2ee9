"""A Consul datacenter as an ``Arbiter``: registers are keys below ``haagent/<domain>/``; no session, no lock.

Promises that a swap is one transaction with ``cas`` on the key's ModifyIndex, which goes through Raft, and that
reads are ``consistent``: where there is no leader they are Unavailable rather than old. Consul compares indexes
and nothing else, and after a restore of a snapshot they repeat. So a swap looks first whether the index still
stands for the expected value. Every value is readable with ``consul kv get -recurse haagent/``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from arbiters.consul.api import Api
from arbiters.consul.keys import key
from arbiters.consul.settings import Settings
from arbiters.consul.watch import Change, Watch
from arbiters.rest import RestEndpoint
from arbiters.rotation import Rotation
from haagent.arbiter import Conflict, Record

ERASING = 4.0  # seconds


class ConsulArbiter:
    """The registers of one domain. Made inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = Api(settings)
        self._rotation = Rotation([RestEndpoint(base, settings.tls) for base in settings.bases])
        self._closed = asyncio.Event()

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds. Raises ArbiterError within ``timeout`` seconds."""
        path = key(self._settings.prefix, name)

        async def look(endpoint: RestEndpoint, timeout: float) -> Record | None:
            return await self._api.get(endpoint, path, timeout, consistent=True)

        return await self._rotation.ask(look, timeout)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new index. Raises as ``Arbiter.swap`` says."""
        path = key(self._settings.prefix, name)

        async def swap_at(endpoint: RestEndpoint, timeout: float) -> str:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + timeout
            if expected is not None:
                held = await self._api.get(endpoint, path, timeout, consistent=False)
                if held is not None and held.version == expected.version and held.value != expected.value:
                    raise Conflict(f"{name} holds another value at index {held.version}: Consul was restored")
            index = 0 if expected is None else int(expected.version)
            written = await self._api.compare_and_set(endpoint, path, value, index, deadline - loop.time())
            if written is not None:
                return written
            held = await self._api.get(endpoint, path, deadline - loop.time(), consistent=True)
            if held is not None and held.value == value:
                return held.version
            found = "nothing" if held is None else f"index {held.version}"
            raise Conflict(f"{name} holds {found}")

        return await self._rotation.ask(swap_at, timeout)

    def changes(self) -> AsyncIterator[Change]:
        """Yield every register the domain holds, then each change; see ``watch``."""
        return Watch(self._rotation, self._api, self._settings.prefix, self._closed).changes()

    async def erase(self) -> None:
        """Remove every register of the domain. Raises ArbiterError."""

        async def remove(endpoint: RestEndpoint, timeout: float) -> None:
            await self._api.erase(endpoint, self._settings.prefix, timeout)

        await self._rotation.ask(remove, ERASING)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        self._closed.set()
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._rotation.endpoints))
