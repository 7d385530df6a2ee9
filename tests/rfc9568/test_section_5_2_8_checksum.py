"""RFC 9568 5.2.8, RFC 5798 5.2.8 and RFC 3768 5.3.8: what the checksum covers, in all its forms."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from builders import OURS, PEER, PEER6, V2, V3, V3_IPV6, VIPS6, expecting, message, receive, with_checksum
from vectors import Row, each

from haagent.core.packet import (
    MULTICAST_GROUP_4,
    MULTICAST_GROUP_6,
    ChecksumForm,
    Discard,
    Packet,
    Remark,
    encode,
)

PSEUDO_4 = PEER.packed + MULTICAST_GROUP_4.packed + bytes((0, 112, 0, 12))
PSEUDO_6 = PEER6.packed + MULTICAST_GROUP_6.packed + (40).to_bytes(4) + bytes((0, 0, 0, 112))


@pytest.mark.parametrize("packet", [V2, V3, V3_IPV6])
def test_CK_01_a_checksum_that_fits_no_form_is_dropped(packet: Packet) -> None:
    data = message(packet)
    for wrong in (b"\0\0", b"\xff\xff", (int.from_bytes(data[6:8]) ^ 1).to_bytes(2)):
        assert receive(data[:6] + wrong + data[8:], expecting(packet)) is Discard.CHECKSUM


def test_CK_02_v3_ipv4_without_pseudo_header_is_accepted_and_remarked_on() -> None:
    data = message(V3, checksum=ChecksumForm.MESSAGE_ONLY)
    assert data == with_checksum(data)
    decoded = receive(data, expecting(V3))
    assert isinstance(decoded, Packet)
    assert decoded.remarks == (Remark.CHECKSUM_FORM,)


def test_CK_02_a_form_that_was_switched_off_is_dropped() -> None:
    one_form = expecting(V3, checksums_accepted=frozenset({ChecksumForm.PSEUDO_HEADER}))
    assert receive(message(V3, checksum=ChecksumForm.MESSAGE_ONLY), one_form) is Discard.CHECKSUM
    assert receive(message(V3), one_form) == V3


def test_CK_03_v3_ipv4_is_sent_with_pseudo_header_by_default() -> None:
    data = message(V3)
    assert data == with_checksum(data, PSEUDO_4)
    assert receive(data, expecting(V3)) == V3


def test_CK_04_v3_ipv6_always_has_a_pseudo_header() -> None:
    for form in ChecksumForm:
        data = message(V3_IPV6, checksum=form)
        assert data == with_checksum(data, PSEUDO_6)
    assert receive(with_checksum(data), expecting(V3_IPV6)) is Discard.CHECKSUM


def test_CK_05_v2_never_has_a_pseudo_header_and_covers_the_authentication_data() -> None:
    data = message(V2)
    assert data == with_checksum(data)
    pseudo = PEER.packed + MULTICAST_GROUP_4.packed + bytes((0, 112, 0, 20))
    assert receive(with_checksum(data, pseudo), expecting(V2)) is Discard.CHECKSUM
    assert receive(data[:-1] + b"\1", expecting(V2)) is Discard.CHECKSUM


def test_CK_06_the_pseudo_header_holds_the_real_destination() -> None:
    peers = [IPv4Address("192.0.2.252"), IPv4Address("192.0.2.253")]
    sums = {encode(V3, source=OURS, destination=peer)[6:8] for peer in peers}
    assert len(sums) == 2
    unicast = expecting(V3, destination=peers[0], own_addresses=frozenset(peers[:1]), peers=frozenset({OURS}))
    data = encode(V3, source=OURS, destination=peers[0])
    assert receive(data, unicast, source=OURS) == V3


@each("golden-encode.jsonl", keep=lambda row: "corner" in row)
def test_CK_07_a_computed_zero_is_sent_as_zero_and_ffff_verifies_too(row: Row) -> None:
    address = IPv4Address if row["af"] == 4 else type(VIPS6[0])
    source, destination = address(row["ip_src"]), address(row["ip_dst"])
    form = ChecksumForm.MESSAGE_ONLY if "message_only" in row["checksum_form"] else ChecksumForm.PSEUDO_HEADER
    base = V2 if row["version"] == 2 else V3
    packet = Packet(
        version=base.version,
        vrid=row["vrid"],
        priority=row["priority"],
        interval=base.interval,
        addresses=tuple(address(text) for text in row["addresses"]),
    )
    data = encode(packet, source=source, destination=destination, checksum=form)
    assert data.hex() == row["vrrp_hex"]
    assert data[6:8] == b"\0\0"
    expected = expecting(packet, own_addresses=frozenset(), checksum_sent=form)
    for field in (b"\0\0", b"\xff\xff"):
        assert receive(data[:6] + field + data[8:], expected, source=source) == packet
