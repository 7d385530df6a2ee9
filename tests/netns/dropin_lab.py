"""One host with two wires, and either daemon on it with the same configuration file.

Interfaces: ``lan`` (10.77.0.1/24) and ``wan`` (10.78.0.1/24); their other ends are in a second namespace. What is
looked at is what the kernel, a script or a FIFO shows. ``CONFIGURATION`` is advertised every 100 ms, so that a host
alone becomes MASTER within half a second.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from haagent.control.client import request
from haagent.lab.daemons import keepalived_argv, pid_files
from haagent.lab.processes import NodeProcess

T = TypeVar("T")
Kind = Literal["haagent", "keepalived"]
VIP = "10.77.0.100"
_number = itertools.count()


def ip(*words: str) -> str:
    """Run ip(8) and return its output."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def eventually(condition: Callable[[], T], what: str = "it", patience: float = 20.0) -> T:
    """Return what ``condition`` answers once that is true; the default only says that it happens at all."""
    until = time.monotonic() + patience
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, f"{what} did not happen within {patience} s"
        time.sleep(0.02)


class Host:
    """The two namespaces and at most one daemon at a time. Use ``host(...)``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"had{os.getpid()}x{next(_number)}"
        self.far = f"{self.name}f"
        self.process: NodeProcess | None = None
        self.kind: Kind = "haagent"

    def build(self) -> None:
        for name in (self.name, self.far):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for wire, address in (("lan", "10.77.0.1/24"), ("wan", "10.78.0.1/24")):
            self.plug(wire)
            ip("-n", self.name, "addr", "add", address, "dev", wire)

    def plug(self, wire: str) -> None:
        """Make a wire without addresses, up at both ends."""
        ip("link", "add", wire, "netns", self.name, "type", "veth", "peer", "name", wire, "netns", self.far)
        for name in (self.far, self.name):
            ip("-n", name, "link", "set", wire, "up")

    def tear_down(self) -> None:
        self.stop()
        for name in (self.name, self.far):
            with suppress(AssertionError):
                ip("netns", "del", name)

    # -- the daemon

    def start(self, configuration: str, *options: str, kind: Kind = "haagent", **environment: str) -> None:
        """Start a daemon with this configuration (``{dir}`` in it is the test's directory)."""
        self.kind = kind
        self.configure(configuration)
        argv = self._haagent() if kind == "haagent" else self._keepalived()
        self.process = NodeProcess(self.name, (*argv, *options), self.log, environment)

    def configure(self, configuration: str) -> None:
        """Write the file without telling the daemon."""
        self.conf.write_text(configuration.replace("{dir}", str(self.directory)))

    def reload(self, configuration: str) -> None:
        self.configure(configuration)
        self.signal(signal.SIGHUP)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    @property
    def conf(self) -> Path:
        return self.directory / "c.conf"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.kind}.log"

    def _haagent(self) -> tuple[str, ...]:
        run = ("--run-directory", str(self.directory), "--arbiter", "none", "--node", "here")
        return (sys.executable, "-m", "haagent", "run", *run, "-f", str(self.conf))

    def _keepalived(self) -> tuple[str, ...]:
        pids = pid_files(self.directory)
        for file in pids.values():
            file.unlink(missing_ok=True)
        return keepalived_argv(self.conf, pids)

    def text(self) -> str:
        """Return everything the daemon logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # -- what is there

    def addresses(self, device: str = "") -> list[str]:
        """Return "interface address/length" of every address but the loopback's and IPv6 link-local ones."""
        shown = json.loads(ip("-n", self.name, "-j", "addr"))
        return sorted(
            f"{link['ifname']} {a['local']}/{a['prefixlen']}"
            for link in shown
            for a in link["addr_info"]
            if link["ifname"] != "lo" and not a["local"].startswith("fe80") and device in ("", link["ifname"])
        )

    def has_vip(self, address: str = VIP) -> bool:
        return any(f" {address}/" in one for one in self.addresses())

    def wait_master(self, address: str = VIP, patience: float = 20.0) -> None:
        eventually(lambda: self.has_vip(address), f"{address} ({self.text()[-1500:]})", patience)

    def wait_gone(self, address: str = VIP, patience: float = 20.0) -> None:
        eventually(lambda: not self.has_vip(address), f"{address} gone", patience)

    def routes(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            ip("-n", self.name, "-j", "-d", *words, "route", "show", "table", "all")
        )
        return found

    def rules(self, *words: str) -> list[str]:
        return [" ".join(line.split()) for line in ip("-n", self.name, *words, "rule", "show").splitlines()]

    def run(self, *argv: str) -> str:
        """Run a program on the host and return what it printed."""
        full = ["ip", "netns", "exec", self.name, *argv]
        return subprocess.run(full, capture_output=True, text=True, timeout=20, check=True).stdout

    def instance(self, name: str = "VI_1") -> dict[str, Any]:
        """Return haagent's own status of an instance."""
        socket = next(self.directory.glob("*.sock"))
        shown = request(str(socket), "status", timeout=10)["instances"]
        found: dict[str, Any] = next(instance for instance in shown if instance["name"] == name)
        return found


@contextmanager
def host(directory: Path) -> Iterator[Host]:
    """Build a host and take it down, whatever happens."""
    made = Host(directory)
    try:
        made.build()
        yield made
    finally:
        made.tear_down()


def configuration(*inside: str, top: str = "", priority: int = 150, more_globals: str = "") -> str:
    """Return one instance with a virtual address, with further lines inside it and before it."""
    return "\n".join(
        [
            "global_defs {", "router_id here", "script_user root", "enable_script_security", "vrrp_version 3", more_globals, "}", top,
            "vrrp_instance VI_1 {", "state BACKUP", "interface lan", "virtual_router_id 51", f"priority {priority}", "advert_int 0.1",
            *inside, "virtual_ipaddress {", f"{VIP}/32", "}", "}", "",
        ]
    )  # fmt: skip
