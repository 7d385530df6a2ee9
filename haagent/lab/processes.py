"""Programs started inside a namespace, with everything they start: logs, signals, cost.

Promises to signal only processes found below one it started. A tree is stopped from the top down before it is
killed, so that a supervisor cannot restart a worker half way through.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _parents() -> dict[int, int]:
    """Return the parent of every process; field 4 of /proc/PID/stat, after the name in brackets."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path("/proc", entry, "stat").read_text()
                parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def tree(root: int) -> tuple[int, ...]:
    """Return ``root`` and all its descendants, parents first."""
    parents = _parents()
    found = [root] if root in parents else []
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return tuple(found)


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Signal each of ``pids`` that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class NodeProcess:
    """One program and its descendants in a namespace; its output goes to ``log``."""

    def __init__(
        self, namespace: str, argv: Sequence[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.argv, self.log = tuple(argv), log
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self._frozen: tuple[int, ...] = ()

    @property
    def pid(self) -> int:
        """The pid of the program itself (``ip netns exec`` becomes it)."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Say whether the top process still runs (or is frozen)."""
        return self._popen.poll() is None

    def tree(self) -> tuple[int, ...]:
        """Return all pids of this program, parents first; empty when it has ended."""
        return tree(self.pid) if self.alive else ()

    def freeze(self) -> None:
        """SIGSTOP the whole tree."""
        self._frozen = self.tree()
        send(self._frozen, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT what ``freeze`` stopped."""
        send(self._frozen, signal.SIGCONT)
        self._frozen = ()

    def kill(self) -> None:
        """SIGKILL the whole tree at once and reap it."""
        pids = self.tree()
        send(pids, signal.SIGSTOP)
        send(pids, signal.SIGKILL)
        self._popen.wait(timeout=5)
        self._frozen = ()

    def stop(self, patience: float = 5.0) -> None:
        """Ask the program to end (SIGTERM to the top process), and kill the tree when it does not."""
        if not self.alive:
            return
        self.thaw()
        pids = self.tree()
        send((self.pid,), signal.SIGTERM)
        try:
            self._popen.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            send(pids, signal.SIGKILL)
            self._popen.wait(timeout=5)

    def cpu_ns(self) -> int:
        """Return the CPU time of all live processes of the tree, in ns."""
        return sum(_cpu_ns(pid) for pid in self.tree())

    def waited_ns(self) -> int:
        """Return how long the live processes of the tree have waited for a processor, in ns, all their threads together."""
        return sum(_schedstat(pid)[1] for pid in self.tree())

    def pss_bytes(self) -> int:
        """Return the proportional set size of the tree: shared pages counted once among their users."""
        return sum(_pss_bytes(pid) for pid in self.tree())

    def tail(self, lines: int = 20) -> str:
        """Return the end of the log, for error messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _cpu_ns(pid: int) -> int:
    """Run time from schedstat (exact ns); from stat (10 ms ticks) where the kernel has none."""
    if ran := _schedstat(pid)[0]:
        return ran
    with contextlib.suppress(OSError):
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_NS
    return 0


def _schedstat(pid: int) -> tuple[int, int]:
    """Return how long the threads of a process have run and waited for a processor, in ns; zeros where the kernel does not say."""
    ran = waited = 0
    for task in _tasks(pid):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            words = (task / "schedstat").read_text().split()
            ran, waited = ran + int(words[0]), waited + int(words[1])
    return ran, waited


def _tasks(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(Path("/proc", str(pid), "task").iterdir())
    return []


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
