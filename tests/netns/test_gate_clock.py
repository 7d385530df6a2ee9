"""The gate inside real time namespaces: whose clock its deadlines are in, and what an operator is told about it.

Everything happens in a child of ``unshare`` with a network namespace of its own, which ends with the child.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from haagent.core.units import SECOND, Duration

pytestmark = pytest.mark.netns

# Opens the gate, lets a claim pass for a while, and tells what the kernel had before and after.
CHILD = """
import json, sys, time
from ipaddress import ip_address
from click.testing import CliRunner
from haagent.cli.gate import gate as command
from haagent.effects.gate import Guard, GuardedRouter, boot_now, open_gate
from haagent.errors import EffectError

mode, lasts = sys.argv[1], int(sys.argv[2])
router = GuardedRouter(77, 4, "lo", (ip_address("224.0.0.18"),), (ip_address("10.77.0.100"),))
try:
    gate = open_gate([Guard("web", (router,))], mode=mode)
except EffectError as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
until = boot_now() + lasts
gate.extend(until)
gate.open("web", 7)
passing, at = gate.status(), boot_now()
shown = CliRunner().invoke(command, ["status"]).output
while boot_now() < until + 50_000_000:  # what a timeout may be late by
    time.sleep(0.01)
after = gate.status()
print(json.dumps({
    "tier": gate.tier, "problems": passing.problems, "shown": shown, "deadline": passing.deadline == until,
    "passed": passing.passes("web", at), "left": after.deadline,
}))
"""


def unshared(offset: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in new time and network namespaces; CLOCK_BOOTTIME is shifted by ``offset`` seconds there."""
    command = (
        "unshare",
        "--net",
        "--time",
        "--boottime",
        str(offset),
        "--fork",
        "--kill-child",
        sys.executable,
    )
    return subprocess.run((*command, *arguments), capture_output=True, text=True, timeout=60, check=False)


def gate_inside(offset: int, mode: str = "auto", lasts: Duration = 0) -> dict[str, Any]:
    """Return what CHILD tells of a gate in a namespace with that offset, extended by ``lasts``."""
    done = unshared(offset, "-c", CHILD, mode, str(lasts))
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(autouse=True, scope="module")
def _time_namespaces() -> None:
    try:
        tried = unshared(1, "-c", "")
    except FileNotFoundError:
        pytest.skip("unshare of util-linux is not installed")
    if tried.returncode != 0:
        pytest.skip(f"no time namespaces here: {tried.stderr.strip()}")


@pytest.mark.parametrize(
    ("offset", "word"), [(1000, r"(1000\.00.|999\.999) s ahead of"), (-10, r"(10\.00.|9\.999) s behind")]
)
def test_where_the_clock_is_shifted_the_next_tier_is_taken_and_says_why(offset: int, word: str) -> None:
    told = gate_inside(offset, lasts=2 * SECOND)
    reason = f"CLOCK_BOOTTIME of this process is {word} the kernel's, because it runs in a time namespace"
    assert told["tier"] == "nftables"
    assert [problem for problem in told["problems"] if re.match(f"BPF gate: {reason}", problem)]
    assert re.search(f"^no BPF gate from here: {reason}", told["shown"], re.MULTILINE)
    assert "nftables: closes in " in told["shown"]
    assert (told["deadline"], told["passed"]) == (True, True)
    assert told["left"] == 0  # the lease has timed out by itself, at the time meant


def test_a_namespace_without_an_offset_has_the_best_tier() -> None:
    told = gate_inside(0)
    assert (told["tier"], told["problems"]) == ("bpf", [])
    assert "no BPF gate" not in told["shown"]


def test_who_insists_on_bpf_is_refused_with_the_reason() -> None:
    told = gate_inside(1000, "bpf")
    assert "gate bpf: this host cannot check packets; BPF gate: CLOCK_BOOTTIME" in told["refused"]
    assert " s ahead of the kernel's" in told["refused"]
