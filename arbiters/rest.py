"""One server of an HTTP API: calls that always end in time, over aiohttp.

Promises that no request is sent twice, that a connection which stays silent is replaced, and that "not sent" is
said only where no connection came about. Follows no redirect and no proxy of the environment. What an answer
means is the caller's business.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from arbiters.failures import NotSent, Untrusted
from haagent.arbiter import Misconfigured, Unavailable

SHORTEST_CONNECTION = 1.0  # seconds; a slow cluster must not cost a TLS handshake per call
RETIREMENT = 1.0  # seconds that calls on replaced connections may go on


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body for people: one line, and not too long."""
        return " ".join(self.body.decode(errors="replace").split())[:300]

    def json(self) -> Any:
        """Return the body's content. Raises Unavailable if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Unavailable(f"an answer that is not JSON: {self.text}") from error


class RestEndpoint:
    """One server at ``base``, a URL without a slash at its end. ``tls`` None: plain TCP."""

    def __init__(self, base: str, tls: ssl.SSLContext | None) -> None:
        self.base = base
        self._tls = tls
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._connect()

    @property
    def target(self) -> str:
        """What errors call it."""
        return self.base.partition("://")[2]

    async def call(
        self,
        method: str,
        path: str,
        timeout: float,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Return the answer. Raises NotSent, Unavailable or Misconfigured within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                async with self.stream(method, path, params=params, headers=headers, body=body) as response:
                    return Answer(response.status, response.headers, await response.read())
        except TimeoutError:
            raise Unavailable(f"{self.target}: no answer within {timeout:.3f} s") from None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a response whose body is yet to be read; aiohttp's errors become ours, also while it is read."""
        if self._closed:
            raise Unavailable("this arbiter is closed")
        with self._translated():
            async with self._session.request(
                method, self.base + path, params=params, headers=headers, data=body, allow_redirects=False
            ) as response:
                yield response

    def distrust(self) -> None:
        """Replace the connections, unless they are new: a call on one of them ended in silence."""
        age = asyncio.get_running_loop().time() - self._connected_at
        if not self._closed and age >= SHORTEST_CONNECTION:
            closing = asyncio.create_task(_close_later(self._session), name="rest-retire")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._connect()

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        self._closed = True
        for closing in self._closing:
            closing.cancel()
        await self._session.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _connect(self) -> None:
        self._connected_at = asyncio.get_running_loop().time()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls or True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # aiohttp sends PUT again when a kept-alive connection turns out to be closed; a write may then be made twice,
        # and the second time be refused because of the first. There is no public way to switch that off.
        self._session._retry_connection = False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise Untrusted(
                f"{self.target}: {error}: check ca, the endpoint's name, and whether it speaks TLS"
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"no connection to {self.target}: {error.os_error.strerror or error}") from error
        except aiohttp.InvalidURL as error:
            raise Misconfigured(f"{self.base} is not the URL of a server") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"{self.target}: {str(error) or type(error).__name__}") from error


async def _close_later(session: aiohttp.ClientSession) -> None:
    """Close ``session`` when the calls still on it had time to end, or as soon as this is cancelled."""
    try:
        await asyncio.sleep(RETIREMENT)
    finally:
        await session.close()
