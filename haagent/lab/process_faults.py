"""Faults of a daemon's processes that need more than one signal to all of them.

As all faults: ``inject`` and ``heal``, and healing what was not injected is no error.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from collections.abc import Callable, Sequence

from haagent.core.units import SECOND, Duration
from haagent.lab.faults import Fault, ProcessFault, Restartable
from haagent.lab.processes import send


class KillWorker(ProcessFault):
    """kill -9 of everything but the top process; a supervisor starts its worker again by itself."""

    name = "kill-worker"
    description = "kill -9 of its worker, the supervisor lives"

    def inject(self) -> None:
        send(self._process().tree()[1:], signal.SIGKILL)

    def heal(self) -> None:
        self.daemon.start()


class KillSupervisor(ProcessFault):
    """kill -9 of the top process alone; what it left behind ends before the daemon is started again."""

    name = "kill-supervisor"
    description = "kill -9 of its supervisor, the worker is left to itself"

    def __init__(self, daemon: Restartable) -> None:
        super().__init__(daemon)
        self._left: tuple[int, ...] = ()

    def inject(self) -> None:
        top, *self_left = self._process().tree()
        self._left = tuple(self_left)
        send((top,), signal.SIGKILL)

    def heal(self) -> None:
        send(self._left, signal.SIGKILL)
        self._left = ()
        if self.daemon.process is not None and not self.daemon.process.alive:
            self.daemon.start()


class RestartAtOnce(ProcessFault):
    """kill -9 of all its processes and a start in the same instant, as a service manager does it."""

    name = "restart-at-once"
    description = "kill -9 of all its processes, started again at once"

    def inject(self) -> None:
        self._process().kill()
        self.daemon.start()

    def heal(self) -> None:
        self.daemon.start()


class Reload(ProcessFault):
    """SIGHUP: the same files read again."""

    name = "reload"
    description = "SIGHUP: its files are read again"

    def inject(self) -> None:
        send((self._process().pid,), signal.SIGHUP)

    def heal(self) -> None:
        """Nothing."""


class Starve(ProcessFault):
    """A resource limit of all its processes lowered to what they use; healed by the old limits."""

    def __init__(self, daemon: Restartable, name: str, limit: int, description: str) -> None:
        super().__init__(daemon)
        self.name, self._limit, self.description = name, limit, description
        self._before: dict[int, tuple[int, int]] = {}

    def inject(self) -> None:
        for pid in self._process().tree():
            with contextlib.suppress(ProcessLookupError):
                soft, hard = resource.prlimit(pid, self._limit)
                resource.prlimit(pid, self._limit, (0, hard))
                self._before[pid] = soft, hard

    def heal(self) -> None:
        for pid, limits in self._before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, self._limit, limits)
        self._before.clear()
        self.daemon.start()


def no_descriptors(daemon: Restartable) -> Starve:
    """No new file, socket or process pipe can be opened (EMFILE)."""
    return Starve(daemon, "no-descriptors", resource.RLIMIT_NOFILE, "no new file or socket can be opened")


def no_writes(daemon: Restartable) -> Starve:
    """No file can grow, its logs and recordings included: a full disk as a process sees it."""
    return Starve(daemon, "no-writes", resource.RLIMIT_FSIZE, "no file can grow, as on a full disk")


class ColdStart:
    """Every daemon stopped in order, then all of them started at once."""

    name = "cold-start"
    target = "all nodes"
    description = "all stopped, then all started in the same instant"

    def __init__(self, daemons: Sequence[Restartable]) -> None:
        self._daemons = tuple(daemons)

    def inject(self) -> None:
        for daemon in self._daemons:
            daemon.stop()
        self.heal()

    def heal(self) -> None:
        for daemon in self._daemons:
            daemon.start()


class Staged:
    """Faults injected one after the other with pauses between, healed in reverse, whatever one of them raises.

    Each step is the fault, or what makes it when its turn comes, and the pause after it.
    """

    def __init__(self, name: str, description: str, *steps: tuple[Callable[[], Fault], Duration]) -> None:
        self.name, self.description, self._steps = name, description, steps
        self.target = ""
        self._injected: list[Fault] = []

    def inject(self) -> None:
        for make, pause in self._steps:
            fault = make()
            self._injected.append(fault)
            self.target = "+".join(dict.fromkeys(one.target for one in self._injected))
            fault.inject()
            time.sleep(pause / SECOND)

    def heal(self) -> None:
        with contextlib.ExitStack() as stack:
            for fault in self._injected:
                stack.callback(fault.heal)
        self._injected.clear()


class Action:
    """Something done once that needs no healing: an operator's command, a script's exit status and its way back."""

    def __init__(
        self,
        name: str,
        target: str,
        description: str,
        do: Callable[[], object],
        undo: Callable[[], object] | None = None,
    ) -> None:
        self.name, self.target, self.description = name, target, description
        self._do, self._undo = do, undo

    def inject(self) -> None:
        self._do()

    def heal(self) -> None:
        if self._undo is not None:
            self._undo()
