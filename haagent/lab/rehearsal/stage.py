"""A rehearsal's cluster: the user's nodes in namespaces, an arbiter in kind, stand-ins, one record per instance.

Promises what ``Cluster`` promises: leaving the context ends every process and removes every namespace and file.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from haagent.config.writing import write
from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.lab.arbiter import QuorumArbiter, ServerArbiter, start_arbiter
from haagent.lab.clients import UDP_PORT, UdpProbe
from haagent.lab.cluster import Cluster, ClusterOptions
from haagent.lab.daemons import ClusterSpec, DaemonKind, OnNode, daemon
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan, Record
from haagent.lab.observers import AddressWatch, Observer, Source, WireProbe
from haagent.lab.processes import NodeProcess
from haagent.lab.rehearsal.arbitration import Arbitration
from haagent.lab.rehearsal.blueprint import Blueprint, Machine, Watched
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.frr import Frr
from haagent.lab.rehearsal.lanes import ArbiterProbe, GateProbe, Lanes
from haagent.lab.rehearsal.ports import PortProbe
from haagent.lab.rehearsal.rewriting import Stubs, own_words, rewrite
from haagent.lab.rehearsal.stubs import NodeStubs
from haagent.lab.rehearsal.ucarp import Ucarp
from haagent.lab.rehearsal.wiring import wire
from haagent.lab.services import Service
from haagent.lab.topology import VIP4, Node, Topology
from haagent.lab.voting_files import FileArbiter

RivalKind = Literal["haagent", "keepalived", "ucarp", "frr"]
RIVALS: tuple[RivalKind, ...] = ("keepalived", "ucarp", "frr")
SCRIPTLESS: frozenset[RivalKind] = frozenset({"ucarp", "frr"})  # and run below a shell that SIGHUP would end
ROUND: Duration = 20 * MILLISECOND
REQUEST: Duration = 5 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Play:
    """What is put on stage, and how: the daemon of every node, the arbiter's kinds, whose scripts run."""

    blueprint: Blueprint
    arbitration: Arbitration
    findings: Findings
    kind: RivalKind = "haagent"
    real_scripts: bool = False

    def advert(self) -> Duration:
        """Return the longest advert interval of the watched instances."""
        instances = self.blueprint.machines[0].source.configuration.instances
        return max((one.advert_interval for one in instances), default=SECOND)


class EchoService:
    """Answers datagrams to a node's watched addresses with the node's name."""

    def __init__(self, node: Node, addresses: Sequence[IPv4Address | IPv6Address], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._node, self._log = node, directory / "echo.log"
        places = (f"{address}:{UDP_PORT}" for address in addresses)
        udp = [word for place in places for word in ("--udp", place)]
        self._argv = (sys.executable, "-m", "haagent.lab.backend", "--node", node.name, *udp)
        self._process: NodeProcess | None = None

    def start(self) -> None:
        """Start it; returns without waiting."""
        self._process = NodeProcess(self._node.namespace, self._argv, self._log)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.alive:
            self._process.kill()


class Stage(Cluster):
    """A running rehearsal. Use as a context manager."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.watched = play.blueprint.watched
        self.machines = {machine.name: machine for machine in play.blueprint.machines}
        self.stubs: dict[str, NodeStubs] = {}
        self.lanes = Lanes()
        self.records: dict[str, Record] = {}
        members = play.arbitration.namespaces() if play.kind == "haagent" else 0
        four = [a for one in self.watched for a in one.watch.addresses if isinstance(a, IPv4Address)]
        spec = ClusterSpec(vip4=four[0] if four else VIP4, vip6=None, advert=play.advert())
        arbiter = self._start_arbiter if play.kind == "haagent" and play.arbitration.kinds else None
        kinds: tuple[DaemonKind, ...] = ("haagent" if play.kind == "haagent" else "keepalived",) * len(
            self.machines
        )
        super().__init__(ClusterOptions(kinds=kinds, spec=spec, arbiters=members, arbiter=arbiter))

    def _start_arbiter(self, topology: Topology) -> ServerArbiter | FileArbiter | QuorumArbiter:
        return start_arbiter(self.play.arbitration.kinds, topology, self.play.arbitration.domain)

    def _wire(self) -> Topology:
        return wire(self.play.blueprint, self.options.arbiters)

    def _service(self, node: Node) -> Service:
        first = [address for one in self.watched for address in one.watch.addresses[:1]]
        service = EchoService(node, first, self.topology.workdir / node.name)
        self._stack.callback(service.stop)
        service.start()
        return service

    def _observe(self) -> Observer:
        nodes = tuple(self.machines)
        period = ROUND * max(1, (len(self.watched) + 1) // 2)  # more instances, fewer questions about each
        probe = PortProbe if self.play.kind == "frr" else WireProbe
        sources: list[Source] = []
        for one in self.watched:
            record = Record(nodes=nodes, begin=time.monotonic_ns(), round_period=period)
            self.records[one.instance] = record
            addresses = one.watch.addresses
            sources += [
                probe(self.topology, one.watch, record, period),
                AddressWatch(self.topology.nodes, record, [str(address) for address in addresses]),
                UdpProbe(
                    self.topology.client, addresses[0], record, REQUEST * max(1, len(self.watched) // 2)
                ),
            ]
        if self.play.kind == "haagent":
            sources += [GateProbe(node, self.lanes) for node in self.topology.nodes]
            sources += ArbiterProbe.of(self.servers, self.topology, self.lanes)
        first, *others = self.records.values()
        observer = Observer(first, sources, others)
        observer.start()
        return observer

    def _daemon(self, kind: DaemonKind, node: Node) -> OnNode:
        machine = self.machines[node.name]
        directory = self.topology.workdir / node.name
        if self.play.kind == "ucarp":
            return Ucarp(node, directory, machine.source.configuration.instances, machine.first4())
        if self.play.kind == "frr":
            return Frr(node, directory, machine.source.configuration.instances)
        stubs = self._stubs(machine, directory / "scripts")
        written = write(rewrite(machine.source.statements, stubs, self.play.findings))
        addition = "" if kind == "keepalived" else self._addition() + own_words(machine.source.statements)
        return daemon(kind, node, directory, written, addition)

    def _stubs(self, machine: Machine, directory: Path) -> Stubs:
        configuration = machine.source.configuration
        scripts = tuple(script.name for script in configuration.scripts)
        files = tuple(file.name for file in configuration.files)
        self.stubs[machine.name] = NodeStubs(directory, scripts, files)
        return Stubs(directory, self.play.real_scripts)

    def _addition(self) -> str:
        """Return the arbiter and peers blocks every node of this stage has."""
        key = self.topology.workdir / "peers.key"
        if not key.exists():
            key.write_text(secrets.token_hex(32))
            key.chmod(0o600)
        servers = self.servers
        if isinstance(servers, ServerArbiter | FileArbiter | QuorumArbiter):
            block = servers.block(self.play.arbitration.words)
        else:
            block = "arbiter none\n"
        return block + self.play.arbitration.peers(self.topology.nodes, key)

    def owner_of(self, watched: Watched) -> str | None:
        """Return the node that alone answers for an instance's addresses now."""
        owners = self.observer.owners(self.records[watched.instance])
        return next(iter(owners)) if len(owners) == 1 else None

    def answering(self) -> dict[str, str]:
        """Return who answers for each instance now, in words."""
        return {
            one.instance: ", ".join(sorted(self.observer.owners(self.records[one.instance]))) or "nobody"
            for one in self.watched
        }

    def settle(self, steady: Duration, patience: Duration, *, best: bool) -> bool:
        """Wait until every instance has had one owner for ``steady``; with ``best``, the one that preempts.

        Return False when that did not happen within ``patience``. Raises LabError when a daemon ended by itself.
        """
        until = time.monotonic_ns() + patience
        held: dict[str, str | None] = {}
        since = time.monotonic_ns()
        while (now := time.monotonic_ns()) < until:
            owners = {one.instance: self.owner_of(one) for one in self.watched}
            wrong = any(
                owners[one.instance] is None or (best and one.preempt and owners[one.instance] != one.best)
                for one in self.watched
            )
            if wrong or owners != held:
                held, since = owners, now
            elif now - since >= steady:
                return True
            time.sleep(0.02)
        return False

    def ended(self) -> tuple[str, ...]:
        """Return the nodes whose daemon does not run."""
        return tuple(
            name for name, one in self.daemons.items() if one.process is None or not one.process.alive
        )

    def await_start(self, steady: Duration, patience: Duration) -> None:
        """Wait for the first owners. Raises LabError with the daemons' last words."""
        until = time.monotonic_ns() + patience
        for best in (True, False):
            while time.monotonic_ns() < until:
                if self.ended():
                    raise LabError(f"a daemon ended at its start\n{self.logs()}")
                if self.settle(
                    steady, min(steady + SECOND, max(steady, until - time.monotonic_ns())), best=best
                ):
                    return
            until = time.monotonic_ns() + 3 * steady
        answering = ", ".join(f"{name}: {who}" for name, who in self.answering().items())
        raise LabError(f"no single owner for every instance: {answering}\n{self.logs()}")

    def add_fault(self, span: FaultSpan) -> None:
        """Put a finished fault on every record."""
        for record in self.records.values():
            record.faults.append(span)
