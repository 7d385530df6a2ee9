"""Each packet fault does to real packets what its name says, and healing undoes it."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

import pytest

from haagent.lab import faults, topology
from haagent.lab.namespaces import LabError, inside, run

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def lab():
    with topology.build(2, 1) as built:
        yield built


@pytest.fixture
def nodes(lab):
    return lab.nodes


def reaches(source: topology.Node, target: topology.Node, protocol: int, count: int = 10) -> int:
    """Send ``count`` datagrams of an IP protocol over the lan; return how many arrive."""
    with inside(source.namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    with inside(target.namespace):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    with sender, receiver:
        receiver.settimeout(0.3)
        # the first may wait for ARP; it is not counted
        sender.sendto(b"first---", (str(target.lan4), 0))
        with contextlib.suppress(TimeoutError):
            receiver.recv(100)
        for _ in range(count):
            sender.sendto(b"12345678", (str(target.lan4), 0))
        received = 0
        with contextlib.suppress(TimeoutError):
            while received < count:
                received += b"12345678" in receiver.recv(100)
    return received


VRRP, OTHER = 112, 253


def test_cut_vrrp_takes_adverts_only(lab, nodes):
    first, second = nodes
    assert reaches(first, second, VRRP) == 10
    fault = faults.cut_vrrp(lab, first)
    fault.inject()
    try:
        assert reaches(first, second, VRRP) == 0
        assert reaches(second, first, VRRP) == 0
        assert reaches(first, second, OTHER) == 10
    finally:
        fault.heal()
    assert reaches(first, second, VRRP) == 10


@pytest.mark.parametrize(("ways", "sent", "got"), [(("from",), 0, 10), (("to",), 10, 0)])
def test_one_way_cuts(lab, nodes, ways, sent, got):
    first, second = nodes
    fault = faults.cut_vrrp(lab, first, ways)
    fault.inject()
    try:
        assert (reaches(first, second, VRRP), reaches(second, first, VRRP)) == (sent, got)
    finally:
        fault.heal()


def test_the_nodes_own_flush_does_not_heal_a_fault(lab, nodes):
    first, second = nodes
    fault = faults.cut_lan(lab, first)
    fault.inject()
    try:
        run("ip", "netns", "exec", first.namespace, "nft", "flush", "ruleset")
        assert reaches(first, second, OTHER) == 0
    finally:
        fault.heal()


def test_faults_add_up_and_heal_one_by_one(lab, nodes):
    first, second = nodes
    one, other = faults.cut_vrrp(lab, first), faults.cut_lan(lab, first)
    one.inject()
    other.inject()
    other.heal()
    assert (reaches(first, second, VRRP), reaches(first, second, OTHER)) == (0, 10)
    one.heal()
    assert reaches(first, second, VRRP) == 10


def test_healing_what_was_not_injected_is_no_error(lab, nodes):
    faults.cut_lan(lab, nodes[0]).heal()


def connect(node: topology.Node, target: object, seconds: float) -> int:
    """Return the errno of a TCP connection attempt; ETIMEDOUT when nothing came back."""
    with inside(node.namespace):
        client = socket.socket()
    with client:
        client.settimeout(seconds)
        try:
            return client.connect_ex((str(target), 2379)) or 0
        except TimeoutError:
            return errno.ETIMEDOUT


@pytest.mark.parametrize(
    ("reject", "answers"), [(True, (errno.ECONNREFUSED,)), (False, (errno.EAGAIN, errno.ETIMEDOUT))]
)
def test_cut_from_the_arbiter_resets_or_swallows(lab, nodes, reject, answers):
    first, second = nodes
    (arbiter,) = lab.arbiters
    fault = faults.cut_arbiter(lab, first, reject=reject)
    with inside(arbiter.namespace):
        listener = socket.create_server((str(arbiter.mgmt), 2379))
    with listener:
        assert connect(first, arbiter.mgmt, 1) == 0
        fault.inject()
        try:
            assert connect(first, arbiter.mgmt, 0.3) in answers
            assert connect(second, arbiter.mgmt, 1) == 0
            assert connect(first, second.mgmt, 1) == errno.ECONNREFUSED  # refused by the peer: reached
        finally:
            fault.heal()
        assert connect(first, arbiter.mgmt, 1) == 0


def test_loss_loses_about_that_much(lab, nodes):
    first, second = nodes
    fault = faults.lose(lab, first, 40)
    fault.inject()
    try:
        arrived = reaches(first, second, OTHER, count=400)
    finally:
        fault.heal()
    assert 180 < arrived < 300  # 240 expected; 6 standard deviations either way


def test_loss_outside_the_range_is_refused(lab, nodes):
    with pytest.raises(LabError, match="1 to 100"):
        faults.lose(lab, nodes[0], 0)


def test_a_partitioned_node_is_still_reached_by_the_client(lab, nodes):
    first, second = nodes
    fault = faults.partition(lab, first)
    fault.inject()
    try:
        assert reaches(first, second, OTHER) == 0
        assert connect(lab.client, first.lan4, 1) == errno.ECONNREFUSED
        assert connect(first, lab.arbiters[0].mgmt, 0.2) in (
            errno.EAGAIN,
            errno.ETIMEDOUT,
            errno.EHOSTUNREACH,
        )
    finally:
        fault.heal()


def test_a_pulled_cable_takes_the_carrier(lab, nodes):
    fault = faults.LinkDown(lab, nodes[1])

    def operstate() -> str:
        return run("ip", "-n", nodes[1].namespace, "-br", "link", "show", "lan").split()[1]

    fault.inject()
    until = time.monotonic() + 10
    while operstate() == "UP" and time.monotonic() < until:
        time.sleep(0.02)
    down = operstate()
    fault.heal()
    assert down in ("DOWN", "LOWERLAYERDOWN")


def test_an_address_is_removed_and_only_a_fleeting_one_may_be_gone(nodes):
    first, _ = nodes
    address = "192.0.2.200/32"
    run("ip", "-n", first.namespace, "addr", "add", address, "dev", "lan")
    faults.DeleteAddress(first, address).inject()
    assert "192.0.2.200" not in run("ip", "-n", first.namespace, "addr", "show", "dev", "lan")
    faults.DeleteAddress(first, address, fleeting=True).inject()
    with pytest.raises(LabError, match="Address not found"):
        faults.DeleteAddress(first, address).inject()
    with pytest.raises(LabError):  # another complaint is never passed over
        faults.DeleteAddress(first, address, "no-such-device", fleeting=True).inject()
