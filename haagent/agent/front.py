"""The front: answers HTTP and HAProxy's agent-checks about this node, and changes nothing. Two processes.

Promises:

* What strangers send never reaches the process that renews leases, nor one that has any right on this host: it is read
  by a process of its own (``exposed``), which runs at a lower priority, as nobody, and may only ask this one.
* It answers truthfully when the worker is frozen, hung or dead: what passes is read from the kernel at the time of the
  answer, what the agent last said from its snapshot, and how old that is counts.
* Where the gate is not in the kernel (tiers lifetime and off), or the snapshot is old (its disk may be full), the agent
  itself is asked, at most ten times a second whatever strangers do, and its silence means no.

This process is the supervisor's child, beside the worker, and dies with it. It keeps the agent's capabilities, because
finding the gate's program and maps needs them, and so may not read anything that strangers wrote. It also opens the
sockets. SIGHUP reads the configuration again; one that cannot be used changes nothing. Without anything to listen on
it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Sequence

from haagent.agent.exposed_process import ExposedProcess, PublicEndpoint
from haagent.agent.sources import Sources
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.control.client import request
from haagent.control.document import Status, read_boot_id
from haagent.control.listener import listening
from haagent.control.snapshot import read_snapshot, snapshot_path, socket_path
from haagent.control.view import GateView, View
from haagent.effects.gate import Tier, boot_now, inspect
from haagent.effects.processes import in_thread
from haagent.errors import ConfigError, ControlError, EffectError

LOG = logging.getLogger("haagent.front")
NICE = 5  # below the worker, which has a deadline to keep
RETRY = 2.0  # seconds between attempts to listen on an address that is taken, or to have an exposed process
ASK_TIMEOUT = 0.5  # seconds for the agent's own word, where the kernel has none
ASK_AGAIN = 0.1  # seconds for which that word is good
ASK_SILENT_AGAIN = 1.0  # seconds until one that did not answer is waited for again
_CHECKED = (Tier.BPF.value, Tier.NFTABLES.value)


class Front:
    """The sockets of one node, and the process that serves them."""

    def __init__(self, sources: Sources, configuration: Configuration, node: str) -> None:
        self._sources, self._configuration, self._node = sources, configuration, node
        self._boot_id = read_boot_id()
        self._said: tuple[float, Status | None] | None = None
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._served: dict[PublicEndpoint, socket.socket] = {}
        self._complained = False
        self._exposed: ExposedProcess | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._listening = asyncio.Lock()
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM, or until a reload leaves nothing to listen on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        await self._listen()
        await self._ended.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """End the exposed process and close every socket. Idempotent."""
        self._ended.set()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def _reload_soon(self) -> None:
        self._spawn(self._reload())

    def _listen_soon(self) -> None:
        self._retry = None
        self._spawn(self._listen())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        try:
            self._configuration = await in_thread(self._sources.load)
        except (ConfigErrors, ConfigError):
            return  # the worker says what is wrong
        await self._listen()

    async def _listen(self) -> None:
        """Bring what is served to what the configuration asks for; try again later what cannot be had now."""
        async with self._listening:
            wanted = self._wanted()
            if not wanted:
                self._ended.set()
                return
            self._open_sockets(wanted)
            served = {one: self._sockets[one.address] for one in wanted if one.address in self._sockets}
            if self._exposed is None or served != self._served:
                self._served = served
                await self._expose()
            complete = self._exposed is not None and len(served) == len(wanted)
            self._complained = not complete
            if not complete and self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(RETRY, self._listen_soon)

    def _wanted(self) -> list[PublicEndpoint]:
        daemon = self._configuration.daemon
        return [
            *(PublicEndpoint(one, check=False) for one in daemon.http),
            *(PublicEndpoint(one, check=True) for one in daemon.agent_checks),
        ]

    def _open_sockets(self, wanted: Sequence[PublicEndpoint]) -> None:
        """Have a socket for every address that can be had. One that changes its purpose is kept: nobody is turned away."""
        for gone in self._sockets.keys() - {endpoint.address for endpoint in wanted}:
            self._sockets.pop(gone).close()
        for endpoint in wanted:
            if endpoint.address in self._sockets:
                continue
            try:
                self._sockets[endpoint.address] = listening(endpoint.listen)
            except OSError as error:
                self._complain(f"cannot listen on {endpoint.listen}: {error.strerror or error}")
                continue
            LOG.info("%s on %s", "agent-check" if endpoint.check else "HTTP", endpoint.listen)

    def _complain(self, text: str) -> None:
        if not self._complained:
            LOG.error("%s; trying again", text)

    async def _expose(self) -> None:
        """Let a new process serve what there is to serve, and the one before finish what it has begun."""
        before, self._exposed = self._exposed, None
        if before is not None:
            before.retire()
        if not self._served:
            return
        daemon = self._configuration.daemon
        level, form = daemon.log_level, daemon.log_format
        try:
            self._exposed = await ExposedProcess.start(self._served, level=level, form=form)
        except OSError as error:
            self._complain(f"cannot start the process that answers: {error.strerror or error}")
            return
        self._spawn(self._attend(self._exposed))

    async def _attend(self, exposed: ExposedProcess) -> None:
        """Answer a process until it ends; one that nobody asked to end is replaced after a pause."""
        try:
            await exposed.serve(self.view)
        except Exception:
            LOG.exception("defect in the front")
        if exposed is self._exposed:
            LOG.error("the process that answers HTTP ended; starting another")
            self._exposed = None
            await asyncio.sleep(RETRY)
            await self._listen()

    # -- what is so now

    async def view(self) -> View:
        """Return the node as it is now."""
        status, asked = self._last_word(), None
        if status is None or _is_old(status) or status.gate.tier not in _CHECKED:
            status, asked = await self._asked(status)
        if asked is None or status is None or status.gate.tier in _CHECKED:
            return View(status, kernel_gate(), boot_now())
        return View(status, asked, boot_now())

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

    async def _asked(self, last: Status | None) -> tuple[Status | None, GateView]:
        """Return the agent's word of this moment; its silence closes the gate, as far as anybody here can tell."""
        if self._said is None or time.monotonic() >= self._said[0]:
            fresh = await self._ask()
            self._said = time.monotonic() + (ASK_AGAIN if fresh is not None else ASK_SILENT_AGAIN), fresh
        said = self._said[1]
        if said is None:
            return last, GateView()
        epochs = {one.claim: one.epoch for one in said.instances if one.state == "MASTER"}
        return said, GateView(said.gate.deadline_boot_ns or 0, epochs)

    async def _ask(self) -> Status | None:
        ask = functools.partial(request, self._socket, "status", timeout=ASK_TIMEOUT)
        try:
            return Status.from_json(await in_thread(ask))
        except (ControlError, ValueError):
            return None


def _is_old(status: Status) -> bool:
    """Return whether a living agent would have written again, if it could: its run directory may be full."""
    return not View(status, GateView(), boot_now()).alive


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
