"""keepalived's unicast advertisements, which the RFCs do not know."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest
from builders import OURS, PEER, V2, V3, V3_IPV6, expecting, message, receive

from haagent.core.events import IPAddress
from haagent.core.packet import MULTICAST_GROUP_4, ChecksumForm, Discard, Packet, encode

OURS6 = IPv6Address("2001:db8:cf::251")
PEER6 = IPv6Address("2001:db8:cf::252")


def unicast(packet: Packet, to: IPAddress, peer: IPAddress, **header: object) -> Packet | Discard:
    expected = expecting(packet, destination=to, peers=frozenset({peer}))
    data = encode(packet, source=header.get("source", peer), destination=to)  # type: ignore[arg-type]
    return receive(data, expected, **{"source": peer} | header)


@pytest.mark.parametrize("packet", [V2, V3])
def test_UC_01_an_advertisement_to_our_own_address_is_accepted(packet: Packet) -> None:
    assert unicast(packet, OURS, PEER) == packet


@pytest.mark.parametrize("ttl", [255, 64, 1])
def test_UC_02_the_ttl_does_not_matter(ttl: int) -> None:
    assert unicast(V3_IPV6, OURS6, PEER6, ttl=ttl) == V3_IPV6
    assert unicast(V3, OURS, PEER, ttl=ttl) == V3


def test_UC_03_a_checksum_over_the_multicast_group_is_dropped() -> None:
    expected = expecting(V3, destination=OURS, peers=frozenset({PEER}))
    assert receive(encode(V3, source=PEER, destination=MULTICAST_GROUP_4), expected) is Discard.CHECKSUM
    alone = encode(V3, source=PEER, destination=OURS, checksum=ChecksumForm.MESSAGE_ONLY)
    assert isinstance(receive(alone, expected), Packet)


def test_UC_04_a_sender_that_is_no_peer_is_dropped() -> None:
    stranger = ip_address("192.0.2.253")
    assert unicast(V3, OURS, PEER, source=stranger) is Discard.NOT_A_PEER


def test_UC_04_unless_any_sender_will_do() -> None:
    expected = expecting(V3, destination=OURS, peers=frozenset())
    assert receive(encode(V3, source=PEER, destination=OURS), expected, ttl=64) == V3


def test_UC_05_multicast_at_a_unicast_instance_and_the_reverse_are_dropped() -> None:
    expected = expecting(V3, destination=OURS, peers=frozenset({PEER}))
    assert receive(message(V3), expected, destination=MULTICAST_GROUP_4) is Discard.DESTINATION
    data = encode(V3, source=PEER, destination=OURS)
    assert receive(data, expecting(V3), destination=OURS) is Discard.DESTINATION
