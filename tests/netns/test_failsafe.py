"""Failsafe on real wires: agents that promise each other their leases, three real etcd members, and what clients see.

Nothing here asks an agent who is MASTER: the observer's ARP and echo questions decide, one every 5 ms. "Lost" is a
question that nobody answered.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from agent_lab import PACE, Agent, Lab, arbiter_block, eventually, ms

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab import faults
from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.daemons import ClusterSpec, keepalived_conf, peers_block
from haagent.lab.faults import PacketFault, PortRule
from haagent.lab.namespaces import inside
from haagent.lab.observers import ETH_P_ALL, observe
from haagent.lab.topology import VIP4, Node, Topology, build

pytestmark = [pytest.mark.netns, pytest.mark.etcd, pytest.mark.timeout(120)]

PORT = 5405
ADVERT = 500 * MILLISECOND
LEASE = SECOND  # twice the advert interval
WAIT = LEASE * 11 // 10
SPEC = ClusterSpec(advert=ADVERT, vip6=None)
MEMBERS = 3


class FailsafeLab(Lab):
    """Two nodes that know each other, and a third that only knows the arbiter and runs when a test starts it."""

    def __init__(self, stack: ExitStack) -> None:
        self.topology: Topology = stack.enter_context(build(3, MEMBERS, prefix="hap"))
        self.etcd = EtcdArbiter(self.topology)
        stack.callback(self.etcd.stop)
        self.observer = observe(self.topology, (VIP4,), PACE)
        stack.callback(self.observer.stop)
        self.daemons = {}
        stack.callback(self.stop_all)
        key = self.topology.workdir / "peers.key"
        key.write_text("the secret of this lab alone\n")
        key.chmod(0o600)
        self.arbiter = arbiter_block(self.etcd.endpoints, lease=LEASE)
        self.pair = self.topology.nodes[:2]
        for node in self.pair:
            addition = self.arbiter + peers_block(self.pair, key)
            self.agent(node.name, keepalived_conf(SPEC, node.name), addition)

    def lost(self, since: Instant) -> int:
        """Return how many rounds nobody answered by echo."""
        end = self.settle()
        answered = {answer.round for answer in self.observer.record.answers if answer.probe == "echo"}
        return sum(
            one.number not in answered for one in self.observer.record.rounds if since <= one.sent <= end
        )

    def assert_nothing_happened(self, since: Instant, owner: str) -> None:
        """Fail unless ``owner`` answered every question since then, and nobody else did."""
        self.settle()
        asked = sum(one.sent >= since for one in self.observer.record.rounds)
        others = {answer.node for answer in self.observer.record.answers if answer.at >= since} - {owner}
        lost, outage = self.lost(since), self.outage(since)
        print(f"{asked} questions in {ms(time.monotonic_ns() - since)}, lost {lost}, outage {ms(outage)}")
        assert (lost, outage, self.dual(since), others) == (0, 0, 0, set()), self.logs()

    def revision(self) -> int:
        """Return etcd's revision: it grows by one with every write."""
        return int(json.loads(self.etcd.cluster.etcdctl("get", "x", "-w", "json"))["header"]["revision"])

    def status(self, name: str) -> dict[str, Any]:
        """Return what an agent says of itself."""
        agent = self.daemons[name]
        assert isinstance(agent, Agent)
        return agent.shown()

    def wait_for_promises(self) -> None:
        """Wait until the arbiter is written rarely, which is how promises show."""

        def quiet() -> bool:
            before = self.revision()
            time.sleep(2 * LEASE / SECOND)
            return self.revision() - before <= 2

        eventually(quiet, 30, "quiet")

    def cut_peers(self, *nodes: Node) -> PacketFault:
        """Return the fault that loses the peer channel on both networks."""
        ports = [port for node in nodes for port in (node.mgmt_port, node.lan_port)]
        rules = [PortRule(port, "from", f"udp dport {PORT} drop") for port in ports]
        return PacketFault("cut-peers", "nodes", self.topology.switch, rules)


@contextmanager
def injected(*broken: faults.Fault) -> Iterator[Instant]:
    """Inject faults for the time of the block; yield when."""
    with ExitStack() as stack:
        begun = time.monotonic_ns()
        for one in broken:
            stack.callback(one.heal)
            one.inject()
        yield begun


@pytest.fixture(scope="module")
def built() -> Iterator[FailsafeLab]:
    with ExitStack() as stack:
        yield FailsafeLab(stack)


@pytest.fixture
def lab(built: FailsafeLab) -> FailsafeLab:
    """Return the lab in its steady state: node1 holds, promises carry it."""
    for name in ("node1", "node2"):
        built.daemons[name].start()
    built.wait_owner("node1", patience=20)
    built.wait_for_promises()
    return built


def test_the_arbiter_is_written_rarely_while_promises_run(lab: FailsafeLab) -> None:
    seconds = 9
    before = lab.revision()
    time.sleep(seconds)
    writes = lab.revision() - before
    print(f"{writes} writes in {seconds} s; without promises node1 alone would make {4 * seconds}")
    # node1 every 3 s, node2's presence every 10 s
    assert 2 <= writes <= seconds / 3 + 1 + 1


def test_peers_are_heard_over_every_network(lab: FailsafeLab) -> None:
    (peer,) = lab.status("node1")["peers"]
    assert (peer["node"], peer["state"]) == ("node2", "heard")
    assert set(peer["addresses"]) == {str(lab.pair[1].mgmt), str(lab.pair[1].lan4)}
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert all(now - heard < 5 * SECOND for heard in peer["addresses"].values())


def test_no_packet_is_lost_while_all_of_etcd_is_stopped_for_30_s(lab: FailsafeLab) -> None:
    with injected(faults.FreezeArbiter(lab.etcd, MEMBERS)) as begun:
        time.sleep(30)
    lab.etcd.cluster.wait_until_healthy(lab.etcd.cluster.members)
    time.sleep(5)
    lab.assert_nothing_happened(begun, "node1")


def test_no_packet_is_lost_when_all_of_etcd_is_killed_and_comes_back(lab: FailsafeLab) -> None:
    with injected(faults.KillArbiter(lab.etcd, MEMBERS)) as begun:
        time.sleep(4)
    time.sleep(4)
    lab.assert_nothing_happened(begun, "node1")


def test_no_packet_is_lost_while_etcd_elects_a_leader(lab: FailsafeLab) -> None:
    leader = lab.etcd.cluster.leader()
    begun = time.monotonic_ns()
    lab.etcd.cluster.kill(leader)
    time.sleep(4)
    lab.etcd.cluster.restart(leader)
    time.sleep(1)
    lab.assert_nothing_happened(begun, "node1")


def test_no_packet_is_lost_when_only_the_holder_is_cut_from_the_arbiter(lab: FailsafeLab) -> None:
    with injected(faults.cut_arbiter(lab.topology, lab.pair[0])) as begun:
        time.sleep(8)
    time.sleep(5)
    lab.assert_nothing_happened(begun, "node1")


def test_losing_the_peer_channel_alone_moves_nothing(lab: FailsafeLab) -> None:
    with injected(lab.cut_peers(*lab.pair)) as begun:
        before = lab.revision()
        time.sleep(3)
        assert lab.revision() - before >= 8  # the arbiter carries: a write every R = 250 ms
    lab.wait_for_promises()
    lab.assert_nothing_happened(begun, "node1")


def test_one_network_of_two_is_enough(lab: FailsafeLab) -> None:
    first = lab.pair[0]
    lan = PacketFault(
        "cut-peers-lan",
        "lan",
        lab.topology.switch,
        [PortRule(first.lan_port, "from", f"udp dport {PORT} drop")],
    )
    with injected(lan, faults.FreezeArbiter(lab.etcd, MEMBERS)) as begun:
        time.sleep(3)
    lab.assert_nothing_happened(begun, "node1")


def gone_after(lab: FailsafeLab, since: Instant) -> Duration:
    """Return how long after ``since``, when nobody could promise it anything any more, node1 answered for the last time."""
    lab.wait_owner(None, steady=0.3)
    assert lab.answers("node1", since - SECOND), "it did not answer before, either"
    return lab.last_answered("node1", since) - since


def test_without_arbiter_and_peer_the_address_is_off_at_its_deadline(lab: FailsafeLab) -> None:
    begun = time.monotonic_ns()
    with injected(faults.FreezeArbiter(lab.etcd, MEMBERS), lab.cut_peers(*lab.pair)):
        cut = time.monotonic_ns()
        last = gone_after(lab, cut)
        print(f"the last answer came {ms(last)} after the cut; the lease is {ms(LEASE)}")
        assert last <= LEASE
        time.sleep(2)
        assert lab.owner() is None
    lab.wait_owner("node1", patience=15, steady=1)
    assert lab.dual(begun) == 0


def test_a_restarted_backup_refuses_at_first_and_the_arbiter_carries(lab: FailsafeLab) -> None:
    begun = time.monotonic_ns()
    lab.daemons["node2"].stop()
    before = lab.revision()
    lab.daemons["node2"].start()
    refusing = "refuses: started a moment ago"
    eventually(lambda: lab.status("node1")["peers"][0]["state"] == refusing, what="the refusal")
    eventually(lambda: lab.status("node1")["peers"][0]["state"] != refusing, what="its end")
    assert lab.revision() - before >= 4  # a write every R = 250 ms for W = 1.1 s; with promises one every 3 s
    lab.wait_for_promises()
    lab.assert_nothing_happened(begun, "node1")


def test_a_restarted_backup_cannot_save_the_address_in_its_first_wait(lab: FailsafeLab) -> None:
    begun = time.monotonic_ns()
    lab.daemons["node2"].stop()
    with injected(faults.FreezeArbiter(lab.etcd, MEMBERS)):
        frozen = time.monotonic_ns()
        lab.daemons["node2"].start()
        assert gone_after(lab, frozen) <= LEASE
    lab.wait_owner("node1", patience=15, steady=1)
    assert lab.dual(begun) == 0


def test_a_planned_handover_does_not_wait_for_promises_to_end(lab: FailsafeLab) -> None:
    begun = time.monotonic_ns()
    lab.daemons["node1"].stop()
    lab.wait_owner("node2", steady=0.2)
    print(f"handed over within {ms(lab.outage(begun))}")
    assert (
        lab.outage(begun) < WAIT - LEASE // 4
    )  # a promise is R old at most: that is what waiting would take
    lab.daemons["node1"].start()
    lab.wait_owner("node1", patience=20)
    assert lab.dual(begun) == 0


# -- attacks


def captured(lab: FailsafeLab, node: Node, seconds: float) -> list[bytes]:
    """Return what ``node`` sent on the peer channel, as the wire of its switch port saw it."""
    with inside(lab.topology.switch):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with wire:
        wire.bind(
            (node.mgmt_port, ETH_P_ALL)
        )  # a bridge takes frames before listeners for one protocol see them
        wire.settimeout(0.2)
        until, found = time.monotonic() + seconds, []
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                frame = wire.recv(65535)
                udp = frame[14 + (frame[14] & 15) * 4 :]
                if frame[12:14] == b"\x08\0" and frame[23] == 17 and int.from_bytes(udp[2:4], "big") == PORT:
                    found.append(udp[8:])
    return found


def hurl(lab: FailsafeLab, datagrams: Sequence[bytes], seconds: float) -> int:
    """Send datagrams to both nodes, over and over, from a node that is none of theirs; return how many."""
    with inside(lab.topology.nodes[2].namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    until, count = time.monotonic() + seconds, 0
    with sender:
        while time.monotonic() < until:
            for data in datagrams:
                for node in lab.pair:
                    sender.sendto(data, (str(node.mgmt), PORT))
                    count += 1
                time.sleep(0.001)
    return count


def garbage(genuine: bytes) -> list[bytes]:
    """Return datagrams that are not authentic, from nothing at all to one bit wrong."""
    flipped = [
        genuine[:at] + bytes((genuine[at] ^ 1,)) + genuine[at + 1 :] for at in (0, 3, 4, 40, len(genuine) - 1)
    ]
    return [b"", b"HAP", b"HAP\x01" + bytes(32), bytes(60000), genuine[:-1], genuine + b" ", *flipped]


def test_garbage_and_replays_change_nothing(lab: FailsafeLab) -> None:
    recorded = captured(lab, lab.pair[0], 1.5) + captured(lab, lab.pair[1], 1.5)
    assert len(recorded) > 8, "promises should be on the wire"
    with injected(faults.FreezeArbiter(lab.etcd, MEMBERS)) as begun:
        print(f"{hurl(lab, [*recorded, *garbage(recorded[0])], 4)} datagrams of an attacker")
    lab.assert_nothing_happened(begun, "node1")
    (peer,) = lab.status("node1")["peers"]
    assert peer["state"] == "heard"


def test_recorded_promises_do_not_keep_an_address_alive(lab: FailsafeLab) -> None:
    recorded = captured(lab, lab.pair[1], 3)
    assert any(b'"answer"' in data for data in recorded)
    begun = time.monotonic_ns()
    with injected(faults.FreezeArbiter(lab.etcd, MEMBERS), faults.Kill(lab.daemons["node2"])):
        killed = time.monotonic_ns()
        hurl(lab, recorded, 2)
        assert gone_after(lab, killed) <= LEASE
    lab.wait_owner("node1", patience=15, steady=1)
    assert lab.dual(begun) == 0


def test_a_node_that_nobody_listed_never_claims_from_them(lab: FailsafeLab) -> None:
    """The worst case for it: it reaches the arbiter, they do not, and it hears no advert of theirs."""
    third = lab.topology.nodes[2]
    stranger = lab.agent("node3", keepalived_conf(SPEC, "node3"), lab.arbiter)
    try:
        eventually(lambda: "Entering BACKUP STATE" in stranger.text(), 15, "node3 is ready")
        begun = time.monotonic_ns()
        cuts = [faults.cut_arbiter(lab.topology, node) for node in lab.pair]
        with injected(*cuts, faults.cut_vrrp(lab.topology, third)):
            time.sleep(8)  # seven times what it waits before it ends a session that may be ended
            lab.assert_nothing_happened(begun, "node1")
        time.sleep(5)
        lab.assert_nothing_happened(begun, "node1")
    finally:
        stranger.stop()
        del lab.daemons["node3"]
