"""The lab's etcd runs inside namespaces, reachable there and nowhere else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.lab.members import Site
from haagent.lab.servers import EtcdCluster, EtcdOptions

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"hae-etcd-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_cluster_in_a_namespace(etcd_directory: Path, namespace: str) -> None:
    sites = [Site(f"127.0.0.{number}", namespace) for number in (1, 2, 3)]
    with EtcdCluster(etcd_directory / "inside", sites, EtcdOptions(heartbeat=50, election=500)) as cluster:
        assert cluster.endpoints == ("127.0.0.1:2379", "127.0.0.2:2379", "127.0.0.3:2379")
        cluster.etcdctl("put", "key", "value")
        assert cluster.etcdctl("get", "key", "--print-value-only").strip() == "value"
        assert cluster.leader() in cluster.members
        inside = subprocess.run(
            ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True
        )
        pids = {member.pid for member in cluster.members}
        assert {int(pid) for pid in inside.stdout.split()} == pids
    left = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True)
    assert left.stdout == ""
    assert not (etcd_directory / "inside").exists()
