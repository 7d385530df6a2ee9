"""The connection to a witness: made when it is needed, replaced when it was silent, shared by all calls.

Promises that a call ends within its time, that a black hole costs that one call (the next one has a new connection),
and that nothing is sent twice. A connection that ended says nothing about what was sent on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Mapping
from itertools import count
from typing import Any

from arbiters.witness.settings import Settings
from haagent.arbiter import Misconfigured, Record, Unavailable
from haagent.witness.wire import Channel, Request, Stranger, WireError, WrongKey, greet, read_record

PING_INTERVAL = 1.0  # seconds of silence until a connection that is watched has to answer
LARGEST_BUFFER = 128 * 1024
_ENDINGS = (WireError, EOFError, OSError, ValueError)


class News:
    """What one watcher has not taken yet: at most one record per register, whatever it missed."""

    def __init__(self) -> None:
        self._changed: dict[str, Record | None] = {}
        self._known: set[str] = set()
        self.there = asyncio.Event()

    def note(self, name: str, record: Record | None) -> None:
        """Take in a change."""
        self._changed[name] = record
        self._known.add(name)
        self.there.set()

    def erase(self) -> None:
        """Take in that every register went away."""
        self._changed = dict.fromkeys(self._known)
        self.there.set()

    def take(self) -> list[tuple[str, Record | None]]:
        """Return what is new, and forget it."""
        changed, self._changed = list(self._changed.items()), {}
        self.there.clear()
        return changed


class Link:
    """One connection that was greeted. Ends by itself with its first error."""

    def __init__(self, channel: Channel, target: str) -> None:
        self._channel, self._target = channel, target
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self.watchers: list[News] = []
        self.heard = asyncio.get_running_loop().time()
        self.ended = False
        self._reading = asyncio.create_task(self._read(), name="witness-link")

    async def ask(self, operation: str, name: str = "", **more: Any) -> Mapping[str, Any]:
        """Return the witness's answer. Raises Unavailable when the connection ends first."""
        if self.ended:
            raise Unavailable(f"{self._target}: the connection ended")
        request = Request(next(self._numbers), operation, name, **more)
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[request.number] = answer
        try:
            self._channel.send(request.encode())
            return await answer
        finally:
            self._waiting.pop(request.number, None)

    def end(self, why: str = "the connection was closed") -> None:
        """Drop the connection at once; every call that waits is Unavailable. Idempotent."""
        self.ended = True
        self._reading.cancel()
        self._channel.writer.transport.abort()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable(f"{self._target}: {why}"))
        for watcher in self.watchers:
            watcher.there.set()

    async def aclose(self) -> None:
        """Drop the connection and see that nothing of it is left."""
        self.end()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                self.heard = asyncio.get_running_loop().time()
                self._take(message)
        except _ENDINGS as error:
            self.end(f"the connection ended: {error or type(error).__name__}")

    def _take(self, message: Mapping[str, Any]) -> None:
        if isinstance(number := message.get("number"), int):
            if (answer := self._waiting.get(number)) is not None and not answer.done():
                answer.set_result(message)
            return
        name, record = message.get("name"), read_record(message.get("record"))
        for watcher in self.watchers:
            if isinstance(name, str):
                watcher.note(name, record)
            else:
                watcher.erase()


class Connection:
    """At most one link at a time, and one attempt to make one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._ending: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def ask(self, operation: str, name: str = "", *, timeout: float, **more: Any) -> Mapping[str, Any]:
        """Return the witness's answer. Raises Unavailable or Misconfigured within ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        link: Link | None = None
        try:
            async with asyncio.timeout(timeout):
                link = await self.link()
                return await link.ask(operation, name, **more)
        except TimeoutError:
            self._distrust(link, begun)
            raise Unavailable(f"{self._settings.target}: no answer within {timeout:.3f} s") from None
        except ValueError as error:
            raise Misconfigured(f"{self._settings.target}: {error}") from error

    async def link(self) -> Link:
        """Return the link, made if there is none. Raises Unavailable or Misconfigured; may take for ever."""
        if self._closed:
            raise Unavailable("this arbiter is closed")
        if self._link is not None and not self._link.ended:
            return self._link
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="witness-connect")
            self._connecting.add_done_callback(self._connected)
        attempt = self._connecting
        await asyncio.wait((attempt,))  # a caller that gives up does not end the attempt of the others
        if attempt.cancelled():
            raise Unavailable(f"{self._settings.target}: no connection")
        return attempt.result()

    async def aclose(self) -> None:
        """End everything. Idempotent."""
        self._closed = True
        attempt, link = self._connecting, self._link
        if attempt is not None:
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
        if link is not None:
            await link.aclose()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _distrust(self, link: Link | None, since: float) -> None:
        """Replace what was silent since then: a hung witness and a black hole look the same."""
        attempt = self._connecting
        if link is None:
            if attempt is not None and self._started <= since:
                self._connecting = None  # the next call must not wait for its end
                attempt.cancel()
                self._ending.add(attempt)
                attempt.add_done_callback(self._ending.discard)
        elif link.heard <= since:
            self.drop(link)

    def drop(self, link: Link) -> None:
        """Give a link up."""
        link.end("the connection was silent")
        if self._link is link:
            self._link = None
        task = asyncio.create_task(link.aclose())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _connected(self, attempt: asyncio.Task[Link]) -> None:
        if self._connecting is attempt:
            self._connecting = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._link = attempt.result()

    async def _connect(self) -> Link:
        self._started = asyncio.get_running_loop().time()
        target = self._settings.target
        try:
            reader, writer = await self._open()
            link = await self._greet(reader, writer)
        except (ssl.SSLCertVerificationError, ssl.CertificateError) as error:
            raise Misconfigured(f"{target}: its certificate is not trusted: {error}") from error
        except WrongKey as error:
            raise Misconfigured(f"{target}: {error} than key_file; it must be the same file") from error
        except Stranger as error:
            raise Misconfigured(f"{target}: {error}") from error
        except (EOFError, OSError) as error:
            raise Unavailable(f"{target}: no connection: {error}") from error
        try:
            await link.ask("open", self._settings.introduction)
        except BaseException:
            await link.aclose()
            raise
        return link

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Link:
        try:
            return Link(await greet(reader, writer, self._settings.key), self._settings.target)
        except BaseException:
            writer.transport.abort()
            raise

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        settings = self._settings
        name = settings.server_name if settings.tls is not None else None
        reader, writer = await asyncio.open_connection(
            settings.host, settings.port, limit=LARGEST_BUFFER, ssl=settings.tls, server_hostname=name
        )
        with contextlib.suppress(OSError):
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # an abandoned connection is reset: the kernel would go on delivering what was written to it for minutes
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return reader, writer
