"""What clients see when processes of a MASTER are killed, frozen, stopped and started again.

One pair of agents with one etcd for the whole module; every test begins with node1 as MASTER.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from agent_lab import LEASE, UNNOTICED, Lab, agents, eventually, log_of, ms, pair_lab, remains

from haagent.core.units import SECOND
from haagent.lab import faults
from haagent.lab.namespaces import run

pytestmark = [pytest.mark.netns, pytest.mark.etcd]
RESTART = 3 * SECOND
LONGEST_TAKEOVER = 2 * LEASE  # W = 1.1 x lease, and time to act on a busy machine


@pytest.fixture
def patient() -> Iterator[Lab]:
    """Return a pair whose lease outlives the start of a worker on a busy machine."""
    with pair_lab(RESTART) as made:
        yield made
        assert made.dual() == 0


def test_killing_the_worker_costs_no_packet_and_no_epoch(patient: Lab):
    pair = patient
    node1, node2 = agents(pair)
    epoch, before = node1.instance()["epoch"], time.monotonic_ns()
    resumed, taken = log_of(node1, "claim VI_1 resumed"), log_of(node2, "Entering MASTER")
    worker = node1.worker
    os.kill(worker, signal.SIGKILL)
    eventually(resumed, what="resuming the claim")
    took = time.monotonic_ns() - before
    time.sleep(1.5 * RESTART / SECOND)  # without the new worker the lease would be over, and W
    outage = pair.outage(before)
    print(f"worker restart to renewed gate {ms(took)}, outage {ms(outage)}")
    assert outage < UNNOTICED
    assert node1.instance()["epoch"] == epoch
    assert node1.instance()["state"] == "MASTER"
    assert node1.worker != worker
    assert not taken()
    assert not pair.answers("node2", before)


def test_a_worker_that_resumes_but_lost_its_claim_meanwhile_lets_go(pair: Lab):
    """Cut off, killed, resumed behind a gate still open, ended by the peer, reconnected while the address is there."""
    node1, _ = agents(pair)
    before = time.monotonic_ns()
    fault = faults.cut_arbiter(pair.topology, node1.node, reject=True)
    fault.inject()
    try:
        os.kill(node1.worker, signal.SIGKILL)
        pair.wait_owner("node2", steady=0)
    finally:
        fault.heal()
    pair.wait_owner("node1")
    assert pair.dual(before) == 0


def test_killing_the_supervisor_hands_over_and_leaves_nothing(pair: Lab):
    node1, _ = agents(pair)
    before = time.monotonic_ns()
    os.kill(node1.supervisor, signal.SIGKILL)
    pair.wait_owner("node2")
    print(f"supervisor killed: outage {ms(pair.outage(before))}")
    assert pair.outage(before) < LEASE  # a handover, not an expiry
    eventually(lambda: not remains(node1.node), what="leaving nothing behind")


def test_killing_both_closes_the_gate_and_the_peer_takes_over(pair: Lab):
    node1, _ = agents(pair)
    before = time.monotonic_ns()
    assert node1.process is not None
    node1.process.kill()
    killed = time.monotonic_ns()
    taken = pair.wait_owner("node2")
    last = pair.last_answered("node1", before)
    print(f"both killed: gate closed after {ms(last - killed)}, taken over after {ms(taken - killed)}")
    assert last - killed < LEASE
    assert taken - killed < LONGEST_TAKEOVER
    eventually(lambda: not pair.has_address("node1"), what="vanishing by lifetime")
    (gone,) = [at.at for at in pair.observer.record.addresses if at.node == "node1" and at.at > before]
    assert gone > last  # nobody took it off; the gate is what kept it silent
    assert not pair.answers("node1", taken)


def test_a_killed_node_that_starts_again_sweeps_and_gets_it_back_by_handover(pair: Lab):
    node1, _ = agents(pair)
    assert node1.process is not None
    node1.process.kill()
    pair.wait_owner("node2")
    # a left-over that no lifetime ends, so that only sweeping can
    run("ip", "-n", node1.node.namespace, "addr", "replace", "192.0.2.100/32", "dev", "lan")
    swept, begun = log_of(node1, "removed addresses left by an earlier run"), time.monotonic_ns()
    node1.start()
    pair.wait_owner("node1")
    print(f"back as MASTER: outage of the handover {ms(pair.outage(begun))}")
    assert swept()
    assert pair.outage(begun) < LEASE
    assert node1.instance()["state"] == "MASTER"


def test_sigterm_hands_over_at_once_and_leaves_nothing(pair: Lab):
    node1, _ = agents(pair)
    outages = []
    for _ in range(3):
        pair.wait_owner("node1")
        before = time.monotonic_ns()
        node1.stop()
        pair.wait_owner("node2")
        outages.append(pair.outage(before))
        assert not remains(node1.node)
        assert node1.process is not None
        assert node1.process.tree() == ()
        node1.start()
    print("handover at SIGTERM: " + ", ".join(map(ms, outages)))
    assert min(outages) < LEASE // 4  # nobody waited for a timer; the shortest is R


def test_sigstop_is_silenced_by_the_kernel_and_recovers(pair: Lab):
    node1, _ = agents(pair)
    assert node1.process is not None
    before = time.monotonic_ns()
    node1.process.freeze()
    frozen = time.monotonic_ns()
    try:
        taken = pair.wait_owner("node2")
        last = pair.last_answered("node1", before)
        print(f"frozen: gate closed after {ms(last - frozen)}, taken over after {ms(taken - frozen)}")
        assert last - frozen < LEASE
        time.sleep(0.5)
    finally:
        node1.process.thaw()
    pair.wait_owner("node1")
    assert node1.instance()["state"] == "MASTER"


def test_a_frozen_worker_is_the_same(pair: Lab):
    node1, _ = agents(pair)
    before, worker = time.monotonic_ns(), node1.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        taken = pair.wait_owner("node2")
        assert taken - before < LONGEST_TAKEOVER
    finally:
        os.kill(worker, signal.SIGCONT)
    pair.wait_owner("node1")


def test_a_worker_that_dies_after_its_gate_closed_opens_nothing(pair: Lab):
    """The supervisor sleeps while the worker dies: the next one finds a gate whose time is over."""
    node1, _ = agents(pair)
    os.kill(node1.supervisor, signal.SIGSTOP)
    try:
        os.kill(node1.worker, signal.SIGKILL)
        pair.wait_owner("node2")
    finally:
        os.kill(node1.supervisor, signal.SIGCONT)
    pair.wait_owner("node1")
    assert node1.instance()["state"] == "MASTER"


def test_sigterm_of_the_backup_changes_nothing(pair: Lab):
    node1, node2 = agents(pair)
    epoch, before = node1.instance()["epoch"], time.monotonic_ns()
    node2.stop()
    time.sleep(0.3)
    node2.start()
    time.sleep(1.0)
    assert pair.outage(before) < UNNOTICED
    assert node1.instance()["epoch"] == epoch
