"""One connection to whichever server takes writes, made again for good whenever it is lost.

Promises one operation at a time, that an operation which is not answered costs its own call and the connection,
and that no cancel request is ever sent: a primary that is asked to stop waiting for its standbys keeps the write
and calls it a success (with a warning). So the connection is dropped instead, and whether the write happened
stays unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from arbiters.failures import NotSent
from arbiters.postgresql.failures import OUTDATED, explain, sqlstate
from arbiters.postgresql.server import Server, connect
from arbiters.postgresql.settings import Settings
from haagent.arbiter import ArbiterError, Misconfigured, Unavailable

Answer = TypeVar("Answer")
Operation = Callable[[Server], Awaitable[Answer]]

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds between attempts to connect to any of the servers
REFUSED_PAUSE = 5.0  # seconds where a server refused us: it writes that into its log every time


class Servers:
    """The servers in the order they were given, and which of them took writes last. Shared by the links."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._preferred = 0

    async def connect(self) -> Server:
        """Return a connection to the first server that takes writes. Raises ArbiterError with all complaints."""
        targets, failures = self.settings.targets, []
        for step in range(len(targets)):
            number = (self._preferred + step) % len(targets)
            try:
                server = await connect(self.settings, targets[number])
            except ArbiterError as failure:
                failures.append(failure)
            else:
                self._preferred = number
                return server
        text = "; ".join(str(failure) for failure in failures)
        if any(isinstance(failure, Misconfigured) for failure in failures):
            raise Misconfigured(text)
        raise NotSent(text)


class Link:
    """The connection. Made inside a running event loop; connects in the background until closed."""

    def __init__(
        self, servers: Servers, changed: Callable[[], None], silence: Callable[[float], None]
    ) -> None:
        """``changed`` is called when the link becomes free or is lost, ``silence`` when a call found no answer.

        It is told the loop's time at which that call was sent.
        """
        self._servers, self._changed, self._silence = servers, changed, silence
        self._heard_at = float("-inf")
        self._server: Server | None = None
        self._lost = asyncio.Event()
        self._busy = False
        self._warnings: list[str] = []
        self._left: set[asyncio.Task[None]] = set()
        self.complaint: ArbiterError | None = None
        self._keeping = asyncio.create_task(self._keep(), name="postgresql-link")

    @property
    def free(self) -> bool:
        """There is a connection and nothing under way on it."""
        return self._server is not None and not self._busy and not self._server.connection.is_closed()

    async def run(self, operation: Operation[Answer], timeout: float) -> Answer:
        """Return what ``operation`` returns; the link must be free. Raises ArbiterError within ``timeout``.

        A call that is cancelled leaves its operation under way, and the link busy, for the rest of its time.
        """
        server = self._server
        if server is None or self._busy:
            raise NotSent("the link is not free")
        self._busy = True
        self._warnings.clear()
        running = attended(operation(server))
        sent_at = asyncio.get_running_loop().time()
        try:
            await asyncio.wait((running,), timeout=timeout)
        except asyncio.CancelledError:
            self._leave(running, sent_at, sent_at + timeout)
            raise
        try:
            if not running.done():
                raise Unavailable(f"{server.target}: no answer within {timeout:.3f} s")
            return self._answer(server, running)
        finally:
            await self._finish(running, sent_at)

    def distrust(self, since: float) -> None:
        """Drop a connection that is idle and silent ``since`` then: what silenced another may have silenced it."""
        if not self._busy and self._heard_at < since:
            self._drop()

    async def aclose(self) -> None:
        """End the connection. Idempotent."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        self._drop()
        if self._left:
            await asyncio.wait(self._left)

    def _answer(self, server: Server, running: asyncio.Future[Answer]) -> Answer:
        """Return the answer. A success with a warning is none: the standbys may not have it."""
        try:
            answer = running.result()
        except Exception as error:
            if sqlstate(error) in OUTDATED:
                self._drop()
            raise explain(error, server.target) from error
        if self._warnings:
            raise Unavailable(f"{server.target} warns: {'; '.join(self._warnings)}")
        return answer

    def _leave(self, running: asyncio.Future[Any], sent_at: float, until: float) -> None:
        """Look after an operation whose caller has gone."""

        async def wait() -> None:
            await asyncio.wait((running,), timeout=until - asyncio.get_running_loop().time())
            await self._finish(running, sent_at)

        task = asyncio.create_task(wait(), name="postgresql-left")
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def _finish(self, running: asyncio.Future[Any], sent_at: float) -> None:
        """Leave the link free, or drop it where an operation is still under way."""
        try:
            if running.done():
                self._heard_at = asyncio.get_running_loop().time()
            else:
                self._drop()
                self._silence(sent_at)
                await asyncio.wait((running,))  # the end of the connection ends it at once
        finally:  # also when the caller gives up just now
            self._busy = False
            self._changed()

    def _drop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.connection.terminate()
            self._lost.set()
            self._changed()

    async def _keep(self) -> None:
        """Connect, wait until that is lost, and again."""
        pause = FIRST_PAUSE
        while True:
            try:
                server = await self._servers.connect()
            except ArbiterError as failure:
                self.complaint = failure
                self._changed()
                await asyncio.sleep(pause)
                pause = min(2 * pause, REFUSED_PAUSE if isinstance(failure, Misconfigured) else LONGEST_PAUSE)
                continue
            self.complaint, pause = None, FIRST_PAUSE
            self._take(server)
            await self._lost.wait()
            await asyncio.sleep(FIRST_PAUSE)

    def _take(self, server: Server) -> None:
        self._lost.clear()
        self._server = server
        self._heard_at = asyncio.get_running_loop().time()
        if server.connection.is_closed():
            self._drop()
            return
        server.connection.add_log_listener(self._on_message)
        server.connection.add_termination_listener(self._on_end)
        self._changed()

    def _on_message(self, _connection: Any, message: Any) -> None:
        if message.severity_en == "WARNING":
            self._warnings.append(str(message.message))

    def _on_end(self, connection: Any) -> None:
        if self._server is not None and self._server.connection is connection:
            self._server = None
            self._lost.set()
            self._changed()


def attended(asking: Awaitable[Answer]) -> asyncio.Task[Answer]:
    """Return a task for a question whose caller may be gone when its connection is ended under it.

    asyncio reports an error that nobody fetched, and the agent ends on what is reported to the loop.
    """
    task = asyncio.ensure_future(asking)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
