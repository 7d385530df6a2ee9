"""Tests in network namespaces: skipped with a reason where they cannot run, leaving nothing behind."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import pytest
from agent_lab import Lab, pair_lab

NEEDS = {"netns": ("ip", "nft"), "keepalived": ("keepalived", "haproxy"), "etcd": ("etcd", "etcdctl")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, by the markers a test carries; give the others time for a busy machine."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120))
        for marker, programs in NEEDS.items():
            if item.get_closest_marker(marker) is None:
                continue
            missing = [program for program in programs if shutil.which(program) is None]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))
            elif os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.fixture(scope="module")
def built_pair() -> Iterator[Lab]:
    """Build two agents with one etcd, for all tests of a module."""
    with pair_lab() as made:
        yield made


@pytest.fixture
def pair(built_pair: Lab) -> Iterator[Lab]:
    """Return two agents that run, node1 as MASTER; never may two nodes have answered when the test is over."""
    for daemon in built_pair.daemons.values():
        daemon.start()
    built_pair.wait_owner("node1")
    begun = time.monotonic_ns()
    yield built_pair
    assert built_pair.dual(begun) == 0
