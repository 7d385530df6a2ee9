"""Moves this process into a named network namespace, as ``ip netns exec`` does, before it has any thread or socket.

May not make namespaces.
"""

from __future__ import annotations

import ctypes
import os

from haagent.errors import EffectError

DIRECTORY = "/run/netns"
_CLONE_NEWNET = 0x40000000


def enter(name: str) -> None:
    """Enter the network namespace ``name``. Raises EffectError."""
    path = f"{DIRECTORY}/{name}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise EffectError(
            f"net_namespace {name}: {path}: {error.strerror} (make it with: ip netns add {name})"
        ) from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise EffectError(f"net_namespace {name} cannot be entered: {os.strerror(number)}")
    finally:
        os.close(descriptor)
