"""Tells systemd how we are (sd_notify(3)), without a library; does nothing where systemd does not ask.

May not fail: a manager that cannot be reached is no reason to stop serving an address.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from haagent.core.units import MICROSECOND, Duration


class ServiceManager:
    """The socket in NOTIFY_SOCKET: a path, or an abstract name written with ``@``."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._environment = environment

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """A reload has begun; ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // MICROSECOND}")

    def stopping(self) -> None:
        """The service begins to stop."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``."""
        self._send(f"STATUS={text}")

    def main_pid(self, pid: int) -> None:
        """Name the process whose end is the service's end."""
        self._send(f"MAINPID={pid}")

    def watchdog(self) -> None:
        """We are alive."""
        self._send("WATCHDOG=1")

    def watchdog_interval(self) -> Duration | None:
        """Return how often ``watchdog`` is expected (half of WATCHDOG_USEC), or None if it is not expected of us."""
        usec, pid = self._environment.get("WATCHDOG_USEC", ""), self._environment.get("WATCHDOG_PID", "")
        if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
            return None
        return int(usec) * MICROSECOND // 2

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), self._address)
        except OSError:
            return  # the manager is restarting or its queue is full; the next message will do
