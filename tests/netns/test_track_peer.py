"""track_peer on real wires: the peer channel is cut, VRRP and the arbiter are not, and the vote alone decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from agent_lab import ADVERT, Lab, arbiter_block, eventually

from haagent.lab.daemons import ClusterSpec, keepalived_conf, peers_block
from haagent.lab.faults import PacketFault, PortRule, Way
from haagent.lab.topology import Node

pytestmark = [pytest.mark.netns, pytest.mark.etcd, pytest.mark.timeout(120)]

PORT = 5405
VOTE = "track_peer others {{\n    timeout 1.5\n    weight {weight}\n}}\n"


@contextmanager
def voting(nodes: int, weight: int) -> Iterator[Lab]:
    """Run agents that vote with this weight, node1 as MASTER; never may two nodes have answered."""
    with ExitStack() as stack:
        lab = Lab(stack, 1, nodes, prefix="hha")
        assert lab.etcd is not None
        key = lab.topology.workdir / "peers.key"
        key.write_text("the secret of this lab alone\n")
        key.chmod(0o600)
        spec = ClusterSpec(advert=ADVERT, vip6=None, extra=("track_peer {", "    others", "}"))
        addition = (
            arbiter_block(lab.etcd.endpoints)
            + peers_block(lab.topology.nodes, key)
            + VOTE.format(weight=weight)
        )
        for node in lab.topology.nodes:
            lab.agent(node.name, keepalived_conf(spec, node.name), addition)
        lab.wait_owner("node1", patience=20)
        for node in lab.topology.nodes:
            eventually(lambda name=node.name: seen(lab, name) is True, 10, f"{node.name} sees the others")
        yield lab
        assert lab.dual() == 0


def seen(lab: Lab, name: str) -> bool | None:
    """Return what a node says of its vote."""
    trackers = lab.daemons[name].shown()["trackers"]  # type: ignore[union-attr]
    found: bool | None = next(one["up"] for one in trackers if one["name"] == "peer others")
    return found


@contextmanager
def deaf(lab: Lab, *nodes: Node, way: Way = "to") -> Iterator[None]:
    """Lose what comes to these nodes on the peer channel, on both networks, for the time of the block."""
    ports = [port for node in nodes for port in (node.mgmt_port, node.lan_port)]
    fault = PacketFault(
        "deaf",
        "nodes",
        lab.topology.switch,
        [PortRule(port, way, f"udp dport {PORT} drop") for port in ports],
    )
    fault.inject()
    try:
        yield
    finally:
        fault.heal()


def test_in_a_pair_the_vote_moves_the_address_off_a_node_that_is_deaf_and_never_takes_it_down() -> None:
    with voting(2, -20) as lab:
        node1, node2 = lab.topology.nodes
        with deaf(lab, node1):
            lab.wait_owner("node2", patience=15)
            assert (seen(lab, "node1"), seen(lab, "node2")) == (False, True)
        lab.wait_owner("node1", patience=15)
        begun = time.monotonic_ns()
        with deaf(lab, node1, node2):
            eventually(lambda: seen(lab, "node1") is False and seen(lab, "node2") is False, 10, "both deaf")
            time.sleep(1.5)
            instances = [lab.daemons[name].instance() for name in ("node1", "node2")]  # type: ignore[union-attr]
            assert [one["state"] for one in instances] == ["MASTER", "BACKUP"]
            assert [one["effective_priority"] for one in instances] == [130, 120]
        eventually(lambda: seen(lab, "node1") is True, 10, "the others again")
        assert lab.answers("node1", begun)
        assert not lab.answers("node2", begun)


def test_of_three_with_weight_0_the_one_that_sees_nobody_is_fault_and_the_others_go_on() -> None:
    with voting(3, 0) as lab:
        with deaf(lab, lab.topology.nodes[0]):
            lab.wait_owner("node2", patience=15)
            one = lab.daemons["node1"].instance()  # type: ignore[union-attr]
            assert (one["state"], one["reason"]) == ("FAULT", "peer others failed")
        lab.wait_owner("node1", patience=15)
