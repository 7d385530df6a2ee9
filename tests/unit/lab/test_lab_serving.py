"""Whether a lab's arbiter serves, as campaigns ask before the next shot; servers stand in for servers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from haagent.core.units import MILLISECOND
from haagent.lab.arbiter import QuorumArbiter, ServerArbiter
from haagent.lab.cluster import Cluster
from haagent.lab.namespaces import LabError


class Servers:
    def __init__(self, *names):
        self.members = tuple(SimpleNamespace(name=name) for name in names)
        self.hung = set()

    def start(self): ...

    def serves(self, member):
        return member.name not in self.hung

    def log(self, member):
        return Path(member.name, "log")


def quorum(first, second):
    parts = ServerArbiter(first), ServerArbiter(second)
    for part, kind in zip(parts, ("etcd", "zookeeper"), strict=True):
        part.kind = kind
    return QuorumArbiter(parts)


def test_it_serves_when_every_member_of_every_part_does():
    first, second = Servers("e1", "e2"), Servers("z1")
    arbiter = quorum(first, second)
    assert arbiter.serving
    second.hung.add("z1")
    assert not arbiter.serving
    assert arbiter.logs == {
        "etcd-e1": Path("e1/log"),
        "etcd-e2": Path("e2/log"),
        "zookeeper-z1": Path("z1/log"),
    }


def test_a_cluster_waits_for_its_arbiter_and_says_when_it_stays_away():
    servers = Servers("e1")
    cluster = object.__new__(Cluster)
    cluster.servers = ServerArbiter(servers)
    cluster.wait_until_served(100 * MILLISECOND)
    servers.hung.add("e1")
    with pytest.raises(LabError, match=r"does not answer 0\.1 s after its fault was healed"):
        cluster.wait_until_served(100 * MILLISECOND)
    cluster.servers = None  # keepalived has none
    cluster.wait_until_served(100 * MILLISECOND)
