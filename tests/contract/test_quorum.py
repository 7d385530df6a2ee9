"""A quorum obeys the contract: of three stores in memory, and of real servers of different kinds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from arbiters.quorum import QuorumArbiter, open_arbiter
from arbiters.quorum.members import Member
from haagent.arbiter import Arbiter, ArbiterOptions
from haagent.lab.servers import EtcdCluster
from haagent.lab.zookeeper import ZooKeeperEnsemble
from haagent.testing.contract import ArbiterContract
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore


def memory_quorum(stores: Sequence[MemoryStore], faults: Sequence[Faults] = ()) -> QuorumArbiter:
    """Return a quorum of one connection to each store."""
    faults = faults or [Faults() for _ in stores]
    arbiters = [MemoryArbiter(store, fault) for store, fault in zip(stores, faults, strict=True)]

    def opening(arbiter: Arbiter):
        async def open_one(options: ArbiterOptions) -> Arbiter:
            return arbiter

        return open_one

    options = ArbiterOptions((), "d", "n", 1.0, {})
    return QuorumArbiter([Member(f"member {n}", opening(one), options) for n, one in enumerate(arbiters, 1)])


class MemoryQuorum(ArbiterContract):
    size = 3

    @pytest.fixture(autouse=True)
    def _stores(self) -> None:
        self.domains: dict[str, list[MemoryStore]] = {}

    async def open(self, node: str) -> Arbiter:
        stores = self.domains.setdefault(self.domain, [MemoryStore() for _ in range(self.size)])
        return memory_quorum(stores, self.faults())

    def faults(self) -> list[Faults]:
        return [Faults() for _ in range(self.size)]


class TestThreeInMemory(MemoryQuorum):
    pass


class TestFiveInMemory(MemoryQuorum):
    size = 5


class TestTwoInMemory(MemoryQuorum):
    size = 2


class TestThreeOfWhichOneIsSlow(MemoryQuorum):
    def faults(self) -> list[Faults]:
        return [Faults(), Faults(delay=0.03), Faults()]


@pytest.mark.etcd
@pytest.mark.zookeeper
class TestEtcdEtcdZooKeeper(ArbiterContract):
    """One etcd server, a cluster of three, and one ZooKeeper."""

    @pytest.fixture(autouse=True)
    def _members(
        self, etcd_single: EtcdCluster, etcd_trio: EtcdCluster, zookeeper_single: ZooKeeperEnsemble
    ) -> None:
        self.endpoints = (
            ("etcd", etcd_single.endpoints),
            ("etcd", etcd_trio.endpoints),
            ("zookeeper", zookeeper_single.endpoints),
        )

    async def open(self, node: str) -> Arbiter:
        members = tuple((kind, self.options(node, endpoints)) for kind, endpoints in self.endpoints)
        return await open_arbiter(ArbiterOptions((), self.domain, node, 2.0, {}, members))

    async def open_at(self, endpoint: str) -> Arbiter:
        """A silent majority is what a silent server is to a single arbiter."""
        kinds = (("etcd", (endpoint,)), ("zookeeper", (endpoint,)), self.endpoints[0])
        members = tuple((kind, self.options("a", endpoints)) for kind, endpoints in kinds)
        return await open_arbiter(ArbiterOptions((), self.domain, "a", 2.0, {}, members))
