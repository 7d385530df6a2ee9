"""A witness as an ``Arbiter``: every call is one question on the connection, and its answer.

Promises that a swap compares version *and* value, that reads are linearizable (the witness answers them between two
writes), and that hints begin with everything the domain holds. There is one server, so a Conflict it tells is one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeAlias

from arbiters.witness.connection import PING_INTERVAL, Connection, Link, News
from arbiters.witness.settings import Settings
from haagent.arbiter import Conflict, Misconfigured, Record, Unavailable
from haagent.witness.wire import LARGEST_VALUE, read_record

Change: TypeAlias = tuple[str, Record | None]


class WitnessArbiter:
    """The registers of one domain. Made inside a running event loop; connects when it is first asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds. Raises ArbiterError within ``timeout`` seconds."""
        answer = await self._connection.ask("read", name, timeout=timeout)
        return self._record(answer)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new version. Raises as ``Arbiter.swap`` says."""
        if len(value) > LARGEST_VALUE:
            raise Misconfigured(
                f"{name}: a value of {len(value)} bytes; a witness takes at most {LARGEST_VALUE}"
            )
        answer = await self._connection.ask("swap", name, value=value, expected=expected, timeout=timeout)
        if "conflict" in answer:
            raise Conflict(f"{name} holds {answer['conflict']}")
        record = self._record(answer)
        if record is None:
            raise Unavailable(f"{self._settings.target}: an answer without a version")
        return record.version

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield every register the domain holds, then each change, until the connection ends: Unavailable."""
        news = News()
        link = await self._watch(news)
        try:
            while not link.ended:
                await self._heard(link, news)
                for change in news.take():
                    yield change
        finally:
            link.watchers.remove(news)
        raise Unavailable(f"{self._settings.target}: the connection ended")

    async def erase(self) -> None:
        """Remove every register of the domain. Raises ArbiterError; see ``haagent.arbiter.Erasable``."""
        await self._connection.ask("erase", timeout=5.0)

    async def aclose(self) -> None:
        """Close the connection. Idempotent."""
        await self._connection.aclose()

    async def _watch(self, news: News) -> Link:
        try:
            async with asyncio.timeout(2 * PING_INTERVAL):
                link = await self._connection.link()
                link.watchers.append(news)
                await link.ask("watch")
                return link
        except TimeoutError:
            raise Unavailable(f"{self._settings.target}: no answer to a watch") from None

    async def _heard(self, link: Link, news: News) -> None:
        """Return when there is news; ping when it is quiet, and give up a link that does not answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PING_INTERVAL):
                await news.there.wait()
            return
        try:
            async with asyncio.timeout(PING_INTERVAL):
                await link.ask("ping")
        except TimeoutError:
            self._connection.drop(link)

    def _record(self, answer: Mapping[str, Any]) -> Record | None:
        if "full" in answer:
            raise Unavailable(f"{self._settings.target}: nothing was written: {answer['full']}")
        try:
            return read_record(answer.get("record"))
        except ValueError as error:
            raise Unavailable(f"{self._settings.target}: an answer that means nothing: {error}") from None
