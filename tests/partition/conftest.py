"""Campaigns: skipped with a reason where they cannot run."""

from __future__ import annotations

import os
import shutil

import pytest

NEEDS = {"netns": ("ip", "nft", "haproxy"), "keepalived": ("keepalived",), "etcd": ("etcd", "etcdctl")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, by the markers a test carries."""
    for item in items:
        for marker, programs in NEEDS.items():
            if item.get_closest_marker(marker) is None:
                continue
            missing = [program for program in programs if shutil.which(program) is None]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))
            elif os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="network namespaces need root"))
