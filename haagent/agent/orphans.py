"""What a dead worker's scripts leave running: the supervisor inherits it, and ends it.

``adopt`` makes this process the parent of whatever its descendants leave behind. Promises to signal only its own
children, and never those of an arbiter that ask to be left alone (``ENDS_BY_ITSELF``). A worker that ends in order has
ended its scripts itself; what they put into the background on purpose is reaped when it ends and otherwise left alone, as
keepalived does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from haagent.arbiter import ENDS_BY_ITSELF

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 1.0  # seconds for killed processes to go; one that cannot is left to the kernel


def adopt() -> None:
    """Become the parent of orphaned descendants from now on. A kernel that refuses only costs tidiness."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> dict[int, int]:
    """Collect every child that has ended; return the wait status of each."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


def kill(spare: int = 0) -> int:
    """SIGKILL every child but ``spare``, and theirs as they are inherited, until none is left; return how many there were."""
    killed: set[int] = set()
    until = time.monotonic() + PATIENCE
    while (pids := _to_be_ended(spare)) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= pids
        time.sleep(0.002)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return len(killed)


def _to_be_ended(spare: int) -> set[int]:
    return {pid for pid in children() if pid != spare and not _ends_by_itself(pid)}


def _ends_by_itself(pid: int) -> bool:
    try:
        return f"{ENDS_BY_ITSELF}=".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # it has ended


def children() -> set[int]:
    """Return the pids of this process's children that still run."""
    me = os.getpid()
    try:
        found = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    except OSError:
        return set()  # a kernel without CONFIG_PROC_CHILDREN
    return {int(pid) for pid in found}
