"""The compose project as the campaign sees it: its containers by the names of their services.

Touches only containers that carry the project's label. Raises NemesisError for whatever docker refuses.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from typing import Any

MGMT = {"node1": "198.51.100.21", "node2": "198.51.100.22", "node3": "198.51.100.23"}
START = 20.0  # s a container may take until it runs


class NemesisError(Exception):
    """The campaign cannot be run: what was tried, and what docker answered."""


def docker(*words: str, stdin: str | None = None, check: bool = True) -> str:
    """Run one docker command and return its output."""
    done = subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode and check:
        raise NemesisError(f"docker {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Deployment:
    """One project that is up. ``nodes``, ``etcd`` and ``zookeeper`` name the services of each kind there are."""

    def __init__(self, project: str) -> None:
        self.project = project
        form = '{{.Label "com.docker.compose.service"}} {{.Names}}'
        label = f"label=com.docker.compose.project={project}"
        lines = docker("ps", "-a", "--filter", label, "--format", form).split("\n")
        self.containers = dict(line.split(" ", 1) for line in lines if line)
        self.nodes = self._named("node")
        self.etcd = self._named("etcd")
        self.zookeeper = self._named("zookeeper")
        if len(self.nodes) < 2 or "client" not in self.containers:
            raise NemesisError(f"project {project!r} is not up: no nodes and client; see README.md")
        self.arbiter = self._arbiter()

    def __call__(self, verb: str, *services: str, options: Sequence[str] = (), check: bool = True) -> str:
        """Run ``docker verb`` on services."""
        return docker(verb, *options, *(self.containers[one] for one in services), check=check)

    def inside(self, service: str, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command in a service's container."""
        interactive = ("-i",) if stdin is not None else ()
        return docker("exec", *interactive, self.containers[service], *words, stdin=stdin, check=check)

    def signal_agent(self, node: str, name: str, *, check: bool = True) -> None:
        """Signal the agent's processes inside their own container."""
        pids = self.inside(node, "pgrep", "-f", "haagent run", check=check).split()
        self.inside(node, "kill", f"-{name}", *pids, check=False)

    def state(self, service: str) -> dict[str, Any]:
        """Return docker's word on one container."""
        state: dict[str, Any] = json.loads(
            docker("inspect", "-f", "{{json .State}}", self.containers[service])
        )
        return state

    def macs(self) -> dict[str, str]:
        """Return the nodes' names by their MAC addresses on the lan."""
        form = f'{{{{(index .NetworkSettings.Networks "{self.project}_lan").MacAddress}}}}'
        return {docker("inspect", "-f", form, self.containers[node]).strip(): node for node in self.nodes}

    def mgmt_device(self, node: str) -> str:
        """Return the name of a node's interface on mgmt; compose gives no stable one."""
        for line in self.inside(node, "ip", "-o", "-4", "addr", "show").splitlines():
            if MGMT[node] in line:
                return line.split()[1]
        raise NemesisError(f"{node} has no {MGMT[node]}")

    def disconnect_mgmt(self, node: str) -> None:
        """Pull a node's plug on mgmt."""
        docker("network", "disconnect", f"{self.project}_mgmt", self.containers[node])

    def connect_mgmt(self, node: str) -> None:
        """Connect a node to mgmt unless it is."""
        container = self.containers[node]
        networks = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container))
        if f"{self.project}_mgmt" not in networks:
            docker("network", "connect", "--ip", MGMT[node], f"{self.project}_mgmt", container)

    def wait_running(self, service: str) -> None:
        """Wait until docker's restart policy has brought a container back."""
        until = time.monotonic() + START
        while not self.state(service)["Running"]:
            if time.monotonic() > until:
                raise NemesisError(f"{service} does not run {START:g} s after it was started")
            time.sleep(0.1)

    def revive(self, service: str) -> None:
        """Let a container run again that is paused or ended; one that is well is left alone."""
        state = self.state(service)
        if state["Paused"]:
            self("unpause", service)
        if not state["Running"] and not state["Restarting"]:
            self("start", service)

    def _named(self, kind: str) -> tuple[str, ...]:
        names = (name for name in self.containers if name.rstrip("0123456789") == kind)
        return tuple(sorted(names))

    def _arbiter(self) -> str:
        """Return which arbiter the nodes were told to ask: the profile compose.yaml hands them."""
        form = "{{range .Config.Env}}{{println .}}{{end}}"
        told = dict(
            line.split("=", 1)
            for line in docker("inspect", "-f", form, self.containers[self.nodes[0]]).split()
        )
        kinds = [one for one in told.get("COMPOSE_PROFILES", "etcd").split(",") if one != "three"]
        return kinds[-1] if kinds else "etcd"


def haproxy(node: str) -> str:
    """Return the service that lives in a node's network namespace."""
    return node.replace("node", "haproxy")
