"""Hosts on a switch for the tests of virtual MACs: what leaves each host is captured at its switch port.

``lan`` of every host hangs on a bridge; ``wan`` leads to a namespace behind it. Hosts route IPv4, so that a frame to a
virtual MAC may come out at ``wan``. The third host of a lab is the client: it asks, and answers nothing.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wire import inside, run

from haagent.lab.daemons import keepalived_argv, pid_files
from haagent.lab.processes import NodeProcess

T = TypeVar("T")
VIP4, VIP6, LINK_LOCAL = "10.66.0.100", "fd66::100", "fe80::66"
VRID = 51
MAC4, MAC6 = bytes.fromhex("00005e000133"), bytes.fromhex("00005e000233")
BEYOND = "10.67.0.9"
LEASE = 1.0
_SO_TIMESTAMPNS = 35
_PACKET_OUTGOING = 4
_serial = itertools.count(1)


@dataclass(frozen=True)
class Frame:
    """One captured frame; ``at`` is the kernel's receive time, nanoseconds of the wall clock."""

    at: int
    data: bytes

    @property
    def source(self) -> bytes:
        return self.data[6:12]

    @property
    def kind(self) -> int:
        return int.from_bytes(self.data[12:14], "big")


class Capture:
    """Everything that came in on one interface; the kernel keeps it until ``frames`` is called."""

    def __init__(self, namespace: str, interface: str) -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.bind((interface, 3))
        self._socket.setblocking(False)
        self._frames: list[Frame] = []

    def frames(self) -> list[Frame]:
        with suppress(BlockingIOError):
            while True:
                data, ancillary, _flags, origin = self._socket.recvmsg(2048, 128)
                if origin[2] != _PACKET_OUTGOING:
                    seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
                    self._frames.append(Frame(seconds * 10**9 + nanoseconds, data))
        return self._frames

    def close(self) -> None:
        self._socket.close()


class Host:
    """One namespace with ``lan`` and ``wan``, and at most one daemon."""

    def __init__(self, lab: VmacLab, number: int) -> None:
        self.lab, self.number = lab, number
        self.name, self.beyond = f"{lab.prefix}h{number}", f"{lab.prefix}w{number}"
        self.directory = lab.directory / f"host{number}"
        self.process: NodeProcess | None = None

    def build(self) -> None:
        self.directory.mkdir()
        for name in (self.name, self.beyond):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        mac = ("address", f"02:66:00:00:00:0{self.number}")
        peer = ("type", "veth", "peer", "name", self.port, "netns", self.lab.switch)
        run("ip", "link", "add", "lan", "netns", self.name, *mac, *peer)
        run("ip", "-n", self.lab.switch, "link", "set", self.port, "master", "hub", "up")
        run("ip", "-n", self.name, "link", "set", "lan", "up")
        run("ip", "-n", self.name, "addr", "add", f"10.66.0.{self.number}/24", "dev", "lan")
        run(
            "ip",
            "link",
            "add",
            "wan",
            "netns",
            self.name,
            "type",
            "veth",
            "peer",
            "name",
            "wan",
            "netns",
            self.beyond,
        )
        for name in (self.name, self.beyond):
            run("ip", "-n", name, "link", "set", "wan", "up")
        run("ip", "-n", self.name, "addr", "add", "10.67.0.1/24", "dev", "wan")
        run("ip", "-n", self.name, "neigh", "add", BEYOND, "lladdr", "02:67:00:00:00:09", "dev", "wan")
        run("ip", "netns", "exec", self.name, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    @property
    def port(self) -> str:
        return f"port{self.number}"

    # -- the daemon

    def start(self, configuration: str, kind: str = "haagent") -> None:
        conf, log = self.directory / "c.conf", self.directory / f"{kind}.log"
        conf.write_text(configuration)
        if kind == "keepalived":
            argv = list(keepalived_argv(conf, pid_files(self.directory)))
        else:
            argv = [sys.executable, "-m", "haagent", "run", "--run-directory", str(self.directory)]
            argv += ["--node", f"host{self.number}", "-f", str(conf)]
        self.process = NodeProcess(self.name, argv, log)

    def text(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    def worker(self) -> int:
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return next(
            int(child) for child in children if b"haagent" in Path(f"/proc/{child}/cmdline").read_bytes()
        )

    # -- what is there

    def up(self, interface: str = f"vrrp.{VRID}") -> bool:
        """Tell whether the interface exists and is up."""
        shown = subprocess.run(
            ["ip", "-n", self.name, "-br", "link", "show", "dev", interface],
            capture_output=True,
            text=True,
            check=False,
        )
        return ",UP" in shown.stdout

    def links(self) -> list[str]:
        lines = run("ip", "-n", self.name, "-br", "link").splitlines()
        return sorted(line.split()[0].partition("@")[0] for line in lines)

    def setting(self, interface: str, name: str, family: str = "ipv4") -> str:
        return run(
            "ip", "netns", "exec", self.name, "cat", f"/proc/sys/net/{family}/conf/{interface}/{name}"
        ).strip()

    def has(self, address: str) -> str:
        """Return the interface the address is on, "" if it is nowhere."""
        for line in run("ip", "-n", self.name, "-o", "addr").splitlines():
            if f" {address}/" in line:
                return line.split()[1]
        return ""


class VmacLab:
    """A switch and hosts; use ``vmac_lab``."""

    def __init__(self, directory: Path, hosts: int) -> None:
        self.directory = directory
        self.prefix = f"hvm{os.getpid()}x{next(_serial)}"
        self.switch = f"{self.prefix}s"
        self.hosts = [Host(self, number) for number in range(1, hosts + 1)]
        self.captures: list[Capture] = []

    def build(self) -> None:
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "name", "hub", "type", "bridge")
        run("ip", "-n", self.switch, "link", "set", "hub", "up")
        for host in self.hosts:
            host.build()

    def capture(self, host: Host) -> Capture:
        """Capture what leaves the host."""
        return self._capture(self.switch, host.port)

    def capture_beyond(self, host: Host) -> Capture:
        """Capture what the host sends to its ``wan``."""
        return self._capture(host.beyond, "wan")

    def _capture(self, namespace: str, interface: str) -> Capture:
        capture = Capture(namespace, interface)
        self.captures.append(capture)
        return capture

    def tear_down(self) -> None:
        for host in self.hosts:
            with suppress(OSError, AssertionError):
                host.stop()
        for capture in self.captures:
            capture.close()
        for name in (self.switch, *(one for host in self.hosts for one in (host.name, host.beyond))):
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


@contextmanager
def vmac_lab(directory: Path, hosts: int = 2) -> Iterator[VmacLab]:
    """Build the lab and take it down, whatever happens."""
    lab = VmacLab(directory, hosts)
    try:
        lab.build()
        yield lab
    finally:
        lab.tear_down()


def configuration(
    priority: int,
    *inside: str,
    family: int = 4,
    addresses: tuple[str, ...] = (),
    top: str = "",
    advert: float = 0.2,
) -> str:
    """Return one instance with use_vmac in ``inside`` or not."""
    wanted = addresses or ((f"{VIP4}/32",) if family == 4 else (f"{LINK_LOCAL}/64", f"{VIP6}/64"))
    lines = [
        "global_defs {",
        "router_id here",
        "script_user root",
        "vrrp_version 3",
        "}",
        top,
        "vrrp_instance VI_1 {",
    ]
    lines += ["state BACKUP", "interface lan", f"virtual_router_id {VRID}", f"priority {priority}"]
    lines += [f"advert_int {advert}", *inside, "virtual_ipaddress {", *wanted, "}", "}", ""]
    return "\n".join(lines)


def file_arbiter(directory: Path, gate: str = "auto", lease: float = LEASE) -> str:
    """Return an arbiter that several hosts of one machine share, and the gate to use. Makes its file."""
    if not (directory / "vote").exists():
        nodes = [word for number in (1, 2) for word in ("--node", f"host{number}")]
        run(sys.executable, "-m", "haagent", "arbiter", "init", str(directory / "vote"), *nodes)
    return (
        f"arbiter file {{\n endpoints {directory}/vote\n lease {lease:g}s\n}}\nhaagent {{\n gate {gate}\n}}\n"
    )


def eventually(condition: Callable[[], T], what: str, patience: float = 25.0, host: Host | None = None) -> T:
    """Return what ``condition`` answers once that is true; a failure shows the end of the host's log."""
    until = time.monotonic() + patience
    while not (found := condition()):
        log = "" if host is None else f"\n{host.text()[-2000:]}"
        assert time.monotonic() < until, f"{what} did not happen within {patience} s{log}"
        time.sleep(0.01)
    return found
