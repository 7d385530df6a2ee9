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


def test_an_arbiter_is_measured_and_its_calls_are_counted(tmp_path):
    out = tmp_path / "arbiters.json"
    words = ["--arbiter", "file", "--only", "latency", "--only", "rate", "--calls", "20", "--window", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.arbiters", *words, "--instances", "3", "--json", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = json.loads(out.read_text())
    for latency in numbers["latency"]["file"].values():
        assert latency["count"] == 20
        assert 0 < latency["p50"] <= latency["p99"]
    rate = numbers["rate"]["file"]["3"]
    assert 1 < rate["master_swaps"] < 3, rate  # a lease of 2 s is renewed every 500 ms
    assert rate["backup_swaps"] < 1, rate
