"""Work inside named network namespaces without moving the process there.

Sockets stay in the namespace they were opened in, so one observer thread can listen in all of them. Promises
that the calling thread is back in its own namespace afterwards, also after an error.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from haagent.errors import HaagentError

CLONE_NEWNET = 0x40000000
NAMESPACE_DIRECTORY = "/run/netns"
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(HaagentError):
    """The lab cannot be built or run: what was tried, and what the system answered."""


def require_lab_host(programs: Sequence[str] = ("ip", "nft", "haproxy")) -> None:
    """Raise LabError unless this process may make namespaces and has the programs the lab starts."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and needs root (try: sudo haagent lab ...)")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise LabError(
            f"the lab needs {', '.join(missing)}; on Debian: apt install iproute2 nftables haproxy"
        )


def run(*argv: str, stdin: str | None = None) -> str:
    """Run a short command and return its output; LabError with its complaint when it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Put the calling thread into ``namespace`` for the length of the block (sockets, /proc/sys/net)."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"{NAMESPACE_DIRECTORY}/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def sysctl(namespace: str, name: str, value: int) -> None:
    """Set one net.* sysctl inside ``namespace``."""
    with inside(namespace), open("/proc/sys/" + name.replace(".", "/"), "w") as file:
        file.write(str(value))


def processes_in(namespace: str) -> tuple[int, ...]:
    """Return the pids of all processes whose network namespace this is."""
    return tuple(int(word) for word in run("ip", "netns", "pids", namespace).split())
