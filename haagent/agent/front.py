"""The front: a process of its own that answers HTTP and HAProxy's agent-checks about this node, and changes nothing.

Promises:

* What strangers send never reaches the process that renews leases: a flood costs this process, which runs at a lower
  priority, and nothing else.
* It answers truthfully when the worker is frozen, hung or dead: what passes is read from the kernel at the time of the
  answer, what the agent last said from its snapshot, and how old that is counts.
* Where the gate is not in the kernel (tiers lifetime and off) the agent itself is asked, and its silence means no.

It is the supervisor's child, beside the worker, and dies with it. SIGHUP reads the configuration again; one that cannot
be used changes nothing. Without anything to listen on it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal

from haagent.agent.sources import Sources
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration, Listen
from haagent.control import agent_check, endpoints, http
from haagent.control.client import request
from haagent.control.document import Status, read_boot_id
from haagent.control.listener import Listener
from haagent.control.snapshot import read_snapshot, snapshot_path, socket_path
from haagent.control.view import GateView, View
from haagent.effects.gate import Tier, boot_now, inspect
from haagent.effects.processes import in_thread
from haagent.errors import ConfigError, ControlError, EffectError

LOG = logging.getLogger("haagent.front")
NICE = 5  # below the worker, which has a deadline to keep
RETRY = 2.0  # seconds between attempts to listen on an address that is taken
ASK_TIMEOUT = 0.5  # seconds for the agent's own word, where the kernel has none
_CHECKED = (Tier.BPF.value, Tier.NFTABLES.value)


class Front:
    """The listeners of one node."""

    def __init__(self, sources: Sources, configuration: Configuration, node: str) -> None:
        self._sources, self._configuration, self._node = sources, configuration, node
        self._boot_id = read_boot_id()
        self._listeners: dict[Listen, Listener] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._changing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM, or until a reload leaves nothing to listen on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._soon, True)
        await self._listen()
        await self._ended.wait()
        for listener in self._listeners.values():
            await listener.aclose()

    def _soon(self, reload: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._reload() if reload else self._listen())
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)

    async def _reload(self) -> None:
        try:
            self._configuration = await in_thread(self._sources.load)
        except (ConfigErrors, ConfigError):
            return  # the worker says what is wrong
        await self._listen()

    async def _listen(self) -> None:
        """Bring the listeners to what the configuration asks for; try again later what cannot be had now."""
        wanted = self._configuration.daemon.listens
        for listen in [one for one in self._listeners if one not in wanted]:
            await self._listeners.pop(listen).aclose()
        if not wanted:
            self._ended.set()
        for listen in [one for one in wanted if one not in self._listeners]:
            await self._open(listen)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if len(self._listeners) < len(wanted):
            self._retry = asyncio.get_running_loop().call_later(RETRY, self._soon, False)

    async def _open(self, listen: Listen) -> None:
        is_check = listen in self._configuration.daemon.agent_checks
        serve = functools.partial(self._check, listen.subject) if is_check else self._http
        listener = Listener(listen, serve)
        try:
            await listener.start()
        except OSError as error:
            if self._retry is None:
                LOG.error("cannot listen on %s: %s; trying again", listen, error.strerror or error)  # noqa: TRY400
            return
        self._listeners[listen] = listener
        LOG.info("%s on %s", "agent-check" if is_check else "HTTP", listen)

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def respond(target: str) -> http.Response:
            return endpoints.respond(target, await self.view())

        await http.serve(reader, writer, respond)

    async def _check(self, subject: str, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(agent_check.line(await self.view(), subject).encode())

    # -- what is so now

    async def view(self) -> View:
        """Return the node as it is now."""
        status = self._last_word()
        if status is None or status.gate.tier in _CHECKED:
            gate = kernel_gate()
        else:
            status, gate = await self._asked(status)
        return View(status, gate, boot_now())

    @property
    def _socket(self) -> str:
        configured = self._configuration.daemon.control_socket
        return configured or socket_path(self._node, self._sources.run_directory)

    def _last_word(self) -> Status | None:
        try:
            status = read_snapshot(snapshot_path(self._socket))
        except (OSError, ValueError):
            return None
        return status if status is not None and status.boot_id == self._boot_id else None

    async def _asked(self, last: Status) -> tuple[Status, GateView]:
        """Return the agent's word of this moment; its silence closes the gate, as far as anybody here can tell."""
        ask = functools.partial(request, self._socket, "status", timeout=ASK_TIMEOUT)
        try:
            fresh = Status.from_json(await in_thread(ask))
        except (ControlError, ValueError):
            return last, GateView()
        epochs = {one.claim: one.epoch for one in fresh.instances if one.state == "MASTER"}
        return fresh, GateView(fresh.gate.deadline_boot_ns or 0, epochs)


def kernel_gate() -> GateView:
    """Return what the kernel of this network namespace lets pass now; nothing if it cannot be asked."""
    try:
        states = inspect().states
    except EffectError:
        return GateView()
    for _, state in states:
        return GateView(state.deadline, state.epochs)
    return GateView()


def run_front(sources: Sources, configuration: Configuration, node: str) -> None:
    """Be the front until asked to stop (blocks). Without a word about HTTP in the configuration it returns at once."""
    if not configuration.daemon.listens:
        return
    with contextlib.suppress(OSError):
        os.nice(NICE)

    async def serve() -> None:
        await Front(sources, configuration, node).run()

    asyncio.run(serve())
