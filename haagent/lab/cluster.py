"""A whole cluster: network, services, arbiter, daemons, observers, in the order they need each other.

Promises that leaving the context ends every process it started and removes every namespace, also when building
it failed half way.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from haagent.core.units import Duration
from haagent.lab.arbiter import COMPOUND, MEMBERS, start_arbiter
from haagent.lab.daemons import (
    ClusterSpec,
    DaemonKind,
    OnNode,
    daemon,
    keepalived_conf,
    peers_block,
)
from haagent.lab.faults import ArbiterServers
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan, Record
from haagent.lab.observers import Observer, Pace, observe
from haagent.lab.services import NodeService, Service
from haagent.lab.topology import Node, Topology, build

DOMAIN = "haagent"  # of an arbiter block that names none
StartArbiter = Callable[[Topology], ArbiterServers]


def _nothing(_node: Node, _topology: Topology) -> str:
    """Add nothing to a haagent's second file."""
    return ""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What to build. ``kinds`` names the daemon of each node; ``arbiter`` starts one when given.

    ``addition`` is put in front of each haagent's second file, by node (peers, gate, a lease).
    """

    kinds: tuple[DaemonKind, ...] = ("keepalived", "keepalived")
    spec: ClusterSpec = field(default_factory=ClusterSpec)
    arbiters: int = 0
    arbiter: StartArbiter | None = None
    addition: Callable[[Node, Topology], str] = _nothing
    services: bool = True
    pace: Pace | None = None


class Cluster:
    """A running cluster. Use as a context manager."""

    def __init__(self, options: ClusterOptions) -> None:
        self.options, self.spec = options, options.spec
        self._stack = ExitStack()
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        options = self.options
        self.topology = self._stack.enter_context(self._wire())
        self.servers = options.arbiter(self.topology) if options.arbiter else None
        if self.servers is not None:
            self._stack.callback(self.servers.stop)
        self.services = {node.name: self._service(node) for node in self.topology.nodes if options.services}
        self.observer: Observer = self._observe()
        self._stack.callback(self.observer.stop)
        self.daemons = {
            node.name: self._daemon(kind, node)
            for kind, node in zip(options.kinds, self.topology.nodes, strict=True)
        }
        for one in self.daemons.values():
            self._stack.callback(one.stop)
            one.start()

    def _wire(self) -> Topology:
        return build(len(self.options.kinds), self.options.arbiters)

    def _observe(self) -> Observer:
        return observe(self.topology, self.spec.vips, self.options.pace)

    def _service(self, node: Node) -> Service:
        service = NodeService(node, self.spec.vips, self.topology.workdir / node.name)
        self._stack.callback(service.stop)
        service.start()
        return service

    def _daemon(self, kind: DaemonKind, node: Node) -> OnNode:
        arbiter = self.servers.block() if self.servers is not None else ""
        return daemon(
            kind,
            node,
            self.topology.workdir / node.name,
            keepalived_conf(self.spec, node.name),
            arbiter + self.options.addition(node, self.topology),
        )

    @property
    def record(self) -> Record:
        """Everything seen so far; finished by ``close``."""
        return self.observer.record

    def owner(self) -> str | None:
        """Return the node that alone answers now, as the observer sees it."""
        owners = self.observer.owners()
        return next(iter(owners)) if len(owners) == 1 else None

    def wait_until_up(self, steady: Duration, patience: Duration) -> str:
        """As ``wait_for_owner``, but give up at once when a daemon ends instead of running."""
        until = time.monotonic_ns() + patience
        while self.owner() is None and time.monotonic_ns() < until:
            for one in self.daemons.values():
                if one.process is not None and not one.process.alive:
                    raise LabError(f"{one.kind} on {one.name} ended at its start\n{one.process.tail()}")
            time.sleep(0.05)
        return self.wait_for_owner(steady, max(0, until - time.monotonic_ns()))

    def wait_for_owner(self, steady: Duration, patience: Duration, among: Sequence[str] = ()) -> str:
        """Wait until one node (of ``among``, if given) alone has answered for ``steady``; return its name."""
        until = time.monotonic_ns() + patience
        candidate, since = None, 0
        while (now := time.monotonic_ns()) < until:
            owner = self.owner()
            if owner is None or owner != candidate or (among and owner not in among):
                candidate, since = owner, now
            elif now - since >= steady:
                return owner
            time.sleep(0.01)
        raise LabError(
            f"no single owner for {steady / 1e9:g} s within {patience / 1e9:g} s; "
            f"answering at the end: {', '.join(sorted(self.observer.owners())) or 'nobody'}\n{self.logs()}"
        )

    def wait_until_whole(self, patience: Duration) -> None:
        """Wait until every daemon says that it could take over. For generators of faults: no verdict asks a daemon."""
        until = time.monotonic_ns() + patience
        while missing := [name for name, one in self.daemons.items() if not one.ready]:
            if time.monotonic_ns() >= until:
                raise LabError(f"not ready after {patience / 1e9:g} s: {', '.join(missing)}\n{self.logs()}")
            time.sleep(0.05)

    def wait_until_served(self, patience: Duration) -> None:
        """Wait until every member of the arbiter answers. Raises LabError: then nothing that follows says much."""
        until = time.monotonic_ns() + patience
        while self.servers is not None and not self.servers.serving:
            if time.monotonic_ns() >= until:
                raise LabError(f"the arbiter does not answer {patience / 1e9:g} s after its fault was healed")
            time.sleep(0.05)

    def logs(self, lines: int = 12) -> str:
        """Return the ends of the daemons' logs."""
        return "\n".join(
            f"--- {one.kind} on {name}\n{one.process.tail(lines)}"
            for name, one in self.daemons.items()
            if one.process is not None
        )

    def add_fault(self, span: FaultSpan) -> None:
        """Put a finished fault on the record."""
        self.record.faults.append(span)

    def finish(self) -> Record:
        """End observing, before anything is taken down; return the finished record."""
        return self.observer.stop()

    def leave(self) -> None:
        """Let nodes, daemons and services go on after this program has ended; ``topology.remove`` ends them."""
        self.observer.stop()
        self._stack.pop_all()

    def close(self) -> None:
        """Remove everything. Safe to call twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def standard(
    kind: DaemonKind, nodes: int, spec: ClusterSpec, *, failsafe: bool = True, arbiter: str = "etcd"
) -> ClusterOptions:
    """Return the usual cluster: ``kind`` on every node; for haagent an ``arbiter`` (of ``lab.arbiter``).

    With ``failsafe`` the nodes also renew by promises, over lan and mgmt.
    """
    kinds = (kind,) * nodes
    if kind == "keepalived":
        return ClusterOptions(kinds=kinds, spec=spec)
    addition = _know_each_other if failsafe else _nothing
    parts = COMPOUND.get(arbiter, (arbiter,))
    return ClusterOptions(
        kinds=kinds,
        spec=spec,
        arbiters=len(parts) if arbiter in COMPOUND else MEMBERS[arbiter],
        arbiter=lambda topology: start_arbiter(parts, topology, DOMAIN),
        addition=addition,
    )


def _know_each_other(_node: Node, topology: Topology) -> str:
    key = topology.workdir / "peers.key"
    if not key.exists():
        key.write_text(secrets.token_hex(32))
        key.chmod(0o600)
    return peers_block(topology.nodes, key)
