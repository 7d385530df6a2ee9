"""etcd obeys the contract: one member, three members, TLS with client certificates and a user."""

from __future__ import annotations

import pytest

from arbiters.etcd import open_arbiter
from haagent.arbiter import Arbiter
from haagent.lab.servers import EtcdCluster
from haagent.testing.contract import ArbiterContract

pytestmark = pytest.mark.etcd


class EtcdContract(ArbiterContract):
    cluster: EtcdCluster

    async def open(self, node: str) -> Arbiter:
        return await open_arbiter(self.options(node, self.cluster.endpoints, **self.cluster.settings))

    async def open_at(self, endpoint: str) -> Arbiter:
        return await open_arbiter(self.options("a", (endpoint,), **self.cluster.settings))


class TestOneMember(EtcdContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, etcd_single: EtcdCluster) -> None:
        self.cluster = etcd_single


class TestThreeMembers(EtcdContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, etcd_trio: EtcdCluster) -> None:
        self.cluster = etcd_trio


class TestTlsAndUser(EtcdContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, etcd_secure: EtcdCluster) -> None:
        self.cluster = etcd_secure
