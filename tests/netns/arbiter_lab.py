"""Two real agents and one arbiter of any kind, for faults of the arbiter that every kind has to survive.

A kind is a row in ``KINDS``. Judged from outside only: who answers ARP and echo, every 5 ms. What is allowed comes from
``haagent plan`` for the very files the agents read, plus ``SLACK`` for a busy machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from agent_lab import PACE, UNNOTICED, Agent, Lab, eventually, log_of, ms

from haagent.agent.plan import Plan, back
from haagent.agent.plan import plan as make_plan
from haagent.config.load import load
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.arbiter import (
    EtcdArbiter,
    Part,
    PostgresqlArbiter,
    QuorumArbiter,
    WitnessArbiter,
    ZooKeeperArbiter,
)
from haagent.lab.daemons import peers_block
from haagent.lab.members import ServerError
from haagent.lab.namespaces import processes_in
from haagent.lab.observers import observe
from haagent.lab.postgresql import require_postgresql
from haagent.lab.servers import EtcdOptions, require_etcd
from haagent.lab.topology import VIP4, Topology, build
from haagent.lab.voting_files import FileArbiter
from haagent.lab.zookeeper import require_zookeeper

SLACK = 500 * MILLISECOND
USER, PASSWORD = "ha", "the-password-of-this-lab"


class VotingFiles(FileArbiter):
    """Voting files whose server can hang: then nobody gets an answer about them, and what was written lands later.

    A hung server is, to an agent, a helper process that does not answer; here it is stopped.
    """

    secret = None

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology)
        self._topology = topology
        self._stopped: set[int] = set()

    def freeze_part(self, part: Part) -> None:
        """Hang the first file, or all."""
        self.hang(self.endpoints if part == "all" else self.endpoints[:1])

    def hang(self, paths: tuple[str, ...], node: str | None = None) -> None:
        """Hang files, for all nodes or one."""
        nodes = [one for one in self._topology.nodes if node in (None, one.name)]
        found = {pid for one in nodes for pid in processes_in(one.namespace) if _has_open(pid, paths)}
        assert found, f"nobody has {' or '.join(paths)} open"
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        self._stopped |= found

    def kill_part(self, part: Part) -> None:
        raise NotImplementedError("a file is not killed")

    def thaw(self) -> None:
        for pid in self._stopped:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)
        self._stopped.clear()

    def stop(self) -> None:
        self.thaw()
        super().stop()


def _has_open(pid: int, paths: tuple[str, ...]) -> bool:
    try:
        return any(os.readlink(fd) in paths for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _etcd(topology: Topology) -> EtcdArbiter:
    return EtcdArbiter(topology, options=EtcdOptions(user=USER, password=PASSWORD))


def _zookeeper(topology: Topology) -> ZooKeeperArbiter:
    return ZooKeeperArbiter(topology, login=(USER, PASSWORD))


def _postgresql_standbys(topology: Topology) -> PostgresqlArbiter:
    return PostgresqlArbiter(topology, standbys=2)


def _quorum(topology: Topology) -> QuorumArbiter:
    etcd, zookeeper, witness = ([node] for node in topology.arbiters)
    parts: list[Any] = []
    try:
        parts.append(EtcdArbiter(topology, etcd))
        parts.append(ZooKeeperArbiter(topology, zookeeper))
        parts.append(WitnessArbiter(topology, witness))
    except BaseException:
        for part in parts:
            part.stop()
        raise
    return QuorumArbiter(parts)


@dataclass(frozen=True, slots=True)
class Kind:
    """How an arbiter is run here. ``serves_again``: after it lost its leader, or after all its members hung."""

    start: Callable[[Topology], Any]
    machines: int
    lease: Duration
    serves_again: Duration
    needs: tuple[Callable[[], object], ...] = ()


KINDS = {
    "etcd": Kind(_etcd, 3, 3 * SECOND, 5 * SECOND, (require_etcd,)),
    "zookeeper": Kind(_zookeeper, 3, 3 * SECOND, 5 * SECOND, (require_zookeeper,)),
    "postgresql": Kind(PostgresqlArbiter, 1, 2 * SECOND, SECOND, (require_postgresql,)),
    "postgresql-standbys": Kind(_postgresql_standbys, 3, 6 * SECOND, SECOND, (require_postgresql,)),
    "witness": Kind(WitnessArbiter, 1, SECOND, SECOND),
    "file": Kind(VotingFiles, 0, SECOND, SECOND),
    "quorum": Kind(_quorum, 3, 3 * SECOND, 5 * SECOND, (require_etcd, require_zookeeper)),
}


class ArbiterFaultLab(Lab):
    """A pair with an arbiter of ``kind``; ``failsafe``: the agents know each other, too."""

    def __init__(self, stack: ExitStack, kind: str, *, failsafe: bool = False) -> None:
        self.name, self.kind, self.failsafe = kind, KINDS[kind], failsafe
        self.topology = stack.enter_context(build(2, self.kind.machines, prefix="hbf"))
        self.etcd = None
        self.daemons = {}
        self.arbiter = self.kind.start(self.topology)
        stack.callback(self.arbiter.stop)
        self.observer = observe(self.topology, (VIP4,), PACE)
        stack.callback(self.observer.stop)
        stack.callback(self.stop_all)
        stack.callback(self.arbiter.thaw)
        for node in self.topology.nodes:
            self.agent(node.name, addition=self.addition())
        self.wait_owner("node1", patience=30)

    def addition(self, secret: Path | None = None) -> str:
        """Return what the agents read besides the keepalived.conf, with another secret than the right one if given."""
        block = str(self.arbiter.block(f"    lease {self.lease // MILLISECOND}ms\n"))
        if secret is not None:
            block = block.replace(str(self.arbiter.secret), str(secret))
        if not self.failsafe:
            return block
        key = self.topology.workdir / "peers.key"
        key.touch(mode=0o600)
        key.write_text("the secret of this lab alone\n")
        return block + peers_block(self.topology.nodes, key)

    @property
    def lease(self) -> Duration:
        return self.kind.lease

    @property
    def wait(self) -> Duration:
        """What a contender waits."""
        return self.lease * 11 // 10

    def named(self, name: str) -> Agent:
        """Return the agent of a node."""
        agent = self.daemons[name]
        assert isinstance(agent, Agent)
        return agent

    def plan(self) -> Plan:
        """Return what ``haagent plan`` says for node2's files."""
        words = pairwise(self.named("node2").argv())
        return make_plan(load([Path(file) for word, file in words if word == "-f"]))

    # -- what may happen

    def takeover(self) -> Duration:
        """Return how long a takeover from a MASTER that is alive and silent may take."""
        (instance,) = self.plan().instances
        (line,) = (line for line in instance.lines if line.what.startswith("agent killed or hung"))
        assert line.span is not None
        return line.span.worst

    def interruption(self, away: Duration) -> Duration:
        """Return how long nobody may answer when the arbiter was away for so long."""
        made = self.plan()
        if made.failsafe:
            return 0
        spare = made.timing.lease - made.timing.guard - made.timing.renew
        return max(0, away - spare) + back(made.assumptions, made.timing) if away > spare else 0

    def forgotten(self) -> Duration:
        """Return how long nobody may answer when the arbiter forgot, once it is there: noticed, and waited for W."""
        return self.wait + 2 * self.plan().timing.renew

    def judge(self, what: str, since: Instant, allowed: Duration) -> None:
        """Fail unless nobody but node1 ended up with the address, never two had it, and the outage was allowed."""
        self.wait_owner("node1", patience=(allowed + 10 * self.lease) / SECOND + 10)
        outage, limit = self.outage(since), allowed + (SLACK if allowed else UNNOTICED)
        print(f"{what}: outage {ms(outage)}, allowed {ms(allowed)}")
        assert self.dual(since) == 0, f"{what}: two owners\n{self.logs()}"
        assert outage <= limit, f"{what}: outage {ms(outage)}, allowed {ms(limit)}\n{self.logs()}"

    @contextmanager
    def during(self, what: str, allowed: Duration = 0, settle: float = 0.7) -> Iterator[None]:
        """Judge what happens within, and for ``settle`` seconds afterwards."""
        since = time.monotonic_ns()
        yield
        time.sleep(settle)
        self.judge(what, since, allowed)

    def steady(self) -> None:
        """Have everything run, node1 as MASTER."""
        for name in self.daemons:
            self.begin(name)
        self.wait_owner("node1", patience=30, steady=0.3)

    def begin(self, name: str) -> None:
        """Have an agent run and take part: one that never reached the arbiter does not know what that will forget."""
        agent = self.named(name)
        if agent.process is None or not agent.process.alive:
            takes_part = log_of(agent, r"Entering \w+ STATE")
            agent.start()
            eventually(takes_part, 30, f"the start of {name}")

    def defects(self) -> list[str]:
        """Return the agents that found an error in themselves and began anew: no fault of an arbiter is a reason."""
        return [name for name in self.daemons if '"level": "critical"' in self.named(name).text()]


@contextmanager
def fault_lab(kind: str, *, failsafe: bool = False) -> Iterator[ArbiterFaultLab]:
    """Build a pair with an arbiter of ``kind``; skip, with the reason, where its servers are not installed."""
    try:
        for need in KINDS[kind].needs:
            need()
    except ServerError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:
        yield ArbiterFaultLab(stack, kind, failsafe=failsafe)


def put_back(path: str, copy: Path) -> None:
    """Restore a file from a copy, as a backup program does: complete, under its old name."""
    fresh = Path(f"{path}.restored")
    shutil.copy(copy, fresh)
    fresh.rename(path)
