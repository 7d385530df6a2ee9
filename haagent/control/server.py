"""The control socket: JSON lines over a Unix socket, one request, one reply. The protocol is in ``PROTOCOL.md``.

Promises: commands that change something are for root and the agent's own user, as the kernel names the peer; no
client can hold the agent up, make it remember much, or end it; when too many are connected the user who has most of
them loses his oldest, so that nobody keeps root out; a socket left by a dead agent is replaced, one of a
living agent is not. May not interpret commands: the agent registers a handler for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeAlias

from haagent.control.crowd import Crowd
from haagent.errors import ControlError

LOG = logging.getLogger("haagent.control")
Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
Reply: TypeAlias = dict[str, Any]

LINE_LIMIT = 65_536
IDLE_TIMEOUT = 30.0
HANDLER_TIMEOUT = 10.0
SEND_TIMEOUT = 10.0
MOST_CLIENTS = 32
_UCRED = struct.Struct("3i")


class ControlServer:
    """Serves ``handlers`` at ``path``. A handler gets the request without ``command`` and returns the result.

    A handler raises ControlError to refuse and ValueError to say that an argument is wrong; ``changing`` names the
    commands that are not for everybody who may open the socket.
    """

    def __init__(
        self,
        path: str,
        handlers: Mapping[str, Handler],
        changing: Collection[str] = (),
        handler_timeout: float = HANDLER_TIMEOUT,
    ) -> None:
        self._path, self._handlers, self._changing = path, handlers, frozenset(changing)
        self._handler_timeout = handler_timeout
        self._lock: int | None = None
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()
        self._crowd: Crowd[asyncio.Task[Any]] = Crowd(MOST_CLIENTS)

    async def start(self) -> None:
        """Listen. Raises ControlError if another agent already does, or the path cannot be used."""
        try:
            os.makedirs(os.path.dirname(self._path) or ".", mode=0o755, exist_ok=True)
            self._lock = self._take_lock()
            listener = self._bind()
        except OSError as error:
            self._drop_lock()
            raise ControlError(f"control socket {self._path}: {error.strerror or error}") from None
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_LIMIT)

    def _take_lock(self) -> int:
        """A lock tells a living agent from a socket somebody left; the kernel drops it with its process."""
        descriptor = os.open(
            f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ControlError(
                f"control socket {self._path}: another haagent is running and uses it"
            ) from None
        return descriptor

    def _bind(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(self._path)
            os.chmod(self._path, 0o660)  # before listen, so nobody connects under the umask's mode
        except OSError:
            listener.close()
            raise
        return listener

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    async def aclose(self) -> None:
        """Stop listening, drop every client, remove the socket. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await server.wait_closed()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._drop_lock()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            uid = _uid(writer.get_extra_info("socket"))
            leaving = self._crowd.enter(task, str(uid))
            if leaving is not None:
                leaving.cancel()
            await self._converse(reader, writer, trusted=uid in (0, os.geteuid()))
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client left, sleeps, or we stop; streams log a cancelled handler as a defect
        finally:
            self._crowd.leave(task)
            self._clients.discard(task)
            writer.transport.abort()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, trusted: bool
    ) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), IDLE_TIMEOUT)
            except ValueError:
                await _send(writer, _no("invalid", f"a request is longer than {LINE_LIMIT} bytes"))
                return
            if not line.endswith(b"\n"):
                return
            await _send(writer, await self._answer(line, trusted=trusted))

    async def _answer(self, line: bytes, *, trusted: bool) -> Reply:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _no("invalid", "a request is one JSON object per line")
        command = request.pop("command", None) if isinstance(request, dict) else None
        if not isinstance(command, str):
            return _no("invalid", 'a request needs a text "command"')
        handler = self._handlers.get(command)
        if handler is None:
            return _no(
                "unknown", f"unknown command {command!r}; there are: {', '.join(sorted(self._handlers))}"
            )
        if command in self._changing and not trusted:
            return _no("forbidden", f"{command!r} is for root and the user haagent runs as")
        return await self._perform(command, handler, request)

    async def _perform(self, command: str, handler: Handler, request: dict[str, Any]) -> Reply:
        try:
            result = await asyncio.wait_for(handler(request), self._handler_timeout)
            json.dumps(result)
        except ControlError as error:
            return _no("refused", str(error))
        except ValueError as error:
            return _no("invalid", str(error))
        except TimeoutError:
            return _no("failed", f"{command!r} took longer than {self._handler_timeout:g} s")
        except Exception as error:
            LOG.exception("control command failed", extra={"fields": {"command": command}})
            return _no("failed", f"{command!r} failed: {type(error).__name__}: {error}")
        return {"ok": True, "result": result}


def _no(kind: str, error: str) -> Reply:
    return {"ok": False, "kind": kind, "error": error}


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(json.dumps(reply).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), SEND_TIMEOUT)


def _uid(peer: socket.socket) -> int:
    _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
