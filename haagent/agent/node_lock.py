"""The lock that keeps a second agent of a node out of a network namespace: an abstract socket.

Promises that the kernel drops it with its holder, and that no other user of the host can keep an agent from starting:
an abstract name is anybody's to take, so one that belongs to neither root nor our own user is no agent's. Then the agent
runs without this lock, and says so; the control socket has one of its own, in a directory that is not anybody's.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator

from haagent.errors import EffectError

LOG = logging.getLogger("haagent.supervisor")


def take(node: str) -> socket.socket:
    """Return the lock of ``node``; closing it lets go. Raises EffectError if another agent has it."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"haagent/{node}"
    try:
        lock.bind(f"\0{name}")
    except OSError as error:
        holders = tuple(_holders(name))
        if not holders or any(uid in (0, os.geteuid()) for _, uid in holders):
            lock.close()
            raise EffectError(
                f"another haagent named {node} already runs in this network namespace"
            ) from error
        pid, uid = holders[0]
        LOG.warning("process %d of uid %d has taken the name @%s, which is this agent's lock", pid, uid, name)
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
