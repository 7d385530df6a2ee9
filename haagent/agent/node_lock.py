"""The locks that keep a second agent out of a network namespace, whatever its node is called: abstract sockets.

A namespace has one gate, with one deadline. A second agent would take it over, guard its own addresses and no others,
and keep it open for the first one.

Promises that the kernel drops them with their holder, and that no other user of the host can keep an agent from starting:
an abstract name is anybody's to take, so one that belongs to neither root nor our own user is no agent's. Then the agent
runs without this lock, and says so; the control socket has one of its own, in a directory that is not anybody's.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from haagent.errors import EffectError

LOG = logging.getLogger("haagent.supervisor")
NAMESPACE = "haagent"  # the name of the lock that agents of all nodes want; that of a node has a slash


def take(node: str) -> ExitStack:
    """Return the locks of ``node`` and of the namespace; closing lets go. Raises EffectError if another agent has one."""
    here = "already runs in this network namespace"
    with ExitStack() as locks:
        locks.enter_context(_take(f"haagent/{node}", f"another haagent named {node} {here}"))
        locks.enter_context(
            _take(
                NAMESPACE,
                f"another haagent {here}, and there is one gate for both: put all instances into one configuration, "
                "or the second agent into a namespace of its own (net_namespace)",
            )
        )
        return locks.pop_all()


def keep_agents_out() -> socket.socket:
    """Return the lock of the namespace for somebody who is no agent; closing lets go.

    Raises EffectError if anybody has it, and names them. Here a stranger counts, too: beside one an agent may run without it.
    """
    lock = _bound(NAMESPACE)
    if lock is None:
        holders = ", ".join(f"{pid} of uid {uid}" for pid, uid in _holders(NAMESPACE))
        seen = f"held by process {holders}" if holders else "held by a process that only root can see"
        raise EffectError(
            f"an agent runs in this network namespace, stop it first: its lock @{NAMESPACE} is {seen}"
        )
    return lock


def _take(name: str, complaint: str) -> socket.socket:
    """Return the lock of that name. Raises EffectError with ``complaint`` if another agent has it."""
    lock = _bound(name)
    if lock is not None:
        return lock
    holders = tuple(_holders(name))
    if not holders or any(uid in (0, os.geteuid()) for _, uid in holders):
        raise EffectError(complaint)
    pid, uid = holders[0]
    LOG.warning("process %d of uid %d has taken the name @%s, which is this agent's lock", pid, uid, name)
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _bound(name: str) -> socket.socket | None:
    """Return the lock of that name, None if somebody has it. Raises EffectError for whatever else is in the way."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0{name}")
    except OSError as error:
        lock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise EffectError(f"the lock @{name} cannot be taken: {error.strerror or error}") from error
    return lock


def _holders(name: str) -> Iterator[tuple[int, int]]:
    """Return (pid, uid) of every process that has the abstract socket open, as far as we can see them."""
    links = {f"socket:[{inode}]" for inode in _inodes(name)}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            descriptors = [os.readlink(one.path) for one in os.scandir(f"/proc/{pid}/fd")]
            if not links.isdisjoint(descriptors):
                yield int(pid), _uid(pid)
        except OSError:
            continue  # it has ended, or is not ours to look at


def _inodes(name: str) -> Iterator[str]:
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()  # Num RefCount Protocol Flags Type St Inode Path
            if words[7:] == [f"@{name}"]:
                yield words[6]


def _uid(pid: str) -> int:
    """Return the effective uid. The owner of /proc/PID would not do: a process that is not dumpable shows root there."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
        return next(int(line.split()[2]) for line in lines if line.startswith("Uid:"))
