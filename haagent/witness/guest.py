"""One client of a witness, from its first authentic message to its end.

Promises that a client costs a bounded amount of memory: it has so many requests under way and is not read from
meanwhile, and one that does not take its answers is cut off. Whatever it sends that means nothing ends its
connection and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

from haagent.witness.committer import Committer
from haagent.witness.hints import Hints, Watcher
from haagent.witness.store import EraseOf, Full, Held, ReadOf, SwapOf, Task
from haagent.witness.wire import Channel, Request, WireError, read_request, record_fields

IN_FLIGHT = 64  # requests of one connection
SILENCE = 30.0  # seconds; a client that lives asks or pings far more often
PATIENCE = 10.0  # seconds for a client to take what was written to it


class Guest:
    """An authenticated connection. ``domain`` and ``node`` are what it says of itself when it opens."""

    def __init__(self, channel: Channel, committer: Committer, hints: Hints) -> None:
        self._channel, self._committer, self._hints = channel, committer, hints
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._writing = asyncio.Lock()
        self._watcher: Watcher | None = None
        self.domain = self.node = ""

    async def open(self) -> None:
        """Take the client's first message. Raises WireError, EOFError, OSError."""
        request = read_request(await self._channel.receive())
        self.domain, _, self.node = request.name.partition("/")
        if request.operation != "open" or not self.domain or not self.node:
            raise WireError("the first request is not open")
        await self._answer(request.number)

    async def serve(self) -> None:
        """Answer requests until the connection ends: WireError, EOFError, OSError or TimeoutError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._room.acquire()
                    async with asyncio.timeout(SILENCE):
                        request = read_request(await self._channel.receive())
                    tasks.create_task(self._handle(request))
                    if request.operation == "watch":
                        tasks.create_task(self._watch())
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            if self._watcher is not None:
                self._hints.forget(self.domain, self._watcher)

    async def _handle(self, request: Request) -> None:
        try:
            await self._perform(request)
        finally:
            self._room.release()

    async def _perform(self, request: Request) -> None:
        task: Task
        match request.operation:
            case "ping" | "watch":
                await self._answer(request.number)
                return
            case "read":
                task = ReadOf(self.domain, request.name)
            case "swap":
                task = SwapOf(self.domain, request.name, request.value, request.expected)
            case "erase":
                task = EraseOf(self.domain)
            case _:
                raise WireError("a request of no known operation")
        try:
            found = _found(request, await self._committer.perform(task))
        except Full as full:
            found = {"full": str(full)}
        await self._answer(request.number, **found)

    async def _answer(self, number: int, **fields: Any) -> None:
        await self._send({"number": number, **fields})

    async def _send(self, *messages: dict[str, Any]) -> None:
        """Write, and wait until the client has taken most of what was written before."""
        async with asyncio.timeout(PATIENCE), self._writing:
            for message in messages:
                self._channel.send(message)
                await self._channel.writer.drain()

    async def _watch(self) -> None:
        """Tell what the domain holds, then what changes, for as long as the connection lasts."""
        if self._watcher is not None:
            return
        self._watcher = self._hints.watch(self.domain)
        for name, record in await self._committer.registers(self.domain):
            await self._send({"name": name, "record": record_fields(record)})
        while True:
            await self._send(*await self._watcher.messages())


def _found(request: Request, held: Held) -> dict[str, Any]:
    """Return what a request's answer says besides its number."""
    if request.operation == "swap" and not held.written:
        return {"conflict": "nothing" if held.record is None else f"version {held.record.version}"}
    return {"record": record_fields(held.record)}


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return one of the errors that ended a connection; which of them does not matter."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
