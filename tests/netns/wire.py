"""Two network namespaces joined by a veth pair, with the laboratory addresses of the VRRP vectors."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count(1)

NEAR_MAC, FAR_MAC = "02:cf:00:00:00:0a", "02:cf:00:00:00:0b"
NEAR, FAR = "192.0.2.251", "192.0.2.252"

needs_namespaces = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def run(*command: str, stdin: str = "") -> str:
    """Run a command in the current network namespace and return what it prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20, input=stdin)
    return done.stdout


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Move this thread into a network namespace for a while."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        assert _libc.setns(there, _CLONE_NEWNET) == 0
        yield
    finally:
        assert _libc.setns(home, _CLONE_NEWNET) == 0
        os.close(home)
        os.close(there)


@dataclass(frozen=True)
class Wire:
    """``near`` is where the code under test runs, ``far`` where the test injects and captures; both have eth0."""

    near: str
    far: str

    def far_socket(self, protocol: int = 0) -> socket.socket:
        """Return a packet socket on the far eth0: frames in and out, protocol 0 to send only."""
        with inside(self.far):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol) if protocol else 0)
            sock.bind(("eth0", protocol))
            sock.settimeout(2)
        return sock


@contextmanager
def wire() -> Iterator[Wire]:
    """Build the pair, enter the near side, and remove both at the end."""
    number = f"{os.getpid()}-{next(_serial)}"
    pair = Wire(f"has-n{number}", f"has-f{number}")
    try:
        for namespace in (pair.near, pair.far):
            run("ip", "netns", "add", namespace)
        run(
            *f"ip link add eth0 netns {pair.near} address {NEAR_MAC} type veth".split(),
            *f"peer name eth0 netns {pair.far} address {FAR_MAC}".split(),
        )
        for namespace, host in ((pair.near, "251"), (pair.far, "252")):
            with inside(namespace):
                for name in ("all", "default", "eth0"):
                    with open(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", "w", encoding="ascii") as file:
                        file.write("0")
                run("ip", "link", "set", "lo", "up")
                run("ip", "link", "set", "eth0", "up")
                run("ip", "addr", "add", f"192.0.2.{host}/24", "dev", "eth0")
                run("ip", "addr", "add", f"2001:db8:cf::{host}/64", "dev", "eth0", "nodad")
        with inside(pair.near):
            yield pair
    finally:
        for namespace in (pair.near, pair.far):
            subprocess.run(("ip", "netns", "del", namespace), check=False, capture_output=True)


async def until(condition: Callable[[], object], seconds: float = 3.0) -> None:
    """Wait for a condition, failing after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)
