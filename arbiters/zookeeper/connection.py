"""One session with a ZooKeeper ensemble: kazoo's threads on one side, the event loop on the other.

Promises that every call ends in time, that the event loop never waits for a thread, and that a server which does
not answer loses its connection: kazoo itself takes each request *sent* for a sign of life, so its ``CONNECTED`` says
nothing. Nothing is sent while there is no connection, and a lost one ends every call on it. Repeats nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.security import make_acl, make_digest_acl

from arbiters.zookeeper.failures import explain, explain_no_connection
from arbiters.zookeeper.settings import Settings
from haagent.arbiter import ArbiterError, Unavailable

# Seconds asked for; the server grants no less than two ticks. kazoo shares it among the servers as the time each may
# take to greet us. Of ours only the announcement of the node hangs on it.
SESSION = 2.0
# And in the end, where no server greets us in that time: a greeting takes a write.
LONGEST_SESSION = 16.0
CONNECT_TIMEOUT = 0.5  # seconds for TCP and TLS
CLOSE_PATIENCE = 0.2  # seconds for a polite end of the session
FORGET_AFTER = 1.0  # seconds without a connection until we go to a server that knows less than we have seen
REVIVAL_PAUSE = 1.0  # seconds until a client that gave up is replaced

_ANSWERS = (NoNodeError, NodeExistsError, BadVersionError)
_NO_ANSWER = (ConnectionLoss, ConnectionClosedError, SessionExpiredError)
_RETRY = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 0.5, "max_jitter": 0.2}


class _Handler(SequentialThreadingHandler):  # type: ignore[misc] # kazoo is untyped
    """kazoo's threads, with a bound on connecting that does not depend on the session's length."""

    def create_connection(self, *arguments: Any, **words: Any) -> Any:
        return super().create_connection(*arguments, **{**words, "timeout": CONNECT_TIMEOUT})


class _LastWords(logging.Handler):
    """Keeps kazoo's last complaint for our own errors, instead of writing it anywhere."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and not record.getMessage().startswith("Transition"):
            self.text = record.getMessage()


class Connection:
    """The session. Made inside a running event loop; connects in the background, for good, until closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._words = _LastWords()
        self._connected = asyncio.Event()
        self._login_refused = False
        self._answered_at = float("-inf")
        self._doubts: set[asyncio.TimerHandle] = set()
        self._patience: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._client = self._new_client()

    @property
    def session(self) -> int:
        """The id of the session, 0 before there is one."""
        identity = self._client.client_id
        return int(identity[0]) if identity else 0

    async def connected(self) -> None:
        """Wait until there is a connection, however long that takes."""
        await self._connected.wait()

    async def call(self, ask: Callable[[KazooClient], Any], timeout: float) -> Any:
        """Return the answer to ``ask``, which starts one of kazoo's ``*_async`` calls.

        Raises NotSent, Unavailable or Misconfigured within ``timeout`` seconds; kazoo's own NoNodeError,
        NodeExistsError and BadVersionError pass through.
        """
        begun = self._loop.time()
        await self._wait_connected(timeout)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._open.add(answer)
        answer.add_done_callback(self._open.discard)
        sent_at = self._loop.time()
        ask(self._client).rawlink(lambda result: self._from_thread(self._settle, answer, result))
        try:
            async with asyncio.timeout_at(begun + timeout):
                return await answer
        except TimeoutError:
            self._distrust(sent_at)
            raise Unavailable(f"zookeeper: no answer within {timeout:.3f} s") from None
        except asyncio.CancelledError:  # nobody wants the answer, but that one comes still matters
            self._later(timeout, self._distrust, sent_at)
            raise

    async def aclose(self) -> None:
        """End the session, politely if the server answers, and every thread. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._connected.set()  # whoever waits for a connection learns that there will be none
        self._be_patient(None)
        for doubt in self._doubts:
            doubt.cancel()
        for ending in tuple(self._ending):
            ending.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await _stop(self._client)

    # -- kazoo's client

    def _new_client(self) -> KazooClient:
        settings = self._settings
        words: dict[str, Any] = {}
        logger = logging.Logger("kazoo", logging.WARNING)  # noqa: LOG001 - apart from the program's own loggers
        logger.addHandler(self._words)
        if (tls := settings.certificates) is not None:
            words = {
                "use_ssl": True,
                "ca": tls.ca,
                "certfile": tls.cert,
                "keyfile": tls.key,
                "check_hostname": True,
            }
        if (account := settings.account) is not None:
            words |= _credentials(account.username, account.password, sasl=account.sasl)
        client = KazooClient(
            hosts=",".join(settings.targets),
            timeout=SESSION,
            handler=_Handler(),
            randomize_hosts=len(settings.targets) > 1,
            connection_retry=dict(_RETRY),
            logger=logger,
            **words,
        )
        client.add_listener(lambda state: self._from_thread(self._on_state, client, state))
        client.start_async()
        self._be_patient(client)
        return client

    def _on_state(self, client: KazooClient, state: str) -> None:
        if client is not self._client or self._closed:
            return
        if state == KazooState.CONNECTED:
            self._words.text, self._login_refused = "", False
            self._connected.set()
            self._be_patient(None)
            return
        if self._connected.is_set():
            self._be_patient(client)
        self._connected.clear()
        for answer in tuple(self._open):  # kazoo keeps what it was given after it lost the connection
            if not answer.done():  # else it came just before, and whoever waits for it has not run yet
                answer.set_exception(Unavailable("zookeeper: the connection was lost"))
        self._later(FORGET_AFTER, self._forget, client)
        self._login_refused = client._state == KeeperState.AUTH_FAILED or self._login_refused
        if state == KazooState.LOST and not self._ending:
            ending = self._loop.create_task(self._revive(client))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def _forget(self, client: KazooClient) -> None:
        """Forget how far the ensemble had come: one that was wiped is behind that, and would refuse us for good."""
        if not self._connected.is_set():
            client.last_zxid = 0

    def _be_patient(self, client: KazooClient | None, session: float = SESSION) -> None:
        """Ask ``client`` for a session of so many seconds, and for twice as many when that has led to nothing. None: enough."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if client is None:
            return
        client._session_timeout = int(1000 * session)
        longer = min(2 * session, LONGEST_SESSION)
        self._patience = self._loop.call_later(1.5 * session, self._be_patient, client, longer)

    async def _revive(self, client: KazooClient) -> None:
        """Replace ``client`` if it gave up for good, as it does after a refused login."""
        await asyncio.sleep(REVIVAL_PAUSE)
        if not client.connected and client._connection.connection_stopped.is_set():
            await _stop(client)
            self._client = self._new_client()

    # -- calls

    async def _wait_connected(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        except TimeoutError:
            raise self._refused() from None
        if self._closed:
            raise Unavailable("this arbiter is closed")

    def _refused(self) -> ArbiterError:
        if self._login_refused:
            return explain(AuthFailedError(), self._settings.root)
        return explain_no_connection(self._settings.targets, self._words.text)

    def _settle(self, answer: asyncio.Future[Any], result: Any) -> None:
        """Hand an answer over; runs in the event loop."""
        error = result.exception
        if not isinstance(error, _NO_ANSWER):
            self._answered_at = self._loop.time()
        if answer.done():
            return
        if error is None:
            answer.set_result(result.value)
        elif isinstance(error, _ANSWERS):
            answer.set_exception(error)
        else:
            answer.set_exception(explain(error, self._settings.root))

    def _distrust(self, sent_at: float) -> None:
        """Cut the connection if it has been silent since ``sent_at``; answers come in the order of questions."""
        if self._answered_at < sent_at and self._connected.is_set():
            _cut(self._client)

    def _later(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        def act() -> None:
            self._doubts.discard(handle)
            action(*arguments)

        handle = self._loop.call_later(delay, act)
        self._doubts.add(handle)

    def _from_thread(self, action: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(action, *arguments)


def _credentials(username: str, password: str, *, sasl: bool) -> dict[str, Any]:
    """Return kazoo's words for a user whose znodes are nobody else's."""
    if sasl:
        options = {"mechanism": "DIGEST-MD5", "username": username, "password": password}
        return {"sasl_options": options, "default_acl": [make_acl("sasl", username, all=True)]}
    return {
        "auth_data": [("digest", f"{username}:{password}")],
        "default_acl": [make_digest_acl(username, password, all=True)],
    }


def _cut(client: KazooClient) -> None:
    """End the TCP connection under kazoo, which then goes to the next server. There is no public way."""
    connection = client._connection._socket
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


async def _stop(client: KazooClient) -> None:
    """End the session and kazoo's threads; it waits for them, so that is done in a thread of its own."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        with contextlib.suppress(Exception):  # kazoo raises when its connection takes its time
            client.stop()
            client.close()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=stop, name="zookeeper-stop", daemon=True).start()
    for _ in range(4):
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await stopped.wait()
                return
        except TimeoutError:
            _cut(client)
