"""Real etcd clusters, ZooKeeper ensembles and PostgreSQL servers, one per kind for the whole run; skipped with a reason where not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.lab.members import ServerError, Site
from haagent.lab.postgresql import PostgresqlOptions, PostgresqlServers, require_postgresql
from haagent.lab.servers import EtcdCluster, EtcdOptions, make_certificates, require_etcd
from haagent.lab.zookeeper import ZooKeeperEnsemble, ZooKeeperOptions, require_zookeeper

pytest.register_assert_rewrite("haagent.testing.contract")

QUICK = {"heartbeat": 50, "election": 500}


@pytest.fixture(scope="session")
def etcd_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        require_etcd()
    except ServerError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("etcd")


@pytest.fixture(scope="session")
def etcd_single(etcd_directory: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(etcd_directory / "single", options=EtcdOptions(**QUICK)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def etcd_trio(etcd_directory: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(etcd_directory / "trio", [Site()] * 3, EtcdOptions(**QUICK)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def etcd_users(etcd_directory: Path) -> Iterator[EtcdCluster]:
    """One member that wants a user and a password, without TLS."""
    options = EtcdOptions(user="ha", password="secret", **QUICK)
    with EtcdCluster(etcd_directory / "users", options=options) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def etcd_secure(etcd_directory: Path) -> Iterator[EtcdCluster]:
    """One member that wants a client certificate, and a user with a password."""
    certificates = make_certificates(etcd_directory / "certificates", ["127.0.0.1"])
    options = EtcdOptions(certificates=certificates, user="ha", password="a:b-c", **QUICK)
    with EtcdCluster(etcd_directory / "secure", options=options) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def zookeeper_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        require_zookeeper()
    except ServerError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("zookeeper")


@pytest.fixture(scope="session")
def zookeeper_single(zookeeper_directory: Path) -> Iterator[ZooKeeperEnsemble]:
    with ZooKeeperEnsemble(zookeeper_directory / "single") as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def zookeeper_trio(zookeeper_directory: Path) -> Iterator[ZooKeeperEnsemble]:
    with ZooKeeperEnsemble(zookeeper_directory / "trio", [Site()] * 3) as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def zookeeper_secure(zookeeper_directory: Path) -> Iterator[ZooKeeperEnsemble]:
    """One server that wants a client certificate."""
    certificates = make_certificates(zookeeper_directory / "certificates", ["127.0.0.1"])
    options = ZooKeeperOptions(certificates=certificates)
    with ZooKeeperEnsemble(zookeeper_directory / "secure", options=options) as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def postgresql() -> None:
    try:
        require_postgresql()
    except ServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgresql_single(postgresql: None) -> Iterator[PostgresqlServers]:
    with PostgresqlServers() as servers:
        yield servers


@pytest.fixture(scope="session")
def postgresql_pair(postgresql: None) -> Iterator[PostgresqlServers]:
    """A primary, and a standby without whose disk nothing is acknowledged."""
    with PostgresqlServers([Site()] * 2) as servers:
        yield servers


@pytest.fixture(scope="session")
def postgresql_secure(
    postgresql: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresqlServers]:
    """One server that wants a client certificate, and a password."""
    certificates = make_certificates(tmp_path_factory.mktemp("postgresql"), ["127.0.0.1"])
    with PostgresqlServers(options=PostgresqlOptions(certificates, password="a:b-c")) as servers:
        yield servers
