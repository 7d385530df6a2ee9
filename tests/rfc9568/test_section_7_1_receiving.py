"""RFC 9568 7.1 and RFC 3768 7.1: which packets are dropped, why, and which are only remarked on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from builders import (
    OURS,
    PEER,
    PEER6,
    START,
    V2,
    V3,
    V3_IPV6,
    VIP,
    VIPS6,
    backup,
    expecting,
    message,
    receive,
    with_checksum,
)

from haagent.core.packet import (
    MULTICAST_GROUP_4,
    MULTICAST_GROUP_6,
    OWNER_PRIORITY,
    Datagram,
    Discard,
    Packet,
    Remark,
    encode,
    split_ipv4,
)
from haagent.core.units import CENTISECOND, SECOND

OTHER = IPv4Address("192.0.2.9")


def ipv4(payload: bytes, *, options: bytes = b"", **fields: int) -> bytes:
    """Return an IPv4 datagram as a raw socket delivers it."""
    ihl = fields.get("ihl", 5 + len(options) // 4)
    total = fields.get("total", 20 + len(options) + len(payload))
    head = bytes((fields.get("version", 4) << 4 | ihl, 0xC0)) + total.to_bytes(2) + b"\0\0"
    head += fields.get("fragment", 0).to_bytes(2) + bytes((255, fields.get("protocol", 112), 0, 0))
    return head + PEER.packed + MULTICAST_GROUP_4.packed + options + payload


def accepted(verdict: Packet | Discard) -> Packet:
    assert isinstance(verdict, Packet)
    return verdict


@pytest.mark.parametrize("ttl", [254, 128, 64, 1, 0])
@pytest.mark.parametrize("packet", [V2, V3])
def test_RX_01_an_ipv4_ttl_other_than_255_is_dropped(packet: Packet, ttl: int) -> None:
    assert receive(message(packet), expecting(packet), ttl=ttl) is Discard.TTL


@pytest.mark.parametrize("hop_limit", [254, 64, 1])
def test_RX_02_an_ipv6_hop_limit_other_than_255_is_dropped(hop_limit: int) -> None:
    assert receive(message(V3_IPV6), expecting(V3_IPV6), ttl=hop_limit) is Discard.TTL


def test_RX_03_the_other_version_is_dropped() -> None:
    assert receive(message(V2), expecting(V3)) is Discard.VERSION
    assert receive(message(V3), expecting(V2)) is Discard.VERSION
    for version in (0, 1, 4, 15):
        alien = with_checksum(bytes((version << 4 | 1,)) + message(V3)[1:])
        assert receive(alien, expecting(V3)) is Discard.VERSION


def test_RX_03_version_2_in_ipv6_is_dropped_and_never_sent() -> None:
    v2_over_6 = replace(V3_IPV6, version=2)
    data = bytes((0x21,)) + message(V3_IPV6)[1:]
    assert receive(data, expecting(V3_IPV6)) is Discard.VERSION
    assert receive(data, replace(expecting(V3_IPV6), version=2)) is Discard.VERSION
    with pytest.raises(ValueError, match="IPv4 only"):
        encode(v2_over_6, source=PEER6, destination=MULTICAST_GROUP_6)


@pytest.mark.parametrize("packet", [V2, V3])
@pytest.mark.parametrize("kind", [0, 2, 15])
def test_RX_04_an_unknown_type_is_dropped(packet: Packet, kind: int) -> None:
    data = with_checksum(bytes((packet.version << 4 | kind,)) + message(packet)[1:])
    assert receive(data, expecting(packet)) is Discard.TYPE


@pytest.mark.parametrize("packet", [V2, V3, V3_IPV6])
def test_RX_05_every_truncation_is_dropped(packet: Packet) -> None:
    data = message(packet)
    for length in range(len(data)):
        assert receive(data[:length], expecting(packet)) is Discard.LENGTH


def test_RX_05_padding_after_the_ip_length_is_legal() -> None:
    datagram = ipv4(message(V3))
    split = split_ipv4(datagram + b"\xde\xad\xbe\xef" * 4)
    assert split == split_ipv4(datagram)
    assert isinstance(split, Datagram)
    assert receive(split.payload, expecting(V3)) == V3
    assert split_ipv4(datagram[:-1]) is Discard.IP_LENGTH


@pytest.mark.parametrize("packet", [V2, V3, V3_IPV6])
@pytest.mark.parametrize("surplus", [b"\0", b"\0" * 4, b"\0" * 8, b"\0" * 28])
def test_RX_06_surplus_octets_inside_the_ip_length_are_dropped(packet: Packet, surplus: bytes) -> None:
    assert receive(message(packet) + surplus, expecting(packet)) is Discard.LENGTH


@pytest.mark.parametrize("vrid", [0, 52, 255])
def test_RX_07_another_vrid_is_dropped(vrid: int) -> None:
    assert receive(message(replace(V3, vrid=vrid)), expecting(V3)) is Discard.VRID


def test_RX_08_v3_count_zero_is_dropped() -> None:
    assert receive(message(replace(V3, addresses=())), expecting(V3)) is Discard.COUNT_ZERO
    lying = message(V3)[:3] + b"\0" + message(V3)[4:]
    assert receive(lying, expecting(V3)) is Discard.COUNT_ZERO


def test_RX_08_v2_count_zero_is_legal() -> None:
    empty = replace(V2, addresses=())
    assert receive(message(empty), expecting(empty)) == empty


@pytest.mark.parametrize("addresses", [(OTHER,), (VIP, OTHER), (VIP, VIP), (IPv4Address(0),)])
def test_RX_09_v3_another_address_list_is_only_remarked_on(addresses: tuple[IPv4Address, ...]) -> None:
    decoded = accepted(receive(message(replace(V3, addresses=addresses)), expecting(V3)))
    assert decoded.remarks == (Remark.ADDRESS_LIST,)
    assert decoded.addresses == addresses


def test_RX_09_v2_another_address_list_is_dropped_unless_the_owner_sent_it() -> None:
    other = replace(V2, addresses=(OTHER,))
    assert receive(message(other), expecting(V2)) is Discard.ADDRESS_LIST
    unchecked = receive(message(other), expecting(V2, check_addresses=False))
    owner = receive(message(replace(other, priority=OWNER_PRIORITY)), expecting(V2))
    assert accepted(unchecked).remarks == accepted(owner).remarks == (Remark.ADDRESS_LIST,)


def test_RX_09_another_order_is_the_same_list() -> None:
    ours, theirs = replace(V3, addresses=(VIP, OTHER)), replace(V3, addresses=(OTHER, VIP))
    assert accepted(receive(message(theirs), expecting(ours))).remarks == ()


@pytest.mark.parametrize("seconds", [2, 3, 255])
def test_RX_10_v2_another_interval_is_dropped(seconds: int) -> None:
    other = message(replace(V2, interval=seconds * SECOND))
    assert receive(other, expecting(V2)) is Discard.INTERVAL
    zero = with_checksum(other[:5] + b"\0" + other[6:])
    assert receive(zero, expecting(V2)) is Discard.INTERVAL


@pytest.mark.parametrize("field", [b"\x00\x00", b"\x80\x00", b"\xf0\x00"])
def test_RX_11_v3_interval_zero_is_dropped(field: bytes) -> None:
    data = message(V3)
    pseudo = PEER.packed + MULTICAST_GROUP_4.packed + bytes((0, 112, 0, 12))
    assert receive(with_checksum(data[:4] + field + data[6:], pseudo), expecting(V3)) is Discard.INTERVAL_ZERO


@pytest.mark.parametrize("centiseconds", [1, 99, 4095])
def test_RX_12_v3_another_interval_is_only_remarked_on(centiseconds: int) -> None:
    decoded = accepted(receive(message(replace(V3, interval=centiseconds * CENTISECOND)), expecting(V3)))
    assert decoded.remarks == (Remark.INTERVAL,)
    assert decoded.interval == centiseconds * CENTISECOND


def test_RX_13_a_first_address_that_is_not_link_local_is_remarked_on_and_dropped_if_strict() -> None:
    global_first = replace(V3_IPV6, addresses=VIPS6[::-1])
    data = message(global_first)
    assert accepted(receive(data, expecting(V3_IPV6))).remarks == (Remark.NOT_LINK_LOCAL,)
    assert receive(data, expecting(V3_IPV6, strict=True)) is Discard.NOT_LINK_LOCAL


def test_RX_14_the_payload_starts_after_the_options() -> None:
    router_alert = bytes.fromhex("94040000")
    for options in (b"", router_alert, router_alert * 10):
        assert split_ipv4(ipv4(b"payload", options=options)) == (PEER, MULTICAST_GROUP_4, 255, b"payload")


def test_RX_14_an_impossible_header_is_dropped() -> None:
    for bad in (
        ipv4(b"", ihl=4),
        ipv4(b"", ihl=0),
        ipv4(b"", ihl=15),
        ipv4(b"", version=6),
        b"",
        b"\x45" * 19,
    ):
        assert split_ipv4(bad) is Discard.IP_HEADER
    assert split_ipv4(ipv4(b"x" * 12, total=19)) is Discard.IP_LENGTH
    assert split_ipv4(ipv4(b"x" * 12, protocol=51)) is Discard.PROTOCOL


def test_RX_15_fragments_are_dropped_and_dont_fragment_is_not_one() -> None:
    for more, first in ((0x2000, False), (0x0001, False), (0x3FFF, False), (0x4000, True)):
        assert isinstance(split_ipv4(ipv4(message(V3), fragment=more)), Datagram) is first


@pytest.mark.parametrize("destination", ["224.0.0.1", "192.0.2.251", "255.255.255.255"])
def test_RX_16_another_destination_is_dropped(destination: str) -> None:
    to = ip_address(destination)
    data = encode(V3, source=PEER, destination=to)
    assert receive(data, expecting(V3), destination=to) is Discard.DESTINATION


@pytest.mark.parametrize(("source", "reason"), [
    (OURS, Discard.OWN_SOURCE),
    (VIP, Discard.OWN_SOURCE),
    (IPv4Address("0.0.0.0"), Discard.SOURCE),
    (IPv4Address("127.0.0.1"), Discard.SOURCE),
    (MULTICAST_GROUP_4, Discard.SOURCE),
])  # fmt: skip
def test_RX_17_a_source_that_cannot_be_a_peer_is_dropped(source: IPv4Address, reason: Discard) -> None:
    data = encode(V3, source=source, destination=MULTICAST_GROUP_4)
    assert receive(data, expecting(V3), source=source) is reason


def test_RX_17_a_source_off_the_subnet_is_fine() -> None:
    source = IPv4Address("198.51.100.9")
    data = encode(V3, source=source, destination=MULTICAST_GROUP_4)
    assert receive(data, expecting(V3), source=source) == V3


def test_RX_18_an_ipv6_source_need_not_be_link_local_but_must_be_one() -> None:
    for text, verdict in (("2001:db8:cf::252", V3_IPV6), ("::", Discard.SOURCE)):
        source = IPv6Address(text)
        data = encode(V3_IPV6, source=source, destination=MULTICAST_GROUP_6)
        assert receive(data, expecting(V3_IPV6), source=source) == verdict


def test_RX_19_carp_is_dropped_by_its_length() -> None:
    carp = with_checksum(bytes((0x21, 51, 0, 7, 0, 1, 0, 0)) + bytes(range(28)))
    assert len(carp) == 36
    assert receive(carp, expecting(V2)) is Discard.LENGTH
    seven = replace(V2, addresses=tuple(IPv4Address("192.0.2.1") + at for at in range(7)))
    assert len(message(seven)) == 44


def test_RX_20_an_owner_does_not_discard_what_it_hears() -> None:
    # Erratum 8298: log, do not drop; the election decides (SM-A10).
    assert receive(message(replace(V3, priority=OWNER_PRIORITY)), expecting(V3)) == replace(V3, priority=255)


def test_RX_21_every_reason_is_a_short_word_of_a_closed_set() -> None:
    words = [reason.value for reason in Discard]
    assert len(set(words)) == len(words)
    assert all(word.replace("-", "").isalnum() and word == word.lower() for word in words)


def test_RX_22_a_discarded_packet_leaves_the_router_as_it_was() -> None:
    router = backup()
    before = router.state, router.priority
    for at in range(len(message(V3)) * 8):
        octets = bytearray(message(replace(V3, priority=200)))
        octets[at // 8] ^= 0x80 >> at % 8
        verdict = receive(bytes(octets), expecting(V3))
        if isinstance(verdict, Packet):
            router.advertisement_received(PEER, verdict.priority, verdict.interval, START)
    assert (router.state, router.priority) == before


def test_AU_01_the_authentication_type_must_be_ours() -> None:
    password = replace(V2, auth=b"s3cr3t")
    assert receive(message(V2), expecting(password)) is Discard.AUTH_TYPE
    assert receive(message(password), expecting(V2)) is Discard.AUTH_TYPE
    for kind in (2, 3, 255):
        data = message(password)
        assert (
            receive(with_checksum(data[:4] + bytes((kind,)) + data[5:]), expecting(password))
            is Discard.AUTH_TYPE
        )


@pytest.mark.parametrize("sent", [b"s3cr3", b"s3cr3t!", b"S3cr3t", b"", b"\0s3cr3t"])
def test_AU_02_all_eight_octets_of_the_password_count(sent: bytes) -> None:
    expected = expecting(replace(V2, auth=b"s3cr3t"))
    assert receive(message(replace(V2, auth=sent)), expected) is Discard.AUTH_FAIL


def test_AU_02_a_password_is_zero_filled_and_cut_to_eight_octets() -> None:
    assert message(replace(V2, auth=b"a"))[-8:] == b"a" + bytes(7)
    assert message(replace(V2, auth=b"abcdefghi"))[-8:] == b"abcdefgh"
    long = receive(message(replace(V2, auth=b"abcdefghX")), expecting(replace(V2, auth=b"abcdefghi")))
    assert accepted(long).auth == b"abcdefgh"


def test_AU_03_without_authentication_its_data_is_ignored() -> None:
    data = message(V2)
    assert receive(with_checksum(data[:-8] + b"ABCDEFGH"), expecting(V2)) == V2


def test_AU_04_an_authentication_header_is_not_vrrp() -> None:
    assert split_ipv4(ipv4(bytes(44), protocol=51)) is Discard.PROTOCOL


def test_AU_05_v3_sends_and_expects_no_authentication() -> None:
    password = replace(V3, auth=b"s3cr3t")
    assert message(password) == message(V3)
    assert receive(message(V3), expecting(password)) == V3
