"""An etcd cluster as an ``Arbiter``: registers are keys below ``/haagent/<domain>/``.

Promises that a swap is one transaction that compares modification revision *and* value, so that a store
restored from a snapshot, whose revisions repeat, cannot be taken for the one we read. Reads are linearizable:
where etcd has no quorum they are Unavailable rather than old, since nobody could swap then anyway.
Every value is readable with ``etcdctl get --prefix /haagent/<domain>/``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from arbiters.etcd.endpoint import Endpoint
from arbiters.etcd.failures import LeaseNotFound
from arbiters.etcd.janitor import Janitor
from arbiters.etcd.messages import (
    DELETE_RANGE,
    RANGE,
    TXN,
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
    prefix_end,
)
from arbiters.etcd.settings import Settings
from arbiters.etcd.watch import Change, Watch
from arbiters.rotation import Rotation
from haagent.arbiter import ArbiterError, Conflict, Record, Unavailable

WARM_INTERVAL = 10.0  # seconds; a member not heard of for that long is asked something, so that a hedge
WARM_TIMEOUT = 1.0  # finds it connected and logged in, and a dead connection is replaced before it is needed
ERASING = 5.0  # seconds


class EtcdArbiter:
    """The registers of one domain. Made inside a running event loop; connects in the background."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rotation = Rotation([Endpoint(target, settings) for target in settings.targets])
        self._janitor = Janitor(self._rotation, settings.ttl)
        self._closed = False
        self._background = (
            asyncio.create_task(self._janitor.run(), name="etcd-janitor"),
            asyncio.create_task(self._keep_warm(), name="etcd-keep-warm"),
        )

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds. Raises ArbiterError within ``timeout`` seconds."""
        request = RangeRequest(key=self._key(name), limit=1)

        async def look(endpoint: Endpoint, timeout: float) -> Any:
            return await endpoint.call(RANGE, request, timeout)

        found = (await self._ask(look, timeout)).kvs
        return Record(found[0].value, str(found[0].mod_revision)) if found else None

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new revision. Raises as ``Arbiter.swap`` says."""
        key = self._key(name)
        lease = self._janitor.lease if name == self._settings.session else 0

        async def swap_at(endpoint: Endpoint, timeout: float) -> str:
            started = asyncio.get_running_loop().time()
            try:
                answer = await endpoint.call(TXN, _transaction(key, value, expected, lease), timeout)
            except LeaseNotFound:
                self._janitor.lose(lease)
                left = timeout - (asyncio.get_running_loop().time() - started)
                answer = await endpoint.call(TXN, _transaction(key, value, expected, 0), max(0.001, left))
            return _new_version(name, answer, value)

        return str(await self._ask(swap_at, timeout))

    def changes(self) -> AsyncIterator[Change]:
        """Yield every register the domain holds, then each change; see ``watch``."""
        return Watch(self._rotation, self._settings.prefix).changes()

    async def erase(self) -> None:
        """Remove every key of the domain."""
        prefix = self._settings.prefix.encode()
        request = DeleteRangeRequest(key=prefix, range_end=prefix_end(prefix))

        async def remove(endpoint: Endpoint, timeout: float) -> Any:
            return await endpoint.call(DELETE_RANGE, request, timeout)

        await self._ask(remove, ERASING)

    async def aclose(self) -> None:
        """Close every connection; leaves the etcd lease to end by itself. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._rotation.endpoints))

    def _key(self, name: str) -> bytes:
        return f"{self._settings.prefix}{name}".encode()

    async def _ask(self, question: Any, timeout: float) -> Any:
        if self._closed:
            raise Unavailable("this arbiter is closed")
        return await self._rotation.ask(question, timeout)

    async def _keep_warm(self) -> None:
        """Connect and log in to every member, and see that each of them stays reachable."""
        loop = asyncio.get_running_loop()
        while True:
            idle = [e for e in self._rotation.endpoints if loop.time() - e.answered_at >= WARM_INTERVAL]
            await asyncio.gather(*(self._touch(endpoint) for endpoint in idle))
            await asyncio.sleep(WARM_INTERVAL / 2)

    async def _touch(self, endpoint: Endpoint) -> None:
        request = RangeRequest(key=self._key(self._settings.session), serializable=True, keys_only=True)
        try:
            await endpoint.call(RANGE, request, WARM_TIMEOUT)
        except ArbiterError:
            endpoint.distrust()


def _transaction(key: bytes, value: bytes, expected: Record | None, lease: int) -> Any:
    """Return: if the key holds ``expected`` then put ``value``, else tell what it holds."""
    if expected is None:
        compares = [Compare(key=key, target=Compare.CREATE, create_revision=0)]
    else:
        compares = [
            Compare(key=key, target=Compare.MOD, mod_revision=int(expected.version)),
            Compare(key=key, target=Compare.VALUE, value=expected.value),
        ]
    return TxnRequest(
        compare=compares,
        success=[RequestOp(request_put=PutRequest(key=key, value=value, lease=lease))],
        failure=[RequestOp(request_range=RangeRequest(key=key, limit=1))],
    )


def _new_version(name: str, answer: Any, value: bytes) -> str:
    """Return the revision of our write. Raises Conflict if the register holds something else.

    Finding exactly our value after a failed compare means that another attempt of the same swap won.
    """
    if answer.succeeded:
        return str(answer.header.revision)
    held = answer.responses[0].response_range.kvs
    if held and held[0].value == value:
        return str(held[0].mod_revision)
    found = f"revision {held[0].mod_revision}" if held else "nothing"
    raise Conflict(f"{name} holds {found}")
