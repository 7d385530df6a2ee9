"""The supervisor: keeps exactly one worker alive and remembers which run it is.

It holds what must survive a worker's death: the incarnation (a new worker resumes the same session, so the
address stays where it is) and the locks that keep a second agent out of this network namespace. It
reads no packets and talks to no arbiter. When it dies itself, the kernel asks the worker to stop in order; when a
worker dies, it ends what that one's scripts left running.

Workers are forked from the warm supervisor, with everything imported, so a new one is there in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

from haagent.agent import node_lock, orphans, privileges
from haagent.agent.dumps import FORWARDED
from haagent.agent.front_process import FrontProcess
from haagent.agent.parameters import Run, arbitrated, guards
from haagent.agent.pid_files import pid_file
from haagent.agent.sources import Sources
from haagent.agent.worker import run_worker
from haagent.config.model import Configuration, GlobalDefs
from haagent.core.units import Duration
from haagent.effects import framing, journal, namespace, scheduling
from haagent.effects.addresses import Addresses
from haagent.effects.confinement import die_with
from haagent.effects.gate import open_gate
from haagent.effects.interfaces import host_identity
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.effects.routes import Routes
from haagent.errors import EX_SOFTWARE, ConfigError, EffectError, HaagentError

LOG = logging.getLogger("haagent.supervisor")
STOP_TIMEOUT = 10.0  # seconds from the first signal until the worker is killed
QUICK_DEATH = 5.0  # a worker that lived shorter than this is restarted with growing pauses
LONGEST_PAUSE = 5.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
RELOAD_FRONT = b"\0"  # what a worker writes where signals write their numbers, of which none is 0


class Supervisor:
    """One run of one node."""

    def __init__(self, sources: Sources, configuration: Configuration, run: Run) -> None:
        self.sources, self.configuration, self.run = sources, configuration, run
        self.worker = 0
        self.front = FrontProcess(self._fork_front, wanted=bool(configuration.daemon.listens))
        self.stopping_since: float | None = None
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def supervise(self) -> int:
        """Run workers until one ends on purpose; return the exit status."""
        self._listen()
        orphans.adopt()
        quick_deaths, run = 0, self.run
        while True:
            begun = time.monotonic()
            status = self._run_one(run)
            if self.stopping_since is not None or _is_final(status, run):
                return self._finish(status)
            if left := orphans.kill(spare=self.front.pid):
                LOG.warning("ended %d processes that the worker's scripts had left", left)
            lived = time.monotonic() - begun
            quick_deaths = 0 if lived > QUICK_DEATH else quick_deaths + 1
            LOG.error("worker ended with status %d after %.1f s; starting another", status, lived)
            self._sleep(_pause(quick_deaths))
            run = replace(run, resumed=True, uptime=_uptime())

    def _listen(self) -> None:
        """Handle signals, and be woken by them: a blocking wait alone would be resumed after the handler."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        for other in FORWARDED:
            signal.signal(other, self._forward)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)

    def _run_one(self, run: Run) -> int:
        self.worker = _fork(lambda: _work(self.sources, self.configuration, run, self._ask_for_front_reload))
        if self.stopping_since is not None:
            self._signal_worker(signal.SIGTERM)
        with pid_file(self.sources.worker_pid_file, self.worker):
            return self._wait()

    def _wait(self) -> int:
        """Wait for the worker; kill one that does not stop when it should."""
        while True:
            ended = orphans.reap()
            self.front.take(ended)
            if self.worker in ended:
                status = ended[self.worker]
                self.worker = 0
                return os.waitstatus_to_exitcode(status)
            if self.stopping_since is not None and time.monotonic() - self.stopping_since > STOP_TIMEOUT:
                LOG.error("the worker did not stop within %g s; killing it", STOP_TIMEOUT)
                self._signal_worker(signal.SIGKILL)
                self.stopping_since = time.monotonic()
            self.front.ensure()
            self._sleep_until_woken(0.2 if self.stopping_since is not None or self.front.due else None)

    def _sleep_until_woken(self, seconds: float | None) -> None:
        select.select([self._woken], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            if RELOAD_FRONT in os.read(self._woken, 4096):
                self.front.reload()

    def _ask_for_front_reload(self) -> None:
        """Let the supervisor reload the front; for the worker, which was asked to reload and has no signal to pass on."""
        with contextlib.suppress(BlockingIOError):  # full only while the supervisor is stopped
            os.write(self._wakes, RELOAD_FRONT)

    def _finish(self, status: int) -> int:
        """Leave nothing behind, whatever state the last worker was in."""
        self.front.stop()
        if status < 0:
            orphans.kill()
        if status not in (0, EffectError.exit_code, ConfigError.exit_code):
            self._clean_up()
        return 0 if self.stopping_since is not None else status

    def _clean_up(self) -> None:
        async def sweep() -> None:
            gate = open_gate(guards(self.configuration), mode=self.configuration.daemon.gate)
            addresses = Addresses(asyncio.get_running_loop(), lambda _event: None)
            addresses.reconfigure(self.configuration.instances)
            routes = Routes(self.configuration, lambda _report: None)
            routes.sweep()
            routes.close()
            addresses.sweep()
            addresses.remove_interfaces()
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
        self.front.reload()

    def _fork_front(self) -> int:
        return _fork(lambda: _answer(self.sources, self.configuration, self.run.node))

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._signal_worker(number)

    def _signal_worker(self, number: int) -> None:
        if self.worker:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.worker, number)


def _uptime() -> Duration:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _pause(quick_deaths: int) -> float:
    """Return how many seconds to wait after so many quick deaths in a row: the first one may cost no time."""
    return 0.0 if quick_deaths < 2 else min(LONGEST_PAUSE, 0.05 * 2 ** min(quick_deaths - 2, 10))


def _is_final(status: int, run: Run) -> bool:
    """Tell whether another worker would end the same way.

    What the host refuses at the start it refuses again; what it refuses later may be over in a moment.
    """
    return status in (0, ConfigError.exit_code) or (status == EffectError.exit_code and not run.resumed)


def run_agent(sources: Sources) -> int:
    """Run the agent in the foreground until it is stopped; return the exit status. Raises HaagentError at start."""
    configuration = sources.load()
    node = sources.node or configuration.daemon.node
    journal.configure(
        configuration.daemon.log_level,
        form=configuration.daemon.log_format,
        file=sources.log_file,
        facility=sources.log_facility,
    )
    for warning in configuration.warnings:
        LOG.warning("%s", warning)
    privileges.require()
    sources = sources.of_a_run(configuration)
    if wanted := sources.namespace or configuration.net_namespace:
        namespace.enter(wanted)
    lock = node_lock.take(node)
    run = Run(node, secrets.token_hex(4), host_identity(), uptime=_uptime())
    _warm_up(configuration)
    try:
        with pid_file(sources.pid_file, os.getpid()), _framed(configuration.globals):
            return Supervisor(sources, configuration, run).supervise()
    finally:
        lock.close()


@contextlib.contextmanager
def _framed(defaults: GlobalDefs) -> Iterator[None]:
    """Keep the umask and run the scripts that global_defs asks for, around the agent's life."""
    process = defaults.process
    if process.umask is not None:
        os.umask(process.umask)
    framing.run_once("startup_script", process.startup, process.startup_timeout, defaults)
    try:
        yield
    finally:
        framing.run_once("shutdown_script", process.shutdown, process.shutdown_timeout, defaults)


def _fork(work: Callable[[], int]) -> int:
    """Start a child that does ``work``, dies with this process and has none of its signal handlers; return its pid."""
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a child must not swallow one with our handlers
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return pid
    status = EX_SOFTWARE
    try:
        die_with(parent, signal.SIGTERM)  # then a worker hands over and leaves nothing behind
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for other in FORWARDED:
            signal.signal(other, signal.SIG_IGN)  # until the child listens
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        status = work()
    finally:
        os._exit(status)


def _answer(sources: Sources, configuration: Configuration, node: str) -> int:
    """Be the front; return its exit status. What only it needs is imported by it alone."""
    try:
        from haagent.agent.front import run_front

        with contextlib.suppress(ConfigError):  # the worker says what is wrong
            configuration = sources.load()
        run_front(sources, configuration, node)
    except Exception:
        LOG.critical("defect in the front", exc_info=True)
        return EX_SOFTWARE
    return 0


def _work(
    sources: Sources, configuration: Configuration, run: Run, reload_front: Callable[[], object]
) -> int:
    """Be a worker; return its exit status."""
    try:
        if run.resumed:
            configuration = _reloaded(sources, configuration)
        scheduling.apply(configuration.globals.process)
        asyncio.run(run_worker(sources, configuration, run, reload_front))
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


def _warm_up(configuration: Configuration) -> None:
    """Import now what workers need, so that a restarted one is not kept waiting."""
    if configuration.arbiter is not None and arbitrated(configuration):
        load_plugin(find_plugin(configuration.arbiter.kind))
