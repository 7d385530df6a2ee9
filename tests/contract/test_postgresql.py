"""PostgreSQL obeys the contract: one server, a primary with a standby that replicates synchronously, TLS with client certificates."""

from __future__ import annotations

import pytest

from arbiters.postgresql import open_arbiter
from haagent.arbiter import Arbiter
from haagent.lab.postgresql import PostgresqlServers
from haagent.testing.contract import ArbiterContract

pytestmark = pytest.mark.postgresql


class PostgresqlContract(ArbiterContract):
    servers: PostgresqlServers

    async def open(self, node: str) -> Arbiter:
        words = {**self.servers.settings, "password": self.servers.options.password}
        return await open_arbiter(self.options(node, self.servers.endpoints, **words))

    async def open_at(self, endpoint: str) -> Arbiter:
        words = {**self.servers.settings, "password": self.servers.options.password}
        return await open_arbiter(self.options("a", (endpoint,), **words))


class TestOneServer(PostgresqlContract):
    @pytest.fixture(autouse=True)
    def _servers(self, postgresql_single: PostgresqlServers) -> None:
        self.servers = postgresql_single


class TestPrimaryAndStandby(PostgresqlContract):
    @pytest.fixture(autouse=True)
    def _servers(self, postgresql_pair: PostgresqlServers) -> None:
        self.servers = postgresql_pair


class TestTls(PostgresqlContract):
    @pytest.fixture(autouse=True)
    def _servers(self, postgresql_secure: PostgresqlServers) -> None:
        self.servers = postgresql_secure
