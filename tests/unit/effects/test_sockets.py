"""What the sockets are told: endpoints, filters, rates. What they do is tested on a wire in tests/netns."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from haagent.config.model import Unicast, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.packet import ChecksumForm
from haagent.effects import packet_filter
from haagent.effects.announcements import _ARP_FILTER, _program
from haagent.effects.endpoint import Endpoint
from haagent.effects.sender import Sender
from haagent.effects.throttle import Throttle

OWN, PEER = IPv4Address("192.0.2.251"), IPv4Address("192.0.2.252")
VIP = VirtualAddress(IPv4Address("192.0.2.1"), 24, "eth0")
INSTANCE = VrrpInstance("VI", "eth0", 51, (VIP,), version=3)


def test_a_multicast_endpoint() -> None:
    endpoint = Endpoint(INSTANCE, 2, OWN)
    expected = endpoint.expectations()
    assert expected.destination == endpoint.group == IPv4Address("224.0.0.18")
    assert expected.peers is None
    assert expected.own_addresses == {OWN}
    assert Endpoint(replace(INSTANCE, family=6), 2, None).group == IPv6Address("ff02::12")
    group = IPv4Address("239.1.1.1")
    assert Endpoint(replace(INSTANCE, multicast_group=group), 2, OWN).expectations().destination == group


def test_a_unicast_endpoint() -> None:
    endpoint = Endpoint(replace(INSTANCE, unicast=Unicast((PEER,))), 2, OWN)
    assert endpoint.group is None
    assert (endpoint.expectations().destination, endpoint.expectations().peers) == (OWN, {PEER})
    anybody = Endpoint(replace(INSTANCE, unicast=Unicast((PEER,), check_source=False)), 2, OWN)
    assert anybody.expectations().peers == frozenset()
    assert Endpoint(endpoint.instance, 2, None).expectations().destination == IPv4Address(0)


def test_what_an_endpoint_sends_follows_the_configuration() -> None:
    instance = replace(INSTANCE, version=2, auth_pass=b"s3cr3t", checksum_as_v2=True)
    packet = Endpoint(instance, 2, OWN).packet(0)
    assert (packet.version, packet.vrid, packet.priority, packet.auth) == (2, 51, 0, b"s3cr3t")
    assert Endpoint(instance, 2, OWN).checksum is ChecksumForm.MESSAGE_ONLY


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (Endpoint(INSTANCE, 0, OWN), "interface eth0 does not exist"),
        (Endpoint(INSTANCE, 2, None), "interface eth0 has no usable IPv4 address"),
    ],
)
def test_an_advert_that_cannot_be_sent_says_why(endpoint: Endpoint, reason: str) -> None:
    sender = Sender()
    sender._endpoints = {"VI": endpoint}
    assert reason in str(sender.send("VI", 100))
    assert sender.counters == {"unprepared": 1}
    sender.close()


def test_a_throttle_lets_each_key_through_once_an_interval() -> None:
    throttle = Throttle(10.0)
    assert [throttle.admit("a", at) for at in (0.0, 0.1, 9.9, 10.0, 10.1)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert throttle.admit("b", 10.1)
    assert throttle.suppressed == 3


def test_a_throttle_is_bounded_in_rate_and_memory() -> None:
    throttle = Throttle(1.0, burst=5, keys=100)
    assert sum(throttle.admit(key, 0.0) for key in range(100_000)) == 5
    for second in range(1, 1000):
        throttle.admit(f"key {second}", float(second))
    assert len(throttle._admitted) <= 100


def test_a_filter_for_more_addresses_than_fit_accepts_all_and_leaves_the_rest_to_us() -> None:
    assert len(_program(_ARP_FILTER, range(3000))) == len(_ARP_FILTER) + 1
    fits = _program(_ARP_FILTER, range(2000))
    assert len(fits) == len(_ARP_FILTER) + 4001 <= packet_filter.MAX_INSTRUCTIONS
