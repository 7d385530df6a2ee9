"""The stream of changes below one prefix: hints that arrive within milliseconds, or not at all.

Promises to notice a hung member within about one and a half seconds (an application ping: etcd punishes quicker pings of
gRPC itself), to go on at the next member, and to begin each connection with everything the prefix holds, so
that what was missed in between is made good. Never says that a hint is fresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import cycle
from typing import Any, TypeAlias

import grpc.aio

from arbiters.etcd.endpoint import Endpoint
from arbiters.etcd.messages import (
    RANGE,
    WATCH,
    Event,
    RangeRequest,
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
    prefix_end,
)
from arbiters.rotation import Rotation
from haagent.arbiter import Record, Unavailable

Change: TypeAlias = tuple[str, Record | None]

PING_AFTER = 1.0  # seconds of silence until a ping: a holder that renews every half second needs none
PING_INTERVAL = 0.5  # seconds until the ping must be answered
STABLE = 2.0  # seconds after which a stream counts as having worked


class Watch:
    """The changes of every register below ``prefix``; one iteration each."""

    def __init__(self, rotation: Rotation[Endpoint], prefix: str) -> None:
        self._rotation, self._prefix = rotation, prefix.encode()
        self._known: set[str] = set()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield changes from one member after the other; Unavailable when none of them lets us watch for long."""
        loop = asyncio.get_running_loop()
        failures: list[str] = []
        endpoints = self._rotation.order()
        for endpoint in cycle(endpoints):
            begun = loop.time()
            try:
                async with aclosing(self._from(endpoint)) as stream:
                    async for change in stream:
                        yield change
            except Unavailable as failure:
                if loop.time() - begun > STABLE:
                    failures.clear()
                failures.append(str(failure))
            if len(failures) >= len(endpoints):
                raise Unavailable("; ".join(failures))

    async def _from(self, endpoint: Endpoint) -> AsyncGenerator[Change, None]:
        """Yield what the prefix holds, then what changes, until ``endpoint`` fails: Unavailable."""
        request = RangeRequest(key=self._prefix, range_end=prefix_end(self._prefix))
        held = await endpoint.call(RANGE, request, 2 * PING_INTERVAL)
        current = {self._name(pair.key): _record(pair) for pair in held.kvs}
        for name in self._known - set(current):
            yield name, None
        self._known = set(current)
        for name, record in current.items():
            yield name, record
        async with aclosing(self._responses(endpoint, held.header.revision + 1)) as responses:
            async for response in responses:
                for event in response.events:
                    yield self._change(event)

    async def _responses(self, endpoint: Endpoint, revision: int) -> AsyncGenerator[Any, None]:
        """Yield the answers of one watch stream, until it ends or falls silent: Unavailable."""
        reading: asyncio.Task[Any] | None = None
        with endpoint.translated():
            stream = await endpoint.stream(WATCH)
            try:
                await _write(endpoint, stream, self._create_request(revision))
                while True:
                    reading = reading or asyncio.create_task(stream.read())
                    await _heard(endpoint, stream, reading)
                    response, reading = reading.result(), None
                    _check(response, endpoint)
                    yield response
            finally:
                if reading is not None:
                    reading.cancel()
                    await asyncio.wait((reading,))
                stream.cancel()

    def _create_request(self, revision: int) -> Any:
        return WatchRequest(
            create_request=WatchCreateRequest(
                key=self._prefix, range_end=prefix_end(self._prefix), start_revision=revision
            )
        )

    def _change(self, event: Any) -> Change:
        name = self._name(event.kv.key)
        if event.type == Event.DELETE:
            self._known.discard(name)
            return name, None
        self._known.add(name)
        return name, _record(event.kv)

    def _name(self, key: bytes) -> str:
        return key[len(self._prefix) :].decode(errors="replace")


def _record(pair: Any) -> Record:
    return Record(pair.value, str(pair.mod_revision))


async def _write(endpoint: Endpoint, stream: Any, request: Any) -> None:
    async with endpoint.answer_within(PING_INTERVAL):
        await stream.write(request)


async def _heard(endpoint: Endpoint, stream: Any, reading: asyncio.Task[Any]) -> None:
    """Return when ``reading`` is done; ping when it is quiet. Raises Unavailable when the ping is not answered.

    It is not the read that is cut short, since cancelling a read of gRPC's cancels the stream.
    """
    done, _ = await asyncio.wait((reading,), timeout=PING_AFTER)
    if not done:
        await _write(endpoint, stream, WatchRequest(progress_request=WatchProgressRequest()))
        done, _ = await asyncio.wait((reading,), timeout=PING_INTERVAL)
        if not done:
            endpoint.distrust()
            raise Unavailable(f"{endpoint.target}: the watch hears nothing")
    endpoint.mark_answered()


def _check(response: Any, endpoint: Endpoint) -> None:
    """Raise Unavailable when ``response`` says that the watch is over (leader lost, compacted, no permission)."""
    if response is grpc.aio.EOF:
        raise Unavailable(f"{endpoint.target}: the watch stream ended")
    if response.canceled:
        raise Unavailable(f"{endpoint.target}: watch cancelled: {response.cancel_reason or 'compacted'}")
