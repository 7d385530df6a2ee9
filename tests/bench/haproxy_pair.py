"""The pair of docs/examples, on real wires: the files as they are published, with the paths and wires of a lab.

::

    web-a (node1, 192.0.2.11)  --+                +-- client 192.0.2.200
    web-b (node2, 192.0.2.12)  --+-- lan switch --+   and on the same host the back ends app1, app2 (192.0.2.31, .32)

Only what cannot be the same is replaced, see ``Pair.adapted``. What is looked at is what clients, back ends and the
kernel show.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal, TypeVar

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.faults import PacketFault, PortRule, Way
from haagent.lab.namespaces import run
from haagent.lab.observers import Observer, Pace, observe
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import VIP4, Node, Topology, build
from haagent.lab.verdict import dual_ownership

T = TypeVar("T")
Example = Literal["active-passive", "active-active"]
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ORIGIN = Path(__file__).with_name("origin.py")
NAMES = {"node1": "web-a", "node2": "web-b"}
SECOND_VIP = IPv4Address("192.0.2.101")
BACKENDS = {"app1": "192.0.2.31", "app2": "192.0.2.32"}
PACE = Pace(round=10 * MILLISECOND, udp=3600 * SECOND, http=3600 * SECOND)


def missing() -> list[str]:
    """Return the programs that a pair needs and this machine has not."""
    return [name for name in ("ip", "nft", "haproxy", "etcd", "curl") if shutil.which(name) is None]


def eventually(condition: Callable[[], T], patience: float = 10.0, what: str = "it") -> T:
    """Return what ``condition`` answers once that is true; fail after ``patience`` seconds."""
    until = time.monotonic() + patience
    while True:
        if found := condition():
            return found
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not happen within {patience} s")
        time.sleep(0.02)


class Member:
    """One node of the pair: its HAProxy and its haagent."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node, self.directory, self.name = node, directory, NAMES[node.name]
        directory.mkdir()
        for name in ("epoch.map", "drain.map"):
            (directory / name).write_text("drain 0\n" if name == "drain.map" else "")
        self.haproxy: NodeProcess | None = None
        self.agent: NodeProcess | None = None

    def start_haproxy(self) -> None:
        """Start HAProxy, and give it the listeners of the one before if that still runs: a reload."""
        old = self.haproxy
        argv = ["haproxy", "-db", "-L", self.name, "-f", str(self.directory / "haproxy.cfg")]
        if old is not None and old.alive:
            argv += ["-x", str(self.socket), "-sf", str(old.pid)]
        self.haproxy = NodeProcess(self.node.namespace, argv, self.directory / "haproxy.log")

    def start_agent(self) -> None:
        """Start haagent, unless it runs."""
        if self.agent is None or not self.agent.alive:
            own = ("--node", self.name, "-i", self.name, "--run-directory", str(self.directory))
            argv = (
                sys.executable,
                "-m",
                "haagent",
                "run",
                *own,
                "-f",
                str(self.directory / "keepalived.conf"),
            )
            self.agent = NodeProcess(self.node.namespace, argv, self.directory / "haagent.log")

    def stop(self) -> None:
        """End both."""
        if self.agent is not None:
            self.agent.stop()
        if self.haproxy is not None and self.haproxy.alive:
            self.haproxy.kill()

    @property
    def socket(self) -> Path:
        return self.directory / "admin.sock"

    def cli(self, *words: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run ``haagent`` in the node's namespace, for this agent."""
        argv = ["ip", "netns", "exec", self.node.namespace, sys.executable, "-m", "haagent", *words]
        own = ["--socket", str(self.directory / f"{self.name}.sock")]
        return subprocess.run([*argv, *own], capture_output=True, text=True, timeout=timeout, check=False)

    def runtime(self, command: str) -> str:
        """Ask HAProxy's Runtime API."""
        from haagent.effects.haproxy import ask

        return ask(str(self.socket), (command,), 2).strip()

    def hup(self) -> None:
        """Reload the agent."""
        assert self.agent is not None
        os.kill(self.agent.pid, signal.SIGHUP)

    def text(self) -> str:
        """Return everything the agent logged."""
        log = self.directory / "haagent.log"
        return log.read_text(errors="replace") if log.exists() else ""


class Pair:
    """Two members, an etcd, the back ends, and an observer for each address. Use ``pair(...)``."""

    def __init__(
        self, stack: ExitStack, example: Example, prefix: str, replace: Mapping[str, str] | None = None
    ) -> None:
        self.topology: Topology = stack.enter_context(build(2, 1, prefix=prefix))
        self.silence = _silence(self.topology)
        self.etcd = EtcdArbiter(self.topology)
        stack.callback(self.etcd.stop)
        self._key = self.topology.workdir / "peers.key"
        self._key.write_text("the secret of this pair alone\n")
        self._key.chmod(0o600)
        self._replace = dict(replace or {})
        self.origins: dict[str, NodeProcess] = {}
        stack.callback(self._stop_origins)
        self._add_origins()
        self.observers: dict[IPv4Address, Observer] = {}
        for vip in (VIP4,) if example == "active-passive" else (VIP4, SECOND_VIP):
            self.observers[vip] = observe(self.topology, (vip,), PACE)
            stack.callback(self.observers[vip].stop)
        self.members = {
            NAMES[node.name]: Member(node, self.topology.workdir / node.name) for node in self.topology.nodes
        }
        stack.callback(lambda: [member.stop() for member in self.members.values()])
        for member in self.members.values():
            for name in ("keepalived.conf", "haproxy.cfg"):
                published = (EXAMPLES / example / name).read_text()
                (member.directory / name).write_text(self.adapted(published, member))
            run("haproxy", "-c", "-L", member.name, "-f", str(member.directory / "haproxy.cfg"))
        for member in self.members.values():
            member.start_haproxy()
            member.start_agent()

    def adapted(self, text: str, member: Member) -> str:
        """Return a published file with this lab's interface, arbiter, key, second network and paths."""
        changes = {
            "interface eth0": "interface lan",
            "/24\n": "/24 dev lan\n",
            "maxconn 20000": "maxconn 256",
            "/etc/haagent/peers.key": str(self._key),
            "198.51.100.21": str(self.topology.node("node1").mgmt),
            "198.51.100.22": str(self.topology.node("node2").mgmt),
            "/run/haproxy": str(member.directory),
            "/etc/haproxy": str(member.directory),
            **self._replace,
        }
        for old, new in changes.items():
            text = text.replace(old, new)
        before, arbiter, rest = text.partition("arbiter etcd {")
        if not arbiter:
            return text
        return f"{before}arbiter etcd {{\n    endpoints {' '.join(self.etcd.endpoints)}\n}}{rest.partition('}')[2]}"

    def _add_origins(self) -> None:
        client = self.topology.client.namespace
        for name, address in BACKENDS.items():
            run("ip", "-n", client, "addr", "add", f"{address}/24", "dev", "lan")
            self.start_origin(name)

    def start_origin(self, name: str) -> None:
        """Start one back end."""
        argv = (sys.executable, str(ORIGIN), name, f"{BACKENDS[name]}:8080")
        log = self.topology.workdir / f"{name}.log"
        self.origins[name] = NodeProcess(self.topology.client.namespace, argv, log)

    def _stop_origins(self) -> None:
        for process in self.origins.values():
            if process.alive:
                process.kill()

    # -- what is seen from outside

    def owner(self, vip: IPv4Address = VIP4) -> str | None:
        """Return the member that alone answered the last complete round."""
        owners = self.observers[vip].owners()
        return NAMES[next(iter(owners))] if len(owners) == 1 else None

    def wait_owner(self, name: str | None, vip: IPv4Address = VIP4, patience: float = 15.0) -> Instant:
        """Wait until ``name`` alone (None: nobody) has answered for 0.1 s; return when that began."""
        until, since = time.monotonic() + patience, 0
        while time.monotonic() < until:
            now = time.monotonic_ns()
            right = self.owner(vip) == name and (name or not self.observers[vip].owners())
            since = (since or now) if right else 0
            if since and now - since >= 100 * MILLISECOND:
                return since
            time.sleep(0.005)
        raise AssertionError(f"{name} does not own {vip} after {patience} s\n{self.logs()}")

    def wait_backup(self, name: str) -> None:
        """Wait until a member's own front says that it could take over."""
        address = self.topology.node("node1" if name == "web-a" else "node2").lan4
        eventually(lambda: '"BACKUP"' in self.get(f"http://{address}:8405/backup"), 30, f"{name} as BACKUP")

    def dual(self, since: Instant = 0) -> Duration:
        """Return for how long two nodes answered the same question, over all addresses."""
        return sum(
            i.length for o in self.observers.values() for i in dual_ownership(o.record) if i.begin >= since
        )

    def answered_by(self, vip: IPv4Address, since: Instant) -> set[str]:
        """Return who has answered for an address since then."""
        return {NAMES[a.node] for a in self.observers[vip].record.answers if a.at >= since}

    def get(self, url: str, timeout: float = 2.0) -> str:
        """Return what a client gets, "" if that is nothing."""
        argv = ["ip", "netns", "exec", self.topology.client.namespace, "curl", "-s", "-m", str(timeout), url]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout + 5, check=False)
        return done.stdout.strip()

    def logs(self, lines: int = 25) -> str:
        """Return the ends of all logs, for a failure's message."""
        processes = [
            process for one in self.members.values() for process in (one.agent, one.haproxy) if process
        ]
        return "\n".join(
            f"--- {process.log.parent.name} {process.log.name}\n{process.tail(lines)}"
            for process in processes
        )


def _silence(topology: Topology) -> PacketFault:
    """Return the fault that loses everything from and to web-a at once."""
    node = topology.node("node1")
    ways: tuple[Way, ...] = ("from", "to")
    rules = [PortRule(port, way, "drop") for port in (node.lan_port, node.mgmt_port) for way in ways]
    return PacketFault("silence", "node1", topology.switch, rules)


@contextmanager
def pair(example: Example, prefix: str, replace: Mapping[str, str] | None = None) -> Iterator[Pair]:
    """Build a pair and take it down, whatever happens."""
    with ExitStack() as stack:
        yield Pair(stack, example, prefix, replace)


@contextmanager
def frozen(process: NodeProcess) -> Iterator[None]:
    """Suspend a program and everything it started."""
    process.freeze()
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.thaw()
