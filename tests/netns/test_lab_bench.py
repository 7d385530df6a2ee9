"""The benchmark measures something, quickly, with the daemon that is always there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]
ROOT = Path(__file__).resolve().parents[2]


def test_idle_cost_of_three_instances(tmp_path):
    out = tmp_path / "bench.json"
    words = [
        "--daemon",
        "keepalived",
        "--only",
        "idle",
        "--load",
        "3",
        "0.1",
        "--window",
        "2",
        "--json",
        str(out),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cost = json.loads(out.read_text())["idle for 2 s, 3 x advert 0.1 s"]["keepalived"]
    assert 0 < cost["backup_cpu"] < cost["master_cpu"] < 20
    assert 1 << 20 < cost["master_pss"] < 50 << 20
    assert cost["changes"] == 0
