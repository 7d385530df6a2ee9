"""What clients see when an arbiter of a quorum, or a ZooKeeper of an ensemble, is lost, hangs or forgets: nothing.

Two agents, three arbiters in namespaces of their own, no failsafe: only the arbiter keeps the address up.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from agent_lab import PACE, Lab, eventually, ms

from haagent.core.units import MILLISECOND, SECOND
from haagent.lab.members import ServerError, Site
from haagent.lab.observers import observe
from haagent.lab.servers import EtcdCluster, require_etcd
from haagent.lab.topology import VIP4, build
from haagent.lab.zookeeper import ZooKeeperEnsemble, require_zookeeper

pytestmark = [pytest.mark.netns, pytest.mark.etcd, pytest.mark.zookeeper]

UNNOTICED = 20 * MILLISECOND  # of missing answers: four rounds of the observer


@pytest.fixture(autouse=True, scope="module")
def _servers() -> None:
    try:
        require_etcd()
        require_zookeeper()
    except ServerError as error:
        pytest.skip(str(error))


class ArbiterLab(Lab):
    """A pair of nodes and three empty arbiter namespaces."""

    def __init__(self, stack: ExitStack) -> None:
        self.topology = stack.enter_context(build(2, 3, prefix="haz"))
        self.etcd = None
        self.observer = observe(self.topology, (VIP4,), PACE)
        stack.callback(self.observer.stop)
        self.daemons = {}
        stack.callback(self.stop_all)
        self.stack = stack

    def site(self, number: int) -> Site:
        arbiter = self.topology.arbiters[number]
        return Site(str(arbiter.mgmt), arbiter.namespace)

    def begin(self, addition: str) -> None:
        """Start both agents; node1 becomes MASTER."""
        for name in ("node1", "node2"):
            self.agent(name, addition=addition)
        self.wait_owner("node1", patience=15)
        time.sleep(0.5)

    def unnoticed(self, fault: str, act: Callable[[], object], settle: float = 1.5) -> None:
        """Do something to an arbiter and check that no client notices."""
        before = time.monotonic_ns()
        act()
        time.sleep(settle)
        outage = self.outage(before)
        print(f"{fault}: longest outage {ms(outage)}")
        assert outage < UNNOTICED, f"{fault}: {ms(outage)}\n{self.logs()}"
        assert self.owner() == "node1", fault


@contextmanager
def arbiter_lab() -> Iterator[ArbiterLab]:
    with ExitStack() as stack:
        yield ArbiterLab(stack)


def test_losing_any_one_arbiter_of_a_quorum_moves_nothing():
    with arbiter_lab() as lab:
        work = lab.topology.workdir
        one, two = (lab.stack.enter_context(EtcdCluster(work / f"etcd{n}", [lab.site(n)])) for n in (0, 1))
        keeper = lab.stack.enter_context(ZooKeeperEnsemble(work / "keeper", [lab.site(2)]))
        members = [("etcd", one), ("etcd", two), ("zookeeper", keeper)]
        blocks = "".join(f"    {kind} {{ endpoints {m.endpoints[0]}\n }}\n" for kind, m in members)
        lab.begin(f"arbiter quorum {{\n    lease 1s\n{blocks}}}\n")
        for cluster, name in ((one, "etcd one"), (two, "etcd two"), (keeper, "zookeeper")):
            (member,) = cluster.members
            lab.unnoticed(f"{name} frozen", lambda c=cluster, m=member: c.freeze(m))
            lab.unnoticed(f"{name} thawed", lambda c=cluster, m=member: c.thaw(m), 0.7)
            lab.unnoticed(f"{name} killed", lambda c=cluster, m=member: c.kill(m))
            if cluster is keeper:
                lab.unnoticed(f"{name} back, wiped", keeper.wipe, 3)
            else:
                shutil.rmtree(cluster.directory / member.name)
                lab.unnoticed(f"{name} back, wiped", lambda c=cluster, m=member: c.restart(m), 3)
        before = time.monotonic_ns()
        node1 = lab.daemons["node1"]
        epoch = node1.instance()["epoch"]
        one.kill(one.members[0])
        assert node1.process is not None
        node1.process.kill()  # a failover with a majority of two, all three having forgotten everything once
        lab.wait_owner("node2", patience=10)
        print(f"MASTER killed with one arbiter down: replaced after {ms(lab.outage(before))}")
        eventually(lambda: lab.daemons["node2"].instance()["epoch"] > epoch)
        assert lab.dual() == 0


def test_losing_any_one_zookeeper_of_an_ensemble_moves_nothing():
    with arbiter_lab() as lab:
        sites = [lab.site(number) for number in range(3)]
        keeper = lab.stack.enter_context(ZooKeeperEnsemble(lab.topology.workdir / "keeper", sites))
        lab.begin(f"arbiter zookeeper {{\n    endpoints {' '.join(keeper.endpoints)}\n    lease 6s\n}}\n")
        leader = keeper.leader()
        for member in keeper.members:
            name = f"{'leader' if member is leader else 'follower'} {member.name}"
            lab.unnoticed(f"{name} killed", lambda m=member: keeper.kill(m), 2.0)
            lab.unnoticed(f"{name} back", lambda m=member: keeper.restart(m), 0.5)
        before = time.monotonic_ns()
        for member in keeper.members:
            keeper.kill(member)
        lab.wait_owner(None, patience=10)
        last = max(lab.answers("node1", before), default=before)
        print(f"all killed: silent after {ms(last - before)}")
        assert last - before < 6 * SECOND
        assert lab.dual() == 0
