"""The service behind the virtual address: a HAProxy and a small backend on every node, always running.

HAProxy binds the virtual address on all nodes whether they have it or not; only the owner's is reached. Its
header says which node answered.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Protocol

from haagent.lab.clients import HTTP_PORT, UDP_PORT
from haagent.lab.namespaces import run
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import Node

BACKEND = "127.0.0.1:8080"


def haproxy_cfg(node: str, vips: Sequence[IPv4Address | IPv6Address], stats: Path) -> str:
    """Return the HAProxy configuration of one node. ``stats`` is its admin socket."""
    binds = "\n".join(
        f"    bind {f'[{vip}]' if vip.version == 6 else vip}:{HTTP_PORT} transparent" for vip in vips
    )
    return f"""global
    maxconn 256
    nbthread 1
    stats socket {stats} mode 600 level admin

defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s

frontend vip
{binds}
    http-after-response set-header X-Served-By {node}
    default_backend local

backend local
    option httpchk GET /health
    server app {BACKEND} check inter 500ms fall 2 rise 1
"""


class Service(Protocol):
    """What answers on a node behind the virtual addresses."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class NodeService:
    """HAProxy and backend of one node."""

    def __init__(self, node: Node, vips: Sequence[IPv4Address | IPv6Address], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._node, self._unhealthy = node, directory / "unhealthy"
        self.stats = directory / "haproxy.sock"
        configuration = directory / "haproxy.cfg"
        configuration.write_text(haproxy_cfg(node.name, vips, self.stats))
        run("haproxy", "-c", "-q", "-f", str(configuration))
        vip = next(vip for vip in vips if isinstance(vip, IPv4Address))
        self._commands = {
            "backend": (
                sys.executable, "-m", "haagent.lab.backend", "--node", node.name, "--http", BACKEND,
                "--udp", f"{vip}:{UDP_PORT}", "--unhealthy", str(self._unhealthy),
            ),
            "haproxy": ("haproxy", "-db", "-f", str(configuration)),
        }  # fmt: skip
        self._directory = directory
        self.processes: dict[str, NodeProcess] = {}

    def start(self) -> None:
        """Start both; returns without waiting."""
        for name, argv in self._commands.items():
            log = self._directory / f"{name}.log"
            self.processes[name] = NodeProcess(self._node.namespace, argv, log)

    def stop(self) -> None:
        """End both at once; nothing is lost by it."""
        for process in self.processes.values():
            if process.alive:
                process.kill()

    def set_healthy(self, *, healthy: bool) -> None:
        """Make ``/health`` answer 200 or 503."""
        if healthy:
            self._unhealthy.unlink(missing_ok=True)
        else:
            self._unhealthy.touch()
