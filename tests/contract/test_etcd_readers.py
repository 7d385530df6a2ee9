"""What we write is readable with etcd's own tool and with another client; our messages match their source."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.etcd import open_arbiter
from arbiters.etcd.compile import COMPILED, compile_messages
from haagent.arbiter import ArbiterOptions
from haagent.lab.servers import EtcdCluster
from haagent.testing.contract import TIMEOUT


async def _written(cluster: EtcdCluster) -> tuple[str, bytes, str]:
    """Write one claim; return its key, value and version."""
    domain, value = (
        f"readers-{uuid4().hex[:8]}",
        json.dumps({"holder": "a", "epoch": 7, "note": "é"}).encode(),
    )
    arbiter = await open_arbiter(ArbiterOptions(cluster.endpoints, domain, "a", 0.5, {}))
    try:
        version = await arbiter.swap("claims/web", value, None, timeout=TIMEOUT)
    finally:
        await arbiter.aclose()
    return f"/haagent/{domain}/claims/web", value, version


@pytest.mark.etcd
async def test_etcdctl_reads_the_json(etcd_single: EtcdCluster) -> None:
    key, value, _ = await _written(etcd_single)
    assert json.loads(etcd_single.etcdctl("get", key, "--print-value-only")) == json.loads(value)


@pytest.mark.etcd
async def test_an_independent_client_reads_value_and_revision(etcd_single: EtcdCluster) -> None:
    etcd3 = pytest.importorskip("etcd3", reason="cslab-etcd3 is not installed")
    key, value, version = await _written(etcd_single)
    host, port = etcd_single.endpoints[0].split(":")
    client = etcd3.client(host=host, port=int(port), timeout=5)
    try:
        read, metadata = client.get(key)
    finally:
        client.close()
    assert (read, str(metadata.mod_revision), metadata.lease_id) == (value, version, 0)


def test_shipped_descriptors_are_those_of_the_source(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools, the compiler, is not installed")
    compile_messages(tmp_path / "fresh.binpb")
    assert (tmp_path / "fresh.binpb").read_bytes() == COMPILED.read_bytes(), (
        f"run {Path(sys.executable).name} -m arbiters.etcd.compile"
    )
