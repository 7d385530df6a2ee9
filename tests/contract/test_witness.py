"""A witness obeys the contract: plain, with TLS, and as a member of a quorum."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiters.quorum import open_arbiter as open_quorum
from arbiters.witness import open_arbiter
from haagent.arbiter import Arbiter, ArbiterOptions
from haagent.lab.members import Site
from haagent.lab.servers import make_certificates
from haagent.lab.witness import Witnesses
from haagent.testing.contract import ArbiterContract


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnesses]:
    with Witnesses(tmp_path_factory.mktemp("witness") / "one") as one:
        yield one


@pytest.fixture(scope="module")
def secure_witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnesses]:
    directory = tmp_path_factory.mktemp("witness")
    with Witnesses(directory / "tls", certificates=make_certificates(directory, ["127.0.0.1"])) as one:
        yield one


@pytest.fixture(scope="module")
def witnesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnesses]:
    with Witnesses(tmp_path_factory.mktemp("witness") / "three", [Site()] * 3) as three:
        yield three


class WitnessContract(ArbiterContract):
    servers: Witnesses

    async def open(self, node: str) -> Arbiter:
        return await open_arbiter(self.options(node, self.servers.endpoints, **self.servers.settings))

    async def open_at(self, endpoint: str) -> Arbiter:
        return await open_arbiter(self.options("a", (endpoint,), **self.servers.settings))


class TestWitness(WitnessContract):
    @pytest.fixture(autouse=True)
    def _server(self, witness: Witnesses) -> None:
        self.servers = witness


class TestWitnessWithTls(WitnessContract):
    @pytest.fixture(autouse=True)
    def _server(self, secure_witness: Witnesses) -> None:
        self.servers = secure_witness


class TestQuorumOfWitnesses(ArbiterContract):
    @pytest.fixture(autouse=True)
    def _servers(self, witnesses: Witnesses) -> None:
        self.servers = witnesses

    async def open(self, node: str) -> Arbiter:
        members = [self.options(node, (one,), **self.servers.settings) for one in self.servers.endpoints]
        return await open_quorum(
            ArbiterOptions((), self.domain, node, 2.0, {}, tuple(("witness", one) for one in members))
        )


def test_a_clean_end_leaves_one_file(tmp_path: Path) -> None:
    with Witnesses(tmp_path / "w") as servers:
        (member,) = servers.members
        assert servers.end(member) == 0
        names = {path.name for path in servers.directory.iterdir()}
        assert names == {"witness1", "witness1.log", "witness.key"}
