"""RFC 9568 5 and RFC 3768 5: what an advertisement looks like."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from builders import OURS, PEER, V2, V3, V3_IPV6, VIP, expecting, message, receive, with_checksum

from haagent.core.packet import MULTICAST_GROUP_4, MULTICAST_GROUP_6, Discard, Packet, encode
from haagent.core.units import CENTISECOND, SECOND


def many(count: int) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address("192.0.2.1") + at for at in range(count))


@pytest.mark.parametrize(("packet", "octet"), [(V2, 0x21), (V3, 0x31), (V3_IPV6, 0x31)])
def test_PF_03_the_first_octet_is_version_and_type_1(packet: Packet, octet: int) -> None:
    assert message(packet)[0] == octet


@pytest.mark.parametrize("vrid", [1, 2, 51, 128, 254, 255])
@pytest.mark.parametrize("priority", [0, 1, 100, 254, 255])
def test_PF_04_vrid_and_priority_take_one_octet_each(vrid: int, priority: int) -> None:
    data = message(replace(V3, vrid=vrid, priority=priority))
    assert (data[1], data[2]) == (vrid, priority)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 20])
def test_PF_05_the_count_is_the_number_of_addresses(count: int) -> None:
    assert message(replace(V3, addresses=many(count)))[3] == count


def test_PF_06_the_reserved_nibble_is_sent_as_zero_and_ignored_on_receipt() -> None:
    data = message(V3)
    assert data[4:6] == (100).to_bytes(2)
    pseudo = PEER.packed + MULTICAST_GROUP_4.packed + bytes((0, 112, 0, len(data)))
    dirty = with_checksum(data[:4] + bytes((0xF0, 0x64)) + data[6:], pseudo)
    decoded = receive(dirty, expecting(V3))
    assert isinstance(decoded, Packet)
    assert decoded.interval == 100 * CENTISECOND


@pytest.mark.parametrize("centiseconds", [1, 4095])
def test_PF_07_a_v3_interval_is_1_to_4095_centiseconds(centiseconds: int) -> None:
    assert message(replace(V3, interval=centiseconds * CENTISECOND))[4:6] == centiseconds.to_bytes(2)


@pytest.mark.parametrize(
    ("packet", "interval"),
    [
        (V3, 0),
        (V3, 4096 * CENTISECOND),
        (V3, CENTISECOND * 3 // 2),
        (V2, SECOND // 2),
        (V2, SECOND * 3 // 2),
        (V2, 0),
        (V2, 256 * SECOND),
    ],
)
def test_PF_07_an_interval_the_wire_cannot_carry_is_never_rounded(packet: Packet, interval: int) -> None:
    with pytest.raises(ValueError, match="interval"):
        message(replace(packet, interval=interval))


@pytest.mark.parametrize("seconds", [1, 3, 255])
def test_PF_07_a_v2_interval_is_1_to_255_seconds(seconds: int) -> None:
    assert message(replace(V2, interval=seconds * SECOND))[5] == seconds


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_PF_08_v2_always_ends_in_eight_octets_of_authentication_data(count: int) -> None:
    data = message(replace(V2, addresses=many(count)))
    assert len(data) == 16 + 4 * count
    assert (data[4], data[-8:]) == (0, bytes(8))


@pytest.mark.parametrize("count", [1, 3, 20])
def test_PF_09_v3_has_no_authentication_data(count: int) -> None:
    assert len(message(replace(V3, addresses=many(count)))) == 8 + 4 * count
    ipv6 = replace(V3_IPV6, addresses=tuple(IPv6Address("fe80::1") + at for at in range(count)))
    assert len(message(ipv6)) == 8 + 16 * count


def test_PF_10_the_carrying_packet_alone_decides_the_width_of_addresses() -> None:
    assert receive(with_checksum(message(V3_IPV6)), expecting(V3)) is Discard.LENGTH
    assert receive(with_checksum(message(V3)), expecting(V3_IPV6)) is Discard.LENGTH


def test_PF_11_one_family_per_message() -> None:
    with pytest.raises(ValueError, match="one family"):
        encode(
            replace(V3, addresses=(VIP, IPv6Address("fe80::1"))), source=OURS, destination=MULTICAST_GROUP_4
        )
    with pytest.raises(ValueError, match="one family"):
        encode(V3, source=OURS, destination=MULTICAST_GROUP_6)


def test_PF_12_the_first_ipv6_address_is_the_link_local_one() -> None:
    decoded = receive(message(V3_IPV6), expecting(V3_IPV6))
    assert isinstance(decoded, Packet)
    assert decoded.addresses[0].is_link_local


def test_PF_13_addresses_keep_their_order() -> None:
    addresses = (IPv4Address("192.0.2.9"), IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1"))
    data = message(replace(V2, addresses=addresses))
    assert data[8:20] == b"".join(address.packed for address in addresses)


@pytest.mark.parametrize("count", [20, 255])
def test_PF_14_twenty_addresses_work_and_so_do_255(count: int) -> None:
    packet = replace(V3, addresses=many(count))
    own = frozenset({IPv4Address("10.0.0.1")})
    source = IPv4Address("10.0.0.2")
    data = encode(packet, source=source, destination=MULTICAST_GROUP_4)
    assert receive(data, expecting(packet, own_addresses=own), source=source) == packet
