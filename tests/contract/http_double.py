"""What the stand-ins for HTTP servers share: a real socket, and ways to break what answers on it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Double:
    """A server on a free port of the loopback. Subclasses add routes and state; see ``broken``.

    ``broken`` is "" (works), "hung" (accepts and never answers), "late" (does it and then drops the
    connection without an answer) or a status that every request is answered with.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.broken = ""
        self.requests: list[tuple[str, str]] = []
        self.app = web.Application(middlewares=[self._break])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yield host:port."""
        runner = web.AppRunner(self.app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        try:
            yield "{}:{}".format(*runner.addresses[0])
        finally:
            await runner.cleanup()

    @web.middleware
    async def _break(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.broken == "hung":
            await asyncio.sleep(3600)
        if self.broken.isdigit():
            return web.Response(status=int(self.broken), text="No cluster leader")
        response: web.StreamResponse = await handler(request)
        if self.broken == "late":
            assert request.transport is not None
            request.transport.abort()
        return response


async def wait_for_change(condition: asyncio.Condition, seconds: float) -> None:
    """Wait until ``condition`` is notified, but no longer than so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), condition:
            await condition.wait()
