"""The etcd lease of this node: it lets etcd collect the session of a dead node, and operators evict a live one.

Promises only to try: nothing in haagent's safety rests on an etcd lease, so while there is none (``lease`` is
0), sessions are written without. Never revokes: closing an arbiter releases nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from arbiters.etcd.endpoint import Endpoint
from arbiters.etcd.messages import LEASE_GRANT, LEASE_KEEP_ALIVE, LeaseGrantRequest, LeaseKeepAliveRequest
from arbiters.rotation import Rotation
from haagent.arbiter import ArbiterError

KEEPALIVES_PER_TTL = 3
PAUSE_AFTER_FAILURE = 1.0  # seconds
LONGEST_CALL = 5.0  # seconds; a ttl may be hours, and a call that hangs has to be tried again within a few


class Janitor:
    """Keeps one lease of ``ttl`` seconds alive from ``run`` on; grants another when it is lost."""

    def __init__(self, rotation: Rotation[Endpoint], ttl: int) -> None:
        self.lease = 0
        self._rotation, self._ttl = rotation, ttl
        self._lost = asyncio.Event()

    def lose(self, lease: int) -> None:
        """Take note that etcd does not know ``lease`` any more."""
        if lease == self.lease:
            self.lease = 0
            self._lost.set()

    async def run(self) -> None:
        """Grant and keep alive until cancelled."""
        interval = self._ttl / KEEPALIVES_PER_TTL
        timeout = min(interval, LONGEST_CALL)
        while True:
            try:
                await (self._keep_alive(self.lease, timeout) if self.lease else self._grant(timeout))
            except ArbiterError:
                await asyncio.sleep(PAUSE_AFTER_FAILURE)  # swaps go on without, and say what is wrong
            else:
                await self._wait_until_lost(interval)

    async def _grant(self, timeout: float) -> None:
        async def grant(endpoint: Endpoint, timeout: float) -> Any:
            return await endpoint.call(LEASE_GRANT, LeaseGrantRequest(TTL=self._ttl), timeout)

        self._lost.clear()
        self.lease = int((await self._rotation.ask(grant, timeout)).ID)

    async def _keep_alive(self, lease: int, timeout: float) -> None:
        async def keep_alive(endpoint: Endpoint, timeout: float) -> Any:
            return await endpoint.exchange(LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(ID=lease), timeout)

        if (await self._rotation.ask(keep_alive, timeout)).TTL <= 0:
            self.lose(lease)

    async def _wait_until_lost(self, interval: float) -> None:
        """Wait for the next keepalive, or less if the lease is found to be lost."""
        try:
            async with asyncio.timeout(interval):
                await self._lost.wait()
        except TimeoutError:
            pass
