"""The supervisor: keeps exactly one worker alive and remembers which run it is.

It holds what must survive a worker's death: the incarnation (a new worker resumes the same session, so the
address stays where it is) and the lock that keeps a second agent of this node out of this network namespace. It
reads no packets and talks to no arbiter. When it dies itself, the kernel asks the worker to stop in order.

Workers are forked from the warm supervisor, with everything imported, so a new one is there in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import secrets
import signal
import socket
import time
from dataclasses import replace
from types import FrameType

from haagent.agent.parameters import Run, arbitrated, guards
from haagent.agent.worker import Sources, run_worker
from haagent.config.model import Configuration
from haagent.effects import journal
from haagent.effects.addresses import Addresses
from haagent.effects.gate import open_gate
from haagent.effects.interfaces import host_identity
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.errors import EX_SOFTWARE, ConfigError, EffectError, HaagentError

LOG = logging.getLogger("haagent.supervisor")
PR_SET_PDEATHSIG = 1
STOP_TIMEOUT = 10.0  # seconds from the first signal until the worker is killed
QUICK_DEATH = 5.0  # a worker that lived shorter than this is restarted with growing pauses
LONGEST_PAUSE = 5.0


class Supervisor:
    """One run of one node."""

    def __init__(self, sources: Sources, configuration: Configuration, run: Run) -> None:
        self.sources, self.configuration, self.run = sources, configuration, run
        self.worker = 0
        self.stopping_since: float | None = None

    def supervise(self) -> int:
        """Run workers until one ends on purpose; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        pause, run = 0.0, self.run
        while True:
            begun = time.monotonic()
            status = self._run_one(run)
            if self.stopping_since is not None or status in (0, ConfigError.exit_code):
                return self._finish(status)
            lived = time.monotonic() - begun
            pause = 0.0 if lived > QUICK_DEATH else min(LONGEST_PAUSE, max(0.05, 2 * pause))
            LOG.error("worker ended with status %d after %.1f s; starting another", status, lived)
            self._sleep(pause)
            run = replace(run, resumed=True)

    def _run_one(self, run: Run) -> int:
        parent = os.getpid()
        self.worker = os.fork()
        if self.worker == 0:
            os._exit(_work(self.sources, self.configuration, run, parent))
        if self.stopping_since is not None:
            self._signal_worker(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        """Wait for the worker; kill one that does not stop when it should."""
        while True:
            pid, status = os.waitpid(self.worker, os.WNOHANG if self.stopping_since is not None else 0)
            if pid:
                self.worker = 0
                return os.waitstatus_to_exitcode(status)
            if self.stopping_since is not None and time.monotonic() - self.stopping_since > STOP_TIMEOUT:
                LOG.error("the worker did not stop within %g s; killing it", STOP_TIMEOUT)
                self._signal_worker(signal.SIGKILL)
                self.stopping_since = time.monotonic()
            time.sleep(0.02)

    def _finish(self, status: int) -> int:
        """Leave nothing behind, whatever state the last worker was in."""
        if status != 0:
            self._clean_up()
        return 0 if self.stopping_since is not None else status

    def _clean_up(self) -> None:
        async def sweep() -> None:
            gate = open_gate(guards(self.configuration), mode=self.configuration.daemon.gate)
            addresses = Addresses(asyncio.get_running_loop(), lambda _event: None)
            addresses.reconfigure(self.configuration.instances)
            addresses.sweep()
            await addresses.aclose()
            gate.remove()

        try:
            asyncio.run(sweep())
        except EffectError as error:
            LOG.error("cleaning up failed: %s", error)  # noqa: TRY400 - no traceback for the operator

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.stopping_since is None and time.monotonic() < until:
            time.sleep(0.02)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping_since = self.stopping_since or time.monotonic()
        self._signal_worker(signal.SIGTERM)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self._signal_worker(signal.SIGHUP)

    def _signal_worker(self, number: signal.Signals) -> None:
        if self.worker:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.worker, number)


def run_agent(sources: Sources) -> int:
    """Run the agent in the foreground until it is stopped; return the exit status. Raises HaagentError at start."""
    configuration = sources.load()
    node = sources.node or configuration.daemon.node
    journal.configure(configuration.daemon.log_level, form=_form(configuration))
    for warning in configuration.warnings:
        LOG.warning("%s", warning)
    lock = _lock(node)
    run = Run(node, secrets.token_hex(4), host_identity())
    _warm_up(configuration)
    try:
        return Supervisor(sources, configuration, run).supervise()
    finally:
        lock.close()


def _form(configuration: Configuration) -> journal.Form:
    return "json" if configuration.daemon.log_format == "json" else "auto"


def _work(sources: Sources, configuration: Configuration, run: Run, parent: int) -> int:
    """Be a worker; return its exit status."""
    _die_with(parent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        if run.resumed:
            configuration = _reloaded(sources, configuration)
        asyncio.run(run_worker(sources, configuration, run))
    except HaagentError as error:
        LOG.error("%s", error)  # noqa: TRY400 - written for the operator, without a traceback
        return error.exit_code
    except Exception:
        LOG.critical("defect", exc_info=True)
        return EX_SOFTWARE
    return 0


def _reloaded(sources: Sources, configuration: Configuration) -> Configuration:
    """Return what the files mean now: the worker before may have been reloaded."""
    try:
        return sources.load()
    except ConfigError as error:
        LOG.error("the configuration became unusable; going on with the one of the start: %s", error)  # noqa: TRY400
        return configuration


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the supervisor dies: then this worker hands over and leaves nothing behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(EX_SOFTWARE)


def _lock(node: str) -> socket.socket:
    """Take the lock of this node in this network namespace: an abstract socket, which the kernel drops with us."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0haagent/{node}")
    except OSError as error:
        lock.close()
        raise EffectError(f"another haagent named {node} already runs in this network namespace") from error
    return lock


def _warm_up(configuration: Configuration) -> None:
    """Import now what workers need, so that a restarted one is not kept waiting."""
    if configuration.arbiter is not None and arbitrated(configuration):
        load_plugin(find_plugin(configuration.arbiter.kind))
