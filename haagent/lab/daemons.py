"""The daemons under test: how each is configured and started on a node.

Both get the same keepalived.conf, written by ``keepalived_conf``; haagent gets a second file with what keepalived
has no word for. Nothing here looks into a daemon to judge it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal, Protocol

from haagent.control.client import request
from haagent.control.document import Status
from haagent.core.observation import patience
from haagent.core.units import SECOND, Duration, to_seconds
from haagent.effects.gate import boot_now
from haagent.errors import ControlError
from haagent.lab.namespaces import LabError
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import VIP4, VIP6, Node

DaemonKind = Literal["haagent", "keepalived"]
DAEMONS: tuple[DaemonKind, ...] = ("haagent", "keepalived")


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What all nodes agree on. The first node has priority 150, each further one 10 less."""

    vip4: IPv4Address = VIP4
    vip6: IPv6Address | None = VIP6
    advert: Duration = SECOND
    version: Literal[2, 3] = 3
    vrid: int = 51
    preempt: bool = True
    extra: tuple[str, ...] = ()  # further lines inside vrrp_instance

    @property
    def vips(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Return the addresses to be kept on one node."""
        return (self.vip4,) if self.vip6 is None else (self.vip4, self.vip6)

    def priority(self, node: str) -> int:
        """Return the priority of ``nodeN``."""
        return 160 - 10 * int(node.removeprefix("node"))


def keepalived_conf(spec: ClusterSpec, node: str) -> str:
    """Return the configuration one node reads, in keepalived's language."""
    lines = [
        "global_defs {",
        f"    router_id {node}",
        "    script_user root",
        "    enable_script_security",
        f"    vrrp_version {spec.version}",
        "}",
        "",
        "vrrp_instance VI_1 {",
        "    state BACKUP",
        "    interface lan",
        f"    virtual_router_id {spec.vrid}",
        f"    priority {spec.priority(node)}",
        f"    advert_int {to_seconds(spec.advert):g}",
        *([] if spec.preempt else ["    nopreempt"]),
        *(f"    {line}" for line in spec.extra),
        "    virtual_ipaddress {",
        f"        {spec.vip4}/32 dev lan",
        "    }",
    ]
    if spec.vip6 is not None:
        lines += ["    virtual_ipaddress_excluded {", f"        {spec.vip6}/128 dev lan", "    }"]
    return "\n".join([*lines, "}", ""])


class Daemon(Protocol):
    """One daemon on one node. ``name`` is the node's; ``process`` is None before the first start."""

    name: str
    kind: str

    @property
    def process(self) -> NodeProcess | None: ...
    @property
    def ready(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class OnNode:
    """What all have in common: files in a directory of their own, one process at a time."""

    kind: str = ""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node, self.name, self.directory = node, node.name, directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process: NodeProcess | None = None

    @property
    def process(self) -> NodeProcess | None:
        """The running program, or the last one."""
        return self._process

    @property
    def ready(self) -> bool:
        """Say whether it could take over now, as far as it tells: here, whether it runs."""
        return self._process is not None and self._process.alive

    @property
    def log(self) -> Path:
        """Everything it wrote, over all its starts."""
        return self.directory / f"{self.kind}.log"

    def argv(self) -> tuple[str, ...]:
        """Return the command line."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, unless it runs. Returns without waiting for it to be ready."""
        if self._process is None or not self._process.alive:
            self._process = NodeProcess(self.node.namespace, self.argv(), self.log)

    def stop(self) -> None:
        """Stop it gracefully; killed when it does not end within 5 s."""
        if self._process is not None:
            self._process.stop()


def pid_files(directory: Path) -> dict[str, Path]:
    """Return a pid file by each of keepalived's options: 2.3 locks them all, also those of processes that it does not start."""
    names = ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")
    return {name: directory / f"{name}.pid" for name in names}


def keepalived_argv(configuration: Path, pids: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the command that runs keepalived's VRRP in the foreground, beside others on this machine."""
    files = (f"--{name}={file}" for name, file in pids.items())
    return ("keepalived", "--vrrp", "--dont-fork", "--log-console", f"--use-file={configuration}", *files)


class Keepalived(OnNode):
    """Debian's keepalived, in the foreground, VRRP only."""

    kind = "keepalived"

    def __init__(self, node: Node, directory: Path, configuration: str) -> None:
        if shutil.which("keepalived") is None:
            raise LabError("keepalived is not installed; on Debian: apt install keepalived")
        super().__init__(node, directory)
        self._conf = directory / "keepalived.conf"
        self._conf.write_text(configuration)
        self._pids = pid_files(directory)

    def start(self) -> None:
        """Start it, unless it runs; pid files of one that was killed are removed first.

        It would otherwise refuse to start while a killed child is not yet reaped by init.
        """
        if self._process is None or not self._process.alive:
            for file in self._pids.values():
                file.unlink(missing_ok=True)
        super().start()

    def argv(self) -> tuple[str, ...]:
        return keepalived_argv(self._conf, self._pids)


class Haagent(OnNode):
    """haagent, in the foreground, from the interpreter that runs the lab."""

    kind = "haagent"

    def __init__(self, node: Node, directory: Path, configuration: str, addition: str) -> None:
        super().__init__(node, directory)
        self.socket = directory / "control.sock"
        self._files = (directory / "keepalived.conf", directory / "haagent.conf")
        self._files[0].write_text(configuration)
        self._files[1].write_text(addition + haagent_block(node.name, self.socket))

    def argv(self) -> tuple[str, ...]:
        files = [word for file in self._files for word in ("-f", str(file))]
        own = ("--run-directory", str(self.directory))  # nodes of a lab share this machine's /run
        return (sys.executable, "-m", "haagent", "run", *own, *files)

    @property
    def ready(self) -> bool:
        """Say whether it takes part, knows its peers, and has run for longer than a new run waits before it claims."""
        try:
            status = Status.from_json(request(str(self.socket), "status", timeout=1))
        except (ControlError, ValueError):
            return False
        since = boot_now() - status.started_boot_ns
        waited = since >= patience(status.arbiter.lease_ns)
        takes_part = all(one.state in ("MASTER", "BACKUP") for one in status.instances)
        return super().ready and waited and takes_part and all(one.heard_boot_ns for one in status.peers)

    def status(self) -> object:
        """Return what ``haagent status --json`` says, for display; verdicts never use it."""
        argv = (
            "ip",
            "netns",
            "exec",
            self.node.namespace,
            sys.executable,
            "-m",
            "haagent",
            "status",
            "--json",
        )
        done = subprocess.run(
            [*argv, "--socket", str(self.socket)], capture_output=True, text=True, timeout=10, check=False
        )
        if done.returncode:
            raise LabError(f"haagent status on {self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def haagent_block(node: str, socket: Path) -> str:
    """Return the ``haagent`` block of one node."""
    return f"haagent {{\n    node {node}\n    control_socket {socket}\n}}\n"


def etcd_block(endpoints: Sequence[str]) -> str:
    """Return an ``arbiter`` block for an etcd at ``endpoints`` (host:port)."""
    return f"arbiter etcd {{\n    endpoints {' '.join(endpoints)}\n}}\n"


def peers_block(nodes: Sequence[Node], key_file: Path) -> str:
    """Return a ``peers`` block with both networks of every node."""
    lines = (f"key_file {key_file}", *(f"node {node.name} {node.mgmt} {node.lan4}" for node in nodes))
    return "peers {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def daemon(
    kind: DaemonKind, node: Node, directory: Path, configuration: str, addition: str = ""
) -> Keepalived | Haagent:
    """Return a daemon of ``kind``, configured and not started. ``addition`` is for haagent only."""
    if kind == "keepalived":
        return Keepalived(node, directory, configuration)
    return Haagent(node, directory, configuration, addition)
