"""A live keepalived pair becomes a haagent pair, one node at a time, in the order ``haagent migrate`` prints; and back.

The configuration file of each node is never touched: haagent gets it, and a second one with the arbiter.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from agent_lab import LEASE, Lab, agents, eventually, lab, ms

from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.lab.daemons import ClusterSpec, keepalived_conf

pytestmark = [pytest.mark.netns, pytest.mark.keepalived, pytest.mark.etcd]

ADVERT = 200 * MILLISECOND
SKEW = (256 - 100) * ADVERT // 256  # what a keepalived BACKUP waits after a resignation, at most
SETTLING = 3 * LEASE / SECOND  # s; a fresh haagent node claims nothing before it has watched for W
BUSY = 500 * MILLISECOND  # starting programs on a busy machine


@pytest.fixture
def pair() -> Iterator[Lab]:
    with lab() as made:
        yield made


def configuration(name: str) -> str:
    return keepalived_conf(ClusterSpec(advert=ADVERT, vip6=None), name)


def start(pair: Lab, kind: str, name: str) -> None:
    if kind == "keepalived":
        pair.keepalived(name, configuration(name))
    else:
        pair.agent(name, configuration(name))


def replace(pair: Lab, name: str, kind: str) -> Duration:
    """Stop what runs on a node, start the other kind, and return the longest outage until it has settled."""
    since = time.monotonic_ns()
    pair.daemons[name].stop()
    start(pair, kind, name)
    log = pair.daemons[name].log
    eventually(lambda: "Entering BACKUP STATE" in log.read_text(), 10, f"{kind} to start")
    time.sleep(SETTLING)
    return pair.outage(since)


def test_a_live_pair_is_migrated_and_back_without_two_masters(pair: Lab) -> None:
    start(pair, "keepalived", "node1")
    start(pair, "keepalived", "node2")
    pair.wait_owner("node1", patience=12)
    settled = time.monotonic_ns()

    assert replace(pair, "node2", "haagent") == 0, "changing the BACKUP concerns nobody"
    assert pair.owner() == "node1"
    first = replace(pair, "node1", "haagent")
    pair.wait_owner("node1")
    assert first < SKEW + BUSY
    one = agents(pair)[0].instance()
    assert one["state"] == "MASTER"
    assert one["epoch"] > 0

    assert replace(pair, "node2", "keepalived") == 0
    assert pair.owner() == "node1"
    last = replace(pair, "node1", "keepalived")
    pair.wait_owner("node1")
    assert last < SKEW + BUSY
    print(f"the MASTER's change cost {ms(first)} to haagent, {ms(last)} back to keepalived")
    # keepalived adds its address before it hears who else has it: only haagent's own hand-overs are exclusive
    assert pair.dual(settled) < SECOND
