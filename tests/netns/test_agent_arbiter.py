"""What clients see when the BACKUP is cut from the arbiter, the MASTER evicted, or the arbiter's answer is no use.

What every arbiter has to survive is in test_arbiter_faults.py.
One pair of agents with one etcd for the whole module, without failsafe; every test begins with node1 as MASTER.
"""

from __future__ import annotations

import base64
import json
import time

import pytest
from agent_lab import LEASE, UNNOTICED, Lab, agents, arbiter_block, eventually, lab, log_of, ms

from haagent.core.units import SECOND
from haagent.lab import faults

pytestmark = [pytest.mark.netns, pytest.mark.etcd]


def test_a_backup_cut_from_the_arbiter_changes_nothing(pair: Lab):
    node1, node2 = agents(pair)
    epoch, before = node1.instance()["epoch"], time.monotonic_ns()
    fault = faults.cut_arbiter(pair.topology, node2.node)
    fault.inject()
    try:
        time.sleep(4 * LEASE / SECOND)
    finally:
        fault.heal()
    time.sleep(1)
    assert pair.outage(before) < UNNOTICED
    assert node1.instance()["epoch"] == epoch, pair.logs()
    assert node2.instance()["state"] == "BACKUP"


def test_an_arbiter_that_restarts_quickly_is_not_noticed_by_clients():
    """A lease outlives the restart of an etcd; that is what leases are for. Starting one takes a second or two when busy."""
    lease = 5 * SECOND
    with lab() as made:
        assert made.etcd is not None
        made.agent("node1", addition=arbiter_block(made.etcd.endpoints, lease=lease))
        made.wait_owner("node1")
        before = time.monotonic_ns()
        made.etcd.kill(1)
        made.etcd.restart()
        time.sleep(lease / SECOND)  # without the restart it would be over
        assert made.outage(before) < UNNOTICED


def lease_of(pair: Lab, node: str) -> str:
    """Return the etcd lease that carries the session of ``node``."""
    assert pair.etcd is not None
    listed = pair.etcd.cluster.etcdctl("get", "/haagent", "--prefix", "-w", "json")
    for one in json.loads(listed).get("kvs", []):
        if base64.b64decode(one["key"]).decode().endswith(f"sessions/{node}") and one.get("lease"):
            return f"{one['lease']:x}"
    raise AssertionError(f"no lease carries sessions/{node}: {listed}")


def test_revoking_the_masters_lease_evicts_it(pair: Lab):
    assert pair.etcd is not None
    node1, _node2 = agents(pair)
    epoch, before = node1.instance()["epoch"], time.monotonic_ns()
    lost = log_of(node1, "session lost")
    pair.etcd.cluster.etcdctl("lease", "revoke", lease_of(pair, "node1"))
    eventually(lost, what="noticing the eviction")
    pair.wait_owner("node1")
    time.sleep(0.3)
    pair.wait_owner("node1")
    print(f"lease revoked: outage {ms(pair.outage(before))}")
    assert node1.instance()["epoch"] > epoch


def test_somebody_elses_value_in_the_claim_is_said_and_not_trusted(pair: Lab):
    assert pair.etcd is not None
    node1, _ = agents(pair)
    begun, said = time.monotonic_ns(), log_of(node1, "unreadable")
    pair.etcd.cluster.etcdctl("put", "/haagent/haagent/claims/VI_1", "not json")
    eventually(said, what="saying that the claim cannot be read")
    pair.etcd.cluster.etcdctl("del", "/haagent/haagent/claims/VI_1")
    pair.wait_owner("node1")
    assert pair.dual(begun) == 0


def test_an_unreachable_endpoint_keeps_it_backup_and_says_so():
    with lab(arbiters=0) as made:
        agent = made.agent("node1", addition=arbiter_block(["198.51.100.77:2379", "198.51.100.78:1"]))
        eventually(log_of(agent, "session unavailable"), what="saying what is wrong")
        time.sleep(1.5)
        assert agent.instance()["state"] == "BACKUP"
        assert not made.observer.owners()
        shown = agent.shown()["arbiter"]
        assert shown["state"] == "unavailable"
        assert "198.51.100.7" in shown["error"]
        assert len(agent.records()) < 20  # said once, not at every attempt
        assert "Traceback" not in agent.text()
        agent.stop()
        assert agent.process is not None
        assert agent.process.tree() == ()
