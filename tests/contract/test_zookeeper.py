"""ZooKeeper obeys the contract: one server, three servers, TLS with client certificates and a user in a chroot."""

from __future__ import annotations

from typing import ClassVar

import pytest

from arbiters.zookeeper import open_arbiter
from haagent.arbiter import Arbiter
from haagent.lab.zookeeper import ZooKeeperEnsemble
from haagent.testing.contract import ArbiterContract

pytestmark = pytest.mark.zookeeper


class ZooKeeperContract(ArbiterContract):
    ensemble: ZooKeeperEnsemble
    words: ClassVar[dict[str, str]] = {}

    async def open(self, node: str) -> Arbiter:
        words = {**self.ensemble.settings, **self.words}
        return await open_arbiter(self.options(node, self.ensemble.endpoints, **words))

    async def open_at(self, endpoint: str) -> Arbiter:
        words = {**self.ensemble.settings, **self.words}
        return await open_arbiter(self.options("a", (endpoint,), **words))


class TestOneServer(ZooKeeperContract):
    @pytest.fixture(autouse=True)
    def _ensemble(self, zookeeper_single: ZooKeeperEnsemble) -> None:
        self.ensemble = zookeeper_single


class TestThreeServers(ZooKeeperContract):
    @pytest.fixture(autouse=True)
    def _ensemble(self, zookeeper_trio: ZooKeeperEnsemble) -> None:
        self.ensemble = zookeeper_trio


class TestTlsUserAndChroot(ZooKeeperContract):
    words: ClassVar[dict[str, str]] = {"username": "ha", "password": "a:b-c", "chroot": "/site/one"}

    @pytest.fixture(autouse=True)
    def _ensemble(self, zookeeper_secure: ZooKeeperEnsemble) -> None:
        self.ensemble = zookeeper_secure
