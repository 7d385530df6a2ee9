"""Keeps the front (``agent.front``) alive beside the worker, without ever waiting for it.

Promises that a front that fails is started again after a pause, that one with nothing to do is not, and that none is left
when the supervisor ends. May not touch the worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping

PAUSE = 1.0  # seconds between the end of a front that failed and the next one
END_PATIENCE = 1.0


class FrontProcess:
    """The one front of a supervisor. ``fork`` starts it and returns its pid."""

    def __init__(self, fork: Callable[[], int], *, wanted: bool) -> None:
        self._fork, self._wanted = fork, wanted
        self._reloaded = False
        self._not_before = 0.0
        self.pid = 0

    @property
    def due(self) -> bool:
        """Whether one has to be started, now or after its pause."""
        return self._wanted and not self.pid

    def ensure(self) -> None:
        """Start one if it is time."""
        if self.due and time.monotonic() >= self._not_before:
            self.pid = self._fork()

    def take(self, ended: Mapping[int, int]) -> None:
        """Note that it is among the children that have ended. One that ended on purpose had nothing to listen on.

        A reload may have come when it was on its way to its end already, so that after one the next front decides.
        """
        if self.pid in ended:
            failed = ended[self.pid] != 0
            self._wanted = failed or self._reloaded
            self._reloaded = False
            if failed:
                self._not_before = time.monotonic() + PAUSE
            self.pid = 0

    def reload(self) -> None:
        """Let it read the configuration again, or start one: there may be something to listen on now."""
        self._wanted, self._reloaded = True, self.pid != 0
        self._signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it; blocks for at most ``END_PATIENCE``."""
        self._wanted = False
        self._signal(signal.SIGTERM)
        until = time.monotonic() + END_PATIENCE
        while self.pid and not self._gone():
            if time.monotonic() > until:
                self._signal(signal.SIGKILL)
            time.sleep(0.01)
        self.pid = 0

    def _gone(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        except ChildProcessError:
            return True

    def _signal(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
