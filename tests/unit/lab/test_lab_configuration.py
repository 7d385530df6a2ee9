"""What the lab writes for the daemons and services it starts."""

from __future__ import annotations

import re
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import pytest

from haagent.core.units import MILLISECOND
from haagent.lab.backend import response
from haagent.lab.daemons import ClusterSpec, etcd_block, haagent_block, keepalived_conf
from haagent.lab.faults import PacketFault, PortRule
from haagent.lab.namespaces import LabError
from haagent.lab.nemesis import ON_NODES
from haagent.lab.scenario import SCENARIOS, scenario
from haagent.lab.services import haproxy_cfg
from haagent.lab.topology import Node, Wire


def test_priorities_fall_with_the_number_of_the_node():
    assert [ClusterSpec().priority(f"node{i}") for i in (1, 2, 3)] == [150, 140, 130]


def test_both_families_are_in_one_instance():
    text = keepalived_conf(ClusterSpec(advert=100 * MILLISECOND), "node2")
    assert "advert_int 0.1\n" in text
    assert "priority 140\n" in text
    assert (
        text.index("192.0.2.100/32")
        < text.index("virtual_ipaddress_excluded")
        < text.index("2001:db8::100/128")
    )


def test_what_is_not_asked_for_is_not_written():
    text = keepalived_conf(ClusterSpec(vip6=None), "node1")
    assert "excluded" not in text
    assert "nopreempt" not in text
    assert "nopreempt" in keepalived_conf(ClusterSpec(preempt=False), "node1")


def test_the_second_file_of_haagent():
    assert etcd_block(("a:1", "b:2")) == "arbiter etcd {\n    endpoints a:1 b:2\n}\n"
    assert (
        haagent_block("node1", Path("x.sock")) == "haagent {\n    node node1\n    control_socket x.sock\n}\n"
    )


def test_haproxy_binds_addresses_the_node_may_not_have():
    text = haproxy_cfg("node1", ClusterSpec().vips, Path("stats.sock"))
    assert "bind 192.0.2.100:80 transparent\n" in text
    assert "bind [2001:db8::100]:80 transparent\n" in text
    assert "set-header X-Served-By node1\n" in text


@pytest.mark.parametrize(
    ("line", "healthy", "status", "body"),
    [
        ("GET / HTTP/1.0", True, b"200 OK", b"node1\n"),
        ("GET / HTTP/1.0", False, b"200 OK", b"node1\n"),
        ("GET /health HTTP/1.0", True, b"200 OK", b"node1\n"),
        ("GET /health HTTP/1.0", False, b"503 Service Unavailable", b"down\n"),
        ("", True, b"200 OK", b"node1\n"),
    ],
)
def test_the_backend_is_unhealthy_only_on_its_health_page(line, healthy, status, body):
    reply = response(line, "node1", healthy=healthy)
    assert reply.startswith(b"HTTP/1.0 " + status + b"\r\n")
    assert reply.endswith(b"\r\n\r\n" + body)


def test_each_packet_fault_has_a_table_of_its_own():
    rules = [PortRule("lan-node1", "from", "drop"), PortRule("lan-node1", "to", "ip protocol 112 drop")]
    one, other = (PacketFault("x", "node1", "no-namespace", rules) for _ in range(2))
    assert one.ruleset().split()[2] != other.ruleset().split()[2]
    assert 'hook ingress device "lan-node1" priority 0; policy accept; drop;' in one.ruleset()
    assert 'hook egress device "lan-node1" priority 0; policy accept; ip protocol 112 drop;' in one.ruleset()


def test_a_failing_command_is_reported_with_its_own_words():
    with pytest.raises((LabError, subprocess.SubprocessError), match="no-such-namespace"):
        PacketFault("x", "node1", "no-such-namespace", []).inject()


def test_an_unknown_scenario_lists_the_known_ones():
    with pytest.raises(LabError, match="cut-vrrp") as caught:
        scenario("explode")
    assert "explode" in str(caught.value)
    assert set(SCENARIOS) > {"demo", "kill", "freeze", "partition"}


def rules(fault) -> str:
    """Return its rules without the name of its table."""
    return re.sub(r"\bfault_\d+\b", "fault", fault.ruleset())


@pytest.mark.parametrize("word", ["mute", "deaf", "cut-vrrp"])
def test_a_word_means_the_same_in_a_scenario_and_in_a_rehearsal(word):
    node = Node("node1", "no-namespace", None, lans=(Wire("lan", "lan", "lan-node1", b""),))
    cluster = SimpleNamespace(topology=SimpleNamespace(switch="switch", node=lambda _name: node))
    (make,) = scenario(word).makes
    played, rehearsed = make(cluster, "node1"), ON_NODES[word](cluster, "node1")
    assert (played.description, rules(played)) == (rehearsed.description, rules(rehearsed))
    assert {"mute": "only what it sends", "deaf": "only what it gets"}.get(word, "lost") in played.description


def test_holds_are_long_enough_for_a_takeover():
    for advert in (10 * MILLISECOND, 100 * MILLISECOND, 1000 * MILLISECOND):
        for step in scenario("demo").steps(advert):
            assert step.hold > 4 * advert  # Master_Down_Interval is below 4 intervals
            assert step.rest >= 4 * advert


def test_one_address_is_enough():
    assert ClusterSpec(vip6=None).vips == (IPv4Address("192.0.2.100"),)
