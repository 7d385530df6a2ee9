"""A Kubernetes cluster as an ``Arbiter``: registers are Lease objects in one namespace.

Promises that a swap is one JSON patch that tests resourceVersion *and* value, which the API server applies in one
transaction of its etcd. The times in a Lease are not used, nor is anybody's clock. Every value is readable with
``kubectl get leases -o yaml``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from arbiters.kubernetes.api import Api, Refused
from arbiters.kubernetes.settings import Settings
from arbiters.kubernetes.watch import Change, Watch
from arbiters.rest import RestEndpoint
from arbiters.rotation import Rotation
from haagent.arbiter import Conflict, Misconfigured, Record, Unavailable

ERASING = 4.0  # seconds


class KubernetesArbiter:
    """The registers of one domain. Made inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        access = settings.access
        self._domain = settings.domain
        self._api = Api(access, settings.domain, settings.node)
        self._rotation = Rotation([RestEndpoint(base, access.tls) for base in access.bases])
        self._closed = asyncio.Event()

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds. Raises ArbiterError within ``timeout`` seconds."""

        async def look(endpoint: RestEndpoint, timeout: float) -> Record | None:
            return await self._api.get(endpoint, name, timeout)

        return await self._rotation.ask(look, timeout)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new version. Raises as ``Arbiter.swap`` says."""

        async def swap_at(endpoint: RestEndpoint, timeout: float) -> str:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + timeout
            try:
                if expected is None:
                    return (await self._api.create(endpoint, name, value, timeout)).version
                return (await self._api.replace(endpoint, name, value, expected, timeout)).version
            except Refused as refusal:
                refused = refusal
            held = await self._api.get(endpoint, name, deadline - loop.time())
            if held is not None and held.value == value:
                return held.version
            if held == expected:  # so it was not what the register holds that was refused
                raise Misconfigured(str(refused)) if refused.invalid else Unavailable(str(refused))
            raise Conflict(f"{name} holds {'nothing' if held is None else f'version {held.version}'}")

        return await self._rotation.ask(swap_at, timeout)

    def changes(self) -> AsyncIterator[Change]:
        """Yield every register the domain holds, then each change; see ``watch``."""
        return Watch(self._rotation, self._api, self._domain, self._closed).changes()

    async def erase(self) -> None:
        """Remove every register of the domain; needs the verb delete, which nothing else does."""

        async def remove(endpoint: RestEndpoint, timeout: float) -> None:
            _, leases = await self._api.list(endpoint, timeout)
            for lease in leases:
                await self._api.delete(endpoint, lease["metadata"]["name"], timeout)

        await self._rotation.ask(remove, ERASING)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        self._closed.set()
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._rotation.endpoints))
