"""Real agents on real wires for the black-box tests: two nodes, an etcd, and an observer that asks every 5 ms.

What a test may look at is what an operator or a client can see: answers to ARP and echo, adverts, logs, ``haagent
status``, what hangs on the node's interfaces. Nothing here reads the agent's memory.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from haagent.control.client import request
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.daemons import ClusterSpec, Haagent, Keepalived, keepalived_conf
from haagent.lab.namespaces import run
from haagent.lab.observers import Observer, Pace, observe
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import VIP4, Node, Topology, build
from haagent.lab.verdict import dual_ownership

T = TypeVar("T")
PREFIX = "hat"
ADVERT = 100 * MILLISECOND
LEASE = SECOND  # the shortest there is by default
ROUND = 5 * MILLISECOND
UNNOTICED = 10 * ROUND  # for how long nobody may answer where nothing is to happen
SPEC = ClusterSpec(advert=ADVERT, vip6=None)
PACE = Pace(round=ROUND, udp=3600 * SECOND, http=3600 * SECOND)  # the kernel's own answers are enough here


def arbiter_block(endpoints: Sequence[str], *words: str, lease: Duration = LEASE) -> str:
    """Return an ``arbiter etcd`` block with a short lease."""
    lines = [f"endpoints {' '.join(endpoints)}", f"lease {lease // MILLISECOND}ms", *words]
    return "arbiter etcd {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


class Agent(Haagent):
    """One ``haagent run``; a stop or kill leaves the files, so that the next start is the same node."""

    def __init__(
        self, node: Node, directory: Path, configuration: str, addition: str, *options: str, **variables: str
    ) -> None:
        super().__init__(node, directory, configuration, addition)
        self.options, self.variables = options, variables

    @property
    def conf(self) -> Path:
        """The keepalived.conf this agent reads."""
        return self._files[0]

    def argv(self) -> tuple[str, ...]:
        return (*super().argv(), *self.options)

    def start(self) -> None:
        if self._process is None or not self._process.alive:
            self._process = NodeProcess(self.node.namespace, self.argv(), self.log, self.variables)

    def text(self) -> str:
        """Return everything it logged so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def records(self) -> list[dict[str, Any]]:
        """Return its log as the objects it is made of."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    @property
    def supervisor(self) -> int:
        """The pid of the supervisor."""
        assert self._process is not None
        return self._process.pid

    @property
    def worker(self) -> int:
        """The pid of the worker, by its parent; scripts are below the worker."""
        assert self._process is not None
        children = Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children").read_text().split()
        workers = [int(pid) for pid in children if b"haagent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 1, f"supervisor {self.supervisor} has the children {children}"
        return workers[0]

    def hup(self) -> None:
        """Ask for a reload."""
        os.kill(self.supervisor, signal.SIGHUP)

    def cli(self, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run ``haagent`` in the node's namespace."""
        argv = ["ip", "netns", "exec", self.node.namespace, sys.executable, "-m", "haagent", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)

    def shown(self) -> dict[str, Any]:
        """Return the status document of the running agent, which ``haagent status --json`` prints."""
        return request(str(self.socket), "status", timeout=10)

    def instance(self, name: str = "VI_1") -> dict[str, Any]:
        """Return the status of one instance."""
        found: dict[str, Any] = next(one for one in self.shown()["instances"] if one["name"] == name)
        return found


class Lab:
    """Two nodes and what runs on them. Use ``lab(...)``."""

    def __init__(
        self, stack: ExitStack, arbiters: int, nodes: int = 2, *, prefix: str = PREFIX, pace: Pace = PACE
    ) -> None:
        self.topology: Topology = stack.enter_context(build(nodes, arbiters, prefix=prefix))
        self.etcd: EtcdArbiter | None = None
        if arbiters:
            self.etcd = EtcdArbiter(self.topology)
            stack.callback(self.etcd.stop)
        self.observer: Observer = observe(self.topology, (VIP4,), pace)
        stack.callback(self.observer.stop)
        self.daemons: dict[str, Agent | Keepalived] = {}
        stack.callback(self.stop_all)

    # -- daemons

    def agent(
        self, name: str, configuration: str = "", addition: str = "", *options: str, **env: str
    ) -> Agent:
        """Configure and start haagent on a node; the default is SPEC with the lab's etcd, if it has one."""
        node = self.topology.node(name)
        if not addition:
            addition = "arbiter none\n" if self.etcd is None else arbiter_block(self.etcd.endpoints)
        directory = self.topology.workdir / f"{name}-{len(list(self.topology.workdir.iterdir()))}"
        agent = Agent(
            node, directory, configuration or keepalived_conf(SPEC, name), addition, *options, **env
        )
        return self._start(name, agent)

    def keepalived(self, name: str, configuration: str) -> Keepalived:
        """Configure and start keepalived on a node."""
        directory = self.topology.workdir / f"{name}-{len(list(self.topology.workdir.iterdir()))}"
        return self._start(name, Keepalived(self.topology.node(name), directory, configuration))

    def _start(self, name: str, daemon: T) -> T:
        assert isinstance(daemon, Agent | Keepalived)
        if name in self.daemons:
            self.daemons[name].stop()  # left running by a test that failed
        self.daemons[name] = daemon
        daemon.start()
        return daemon

    def stop_all(self) -> None:
        """Stop every daemon; kill what does not stop."""
        for daemon in self.daemons.values():
            daemon.stop()

    # -- what is seen from outside

    def owner(self) -> str | None:
        """Return the node that alone answered the last complete round."""
        owners = self.observer.owners()
        return next(iter(owners)) if len(owners) == 1 else None

    def wait_owner(self, name: str | None, patience: float = 20.0, steady: float = 0.05) -> Instant:
        """Wait until ``name`` alone (None: nobody) answers for ``steady`` seconds; return when that began."""
        until, since = time.monotonic() + patience, 0
        while time.monotonic() < until:
            now = time.monotonic_ns()
            right = self.owner() == name and (name or not self.observer.owners())
            since = (since or now) if right else 0
            if since and now - since >= steady * SECOND:
                return since
            time.sleep(0.002)
        raise AssertionError(
            f"{name} does not own the address after {patience} s, but {set(self.observer.owners())}\n{self.logs()}"
        )

    def answers(self, name: str, since: Instant, until: Instant | None = None) -> list[Instant]:
        """Return when ``name`` answered between two moments."""
        end = until or time.monotonic_ns()
        found = [a.at for a in self.observer.record.answers if a.node == name and since <= a.at <= end]
        return sorted(found)

    def last_answered(self, name: str, since: Instant) -> Instant:
        """Return when the last question was asked that ``name`` answered; ``since`` if it answered none since then.

        That is the earliest its kernel can have let the answer pass. When it was read is no measure: the observer, too,
        waits for the processor.
        """
        self.settle()
        asked = {one.number: one.sent for one in self.observer.record.rounds}
        found = [asked[a.round] for a in self.observer.record.answers if a.node == name and a.at >= since]
        return max([since, *found])

    def settle(self) -> Instant:
        """Return the present time, once all that was asked before it has been answered or never will be.

        Four more questions show that: the observer reads what came before it asks, however long it had to wait.
        """
        now, asked = time.monotonic_ns(), self.observer.record.rounds
        enough = len(asked) + 4
        eventually(lambda: len(asked) >= enough, what="asking four times more")
        return now

    def outage(self, since: Instant) -> Duration:
        """Return the longest time without an answer, from the first unanswered question to the next answered one."""
        end = self.settle()
        answered = {answer.round for answer in self.observer.record.answers}
        longest, began = 0, None
        for one in [r for r in self.observer.record.rounds if since <= r.sent <= end]:
            if one.number not in answered:
                began = began or one.sent
            elif began:
                longest, began = max(longest, one.sent - began), None
        return max(longest, end - began) if began else longest

    def dual(self, since: Instant = 0) -> Duration:
        """Return for how long two nodes answered the same question."""
        return sum(i.length for i in dual_ownership(self.observer.record) if i.begin >= since)

    def adverts(self, name: str, since: Instant) -> list[tuple[Instant, int]]:
        """Return (when, priority) of a node's adverts."""
        return [(a.at, a.priority) for a in self.observer.record.adverts if a.node == name and a.at >= since]

    def logs(self, lines: int = 25) -> str:
        """Return the ends of all logs, for a failure's message."""
        return "\n".join(
            f"--- {name}\n{daemon.process.tail(lines)}"
            for name, daemon in self.daemons.items()
            if daemon.process is not None and daemon.log.exists()
        )

    def has_address(self, name: str, address: str = str(VIP4)) -> bool:
        """Ask the node's kernel whether the address is there."""
        return address in run("ip", "-n", self.topology.node(name).namespace, "-br", "addr")


@contextmanager
def lab(arbiters: int = 1, nodes: int = 2) -> Iterator[Lab]:
    """Build a lab and take it down, whatever happens. Two owners at any time are an error of the test."""
    with ExitStack() as stack:
        yield Lab(stack, arbiters, nodes)


@contextmanager
def pair_lab(lease: Duration = LEASE) -> Iterator[Lab]:
    """Run two agents with one etcd, node1 as MASTER. With a lease of several seconds it does not matter who is slow."""
    with lab() as made:
        assert made.etcd is not None
        for name in ("node1", "node2"):
            made.agent(name, addition=arbiter_block(made.etcd.endpoints, lease=lease))
        made.wait_owner("node1")
        yield made


def agents(pair: Lab) -> tuple[Agent, Agent]:
    """Return the agents of node1 and node2."""
    one, two = pair.daemons["node1"], pair.daemons["node2"]
    assert isinstance(one, Agent)
    assert isinstance(two, Agent)
    return one, two


def remains(node: Node) -> list[str]:
    """Return what haagent could have left on a node: addresses, programs, tables, sockets, processes."""

    def there(*argv: str) -> str:
        return run("ip", "netns", "exec", node.namespace, *argv)

    left = [f"address {VIP4}"] if str(VIP4) in there("ip", "addr") else []
    left += [line for line in there("nft", "list", "tables").splitlines() if "haagent" in line]
    left += [line for line in there("tc", "qdisc", "show", "dev", "lan").splitlines() if "clsact" in line]
    looked = subprocess.run(
        ["ip", "netns", "exec", node.namespace, sys.executable, "-c",
         "from haagent.effects.gate import inspect; print(*inspect().hanging, sep='\\n', end='')"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    left += looked.stdout.splitlines()
    left += [line for line in there("ss", "-Hnaxw").splitlines() if re.search(r":112\b|haagent", line)]
    left += [
        f"process {pid}" for pid in there("ip", "netns", "pids", node.namespace).split() if _is_agent(pid)
    ]
    return left


def _is_agent(pid: str) -> bool:
    try:
        return b"haagent" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"haagent.effects", b"")
    except OSError:
        return False


def eventually(condition: Callable[[], T], patience: float = 20.0, what: str = "it") -> T:
    """Return what ``condition`` answers once that is true; fail after ``patience`` seconds.

    The default only says that it happens at all: starting a program alone takes seconds on a busy machine.
    """
    until = time.monotonic() + patience
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, f"{what} did not happen within {patience} s"
        time.sleep(0.01)


def ms(nanoseconds: int) -> str:
    """Return a duration for a printed measurement."""
    return f"{nanoseconds / 1e6:.1f} ms"


def log_of(agent: Agent, message: str) -> Callable[[], bool]:
    """Return a condition: has the agent logged ``message`` since now?"""
    start = len(agent.text())
    return lambda: re.search(message, agent.text()[start:]) is not None
