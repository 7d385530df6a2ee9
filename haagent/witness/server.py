"""The witness as a process: listens, lets in who has the key, serves until it is told to end.

Promises that strangers cannot shut out clients or use up memory: they have a short time to prove that they have the
key, there are never more than a few of them, and for one more the host that has most of them loses its oldest. A
clean end answers what is being written, and leaves one file. A disk that fails ends the process: whoever starts it
again finds out what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from haagent.control.crowd import Crowd, host_of
from haagent.effects.systemd import ServiceManager
from haagent.effects.throttle import Throttle
from haagent.errors import HaagentError
from haagent.witness.committer import Committer
from haagent.witness.guest import Guest
from haagent.witness.hints import Hints
from haagent.witness.store import Store
from haagent.witness.wire import LARGEST, Channel, Stranger, WireError, WrongKey, welcome

LOG = logging.getLogger("haagent.witness")

DEFAULT_PORT = 7419
MOST_STRANGERS = 32  # connections that have not proved anything yet
MOST_GUESTS = 256
GREETING_TIMEOUT = 3.0  # seconds
BACKLOG = 64
ANY = "::"  # every address, also of IPv4
QUIET = 60.0  # seconds in which refusals of one kind are logged once


class ListenError(HaagentError):
    """An address cannot be listened on."""

    exit_code = 69


@dataclass(frozen=True, slots=True)
class Options:
    """How a witness is run. ``tls`` wraps every connection; ``key`` is the secret shared with the clients."""

    listen: tuple[tuple[str, int], ...]
    key: bytes = field(repr=False)
    tls: ssl.SSLContext | None = None


class Witness:
    """A running witness on ``store``, which it closes."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store, self._options = store, options
        self._hints = Hints()
        self._committer = Committer(store, self._hints.tell)
        self._strangers: Crowd[asyncio.StreamWriter] = Crowd(MOST_STRANGERS)
        self._guests: dict[asyncio.StreamWriter, Guest] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._throttle = Throttle(QUIET, burst=16)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set. Raises ListenError, and StoreError when the disk fails."""
        servers: list[asyncio.Server] = []
        committing = asyncio.create_task(self._committer.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            for host, port in self._options.listen:
                servers.append(await self._listen(host, port))
            self._ready(servers)
            await asyncio.wait((committing, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(servers, committing, stopping)
        if not committing.cancelled() and (error := committing.exception()) is not None:
            raise error

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        try:
            where = {"sock": _everywhere(port)} if host == ANY else {"host": host, "port": port}
            return await asyncio.start_server(self._accept, limit=LARGEST, backlog=BACKLOG, **where)
        except (OSError, OverflowError) as error:
            raise ListenError(f"witness: cannot listen on {host} port {port}: {error}") from error

    def _ready(self, servers: Sequence[asyncio.Server]) -> None:
        places = ", ".join("{} port {}".format(*s.getsockname()[:2]) for one in servers for s in one.sockets)
        new = ", new and empty" if self._store.made else ""
        LOG.info("witness: listens on %s; file %s%s", places, self._store.path, new)
        ServiceManager().ready(f"listens on {places}")

    async def _end(self, servers: Sequence[asyncio.Server], *tasks: asyncio.Task[object]) -> None:
        for server in servers:
            server.close()
        for task in (*tasks, *self._handlers):
            task.cancel()
        await asyncio.gather(*tasks, *self._handlers, return_exceptions=True)
        await self._committer.aclose()
        LOG.info("witness: ended; %d swaps in %d writes", self._committer.swaps, self._committer.commits)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        peer = "{} port {}".format(*(writer.get_extra_info("peername") or ("somebody", "?"))[:2])
        try:
            await self._serve(reader, writer, peer)
        except asyncio.CancelledError:
            pass  # we end; streams of Python 3.11 would log a cancelled handler as an error
        except (WrongKey, Stranger) as error:
            self._complain(str(error), peer)
        except (WireError, ValueError) as error:
            self._complain(f"sent nonsense: {error}", peer)
        except (EOFError, OSError, TimeoutError):
            pass  # it went away, or did not prove anything in time
        finally:
            self._strangers.leave(writer)
            self._guests.pop(writer, None)
            writer.transport.abort()
            self._handlers.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        leaving = self._strangers.enter(writer, host_of(writer))
        if leaving is not None:
            leaving.transport.abort()
        async with asyncio.timeout(GREETING_TIMEOUT):
            guest = Guest(await self._greet(reader, writer), self._committer, self._hints)
            if len(self._guests) >= MOST_GUESTS:
                self._complain(f"one connection more than {MOST_GUESTS}", peer)
                return
            await guest.open()
        self._strangers.leave(writer)
        self._guests[writer] = guest
        await guest.serve()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Channel:
        _prompt(writer)
        if self._options.tls is not None:
            await writer.start_tls(self._options.tls)
        return await welcome(reader, writer, self._options.key)

    def _complain(self, what: str, peer: str) -> None:
        """Log a refusal, unless one of its kind was logged a moment ago."""
        if self._throttle.admit(what.partition(":")[0], asyncio.get_running_loop().time()):
            LOG.warning("witness: %s refused: %s", peer, what)


def _everywhere(port: int) -> socket.socket:
    """Return a socket that hears every address of both families; asyncio's own for :: would hear IPv6 only."""
    if socket.has_dualstack_ipv6():
        return socket.create_server((ANY, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    return socket.create_server(("", port), backlog=BACKLOG)


def _prompt(writer: asyncio.StreamWriter) -> None:
    """Send small answers at once."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def serve(path: Path, options: Options) -> None:
    """Run a witness on ``path`` until SIGTERM or SIGINT. Raises StoreError, ListenError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Witness(Store(path), options).run(stop)
