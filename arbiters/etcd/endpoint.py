"""One member of an etcd cluster: its connection, its token, and calls that always end in time.

Promises that a connection which stays silent is replaced, so that a black hole costs one call and not one TCP
timeout, and that a token the member forgot is renewed inside the call that finds out, one it is silent about
after that call. Chooses between no members and repeats nothing that may have happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio

from arbiters.etcd.failures import WANTS_A_USER, StaleToken, explain
from arbiters.etcd.messages import AUTHENTICATE, AuthenticateRequest, Method
from arbiters.etcd.settings import Certificates, Settings
from arbiters.options import Account
from haagent.arbiter import Misconfigured, Unavailable

LOGIN_TIMEOUT = 5.0  # bcrypt on the server takes about 0.1 s, more than a renewal may
SHORTEST_LOGIN = 5.0  # seconds between logins after silence, for the same reason
SHORTEST_CONNECTION = 1.0  # seconds; a slow cluster must not cost a TLS handshake per call
RETIREMENT = 1.0  # seconds that calls on a replaced connection may go on

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel gets the old, hung connection
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # this is also the time a connect may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),  # etcd answers less than 5 s with GOAWAY
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),  # the one grpcio 1.85 obeys
)


class Endpoint:
    """One member. ``answered_at`` is the loop time of the last sign of life, -inf before the first."""

    def __init__(self, target: str, settings: Settings) -> None:
        self.target = target
        self.answered_at = float("-inf")
        self._account: Account | None = settings.account
        self._certificates: Certificates | None = settings.certificates
        self._login: asyncio.Task[str] | None = None
        self._login_at = float("-inf")
        self._retired: set[asyncio.Task[None]] = set()
        self._closed = False
        self._connect()

    async def call(self, method: Method, request: Any, timeout: float) -> Any:
        """Return the answer to ``request``. Raises ArbiterError within ``timeout`` seconds."""
        async with self.answer_within(timeout):
            return await self._authenticated(method, request, timeout)

    async def exchange(self, method: Method, request: Any, timeout: float) -> Any:
        """Return the first answer on a new stream that ``request`` opens. Raises ArbiterError in time."""
        async with self.answer_within(timeout):
            stream = await self.stream(method, timeout)
            try:
                await stream.write(request)
                answer = await stream.read()
            finally:
                stream.cancel()
            if answer is grpc.aio.EOF:
                raise Unavailable(f"{self.target}: the stream ended without an answer")
            self.mark_answered()
            return answer

    async def stream(self, method: Method, timeout: float | None = None) -> Any:
        """Return a new two-way stream; the caller cancels it. May raise grpc's own errors later on."""
        metadata = self._metadata(await self._token())
        open_stream = self._channel.stream_stream(
            method.path, request_serializer=method.encode, response_deserializer=method.decode
        )
        return open_stream(timeout=timeout, metadata=(*metadata, ("hasleader", "true")))

    def mark_answered(self) -> None:
        """Note a sign of life."""
        self.answered_at = asyncio.get_running_loop().time()

    def distrust(self) -> None:
        """Replace the connection, unless it is new: a call on it ended in silence. So may its token be the reason.

        A token names the raft index at which it was made, and a member holds every call with it back until it has come
        so far itself. One that was restored from a snapshot counts from the beginning.
        """
        now = asyncio.get_running_loop().time()
        if self._closed or now - self._connected_at < SHORTEST_CONNECTION:
            return
        self._retire(self._channel)
        self._connect()
        if self._login is not None and self._login.done() and now - self._login_at >= SHORTEST_LOGIN:
            self._login = None

    async def aclose(self) -> None:
        """Close the connection and what is left of earlier ones."""
        self._closed = True
        ending = [*self._retired, *([self._login] if self._login is not None else [])]
        for task in ending:
            task.cancel()
        await self._channel.close()
        await asyncio.gather(*ending, return_exceptions=True)

    def _connect(self) -> None:
        self._connected_at = asyncio.get_running_loop().time()
        if self._certificates is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=_CHANNEL_OPTIONS)
            return
        tls = self._certificates
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
        named = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
        self._channel = grpc.aio.secure_channel(self.target, credentials, options=(*_CHANNEL_OPTIONS, *named))

    def _retire(self, channel: grpc.aio.Channel) -> None:
        closing = asyncio.create_task(_close_later(channel))
        self._retired.add(closing)
        closing.add_done_callback(self._retired.discard)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn gRPC's errors into ours, and its odd way of saying that the connection was closed under a call."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise explain(error, self.target) from error
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            raise Unavailable(f"{self.target}: the connection is closed") from error
        except asyncio.CancelledError:
            if _cancelled_from_outside():
                raise
            raise Unavailable(f"{self.target}: the connection was closed") from None

    @asynccontextmanager
    async def answer_within(self, timeout: float) -> AsyncIterator[None]:
        """Turn silence of ``timeout`` seconds, and gRPC's errors, into ours."""
        try:
            with self.translated():
                async with asyncio.timeout(timeout):
                    yield
        except TimeoutError:
            raise Unavailable(f"{self.target}: no answer within {timeout:.3f} s") from None

    async def _authenticated(self, method: Method, request: Any, timeout: float) -> Any:
        """Send ``request``, and once more after logging in anew if etcd refused our token: it did nothing then."""
        token = await self._token()
        try:
            return await self._send(method, request, timeout, token)
        except grpc.aio.AioRpcError as error:
            meaning = explain(error, self.target)
        if not isinstance(meaning, StaleToken):
            raise meaning
        if self._account is None:
            raise Misconfigured(f"{meaning}: {WANTS_A_USER}")
        token = await self._token(stale=token)
        try:
            return await self._send(method, request, timeout, token)
        except grpc.aio.AioRpcError as error:
            if isinstance(meaning := explain(error, self.target), StaleToken):
                raise Misconfigured(f"{meaning}, and that just after logging in anew") from error
            raise

    async def _send(self, method: Method, request: Any, timeout: float, token: str) -> Any:
        ask = self._channel.unary_unary(
            method.path, request_serializer=method.encode, response_deserializer=method.decode
        )
        try:
            answer = await ask(request, timeout=timeout, metadata=self._metadata(token))
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                self.mark_answered()
            raise
        self.mark_answered()
        return answer

    @staticmethod
    def _metadata(token: str) -> tuple[tuple[str, str], ...]:
        return (("token", token),) if token else ()

    async def _token(self, stale: str | None = None) -> str:
        """Return this member's token for our user, empty if none is needed; logs in if ours is ``stale``.

        The login is shared by every call that waits for it, and outlives a call that is cancelled.
        """
        if self._account is None:
            return ""
        if self._login is None or (self._login.done() and _token_of(self._login) == stale):
            self._login = asyncio.create_task(self._log_in(self._account))
            self._login_at = asyncio.get_running_loop().time()
            self._login.add_done_callback(_token_of)  # an error nobody waited for is no news
        return await asyncio.shield(self._login)

    async def _log_in(self, account: Account) -> str:
        request = AuthenticateRequest(name=account.username, password=account.password)
        try:
            return str((await self._send(AUTHENTICATE, request, LOGIN_TIMEOUT, "")).token)
        except grpc.aio.AioRpcError as error:
            if "authentication is not enabled" in (error.details() or ""):
                return ""
            raise


async def _close_later(channel: grpc.aio.Channel) -> None:
    """Close ``channel`` when the calls still on it had time to end, or as soon as this is cancelled."""
    try:
        await asyncio.sleep(RETIREMENT)
    finally:
        await channel.close()


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _token_of(login: asyncio.Task[str]) -> str | None:
    """Return the token of a finished login, None if it failed."""
    try:
        return login.result()
    except (Exception, asyncio.CancelledError):
        return None
