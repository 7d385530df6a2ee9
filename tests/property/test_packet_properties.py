"""Laws of the codec: what goes out comes back, anything at all gets a verdict, and no flipped bit goes unnoticed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from strategies import expecting, family_of, forms, law, octets, packets, sources

from haagent.core.frames import (
    Announcement,
    announced_address,
    gratuitous_arp,
    neighbor_advertisement,
)
from haagent.core.packet import (
    MULTICAST_GROUP_4,
    ChecksumForm,
    Datagram,
    Discard,
    Expectations,
    Packet,
    Remark,
    decode,
    encode,
    split_ipv4,
)

macs = st.binary(min_size=6, max_size=6)


def delivered(data: bytes, source: Any, expected: Expectations) -> Packet | Discard:
    family: Any = expected.destination.version
    return decode(
        data, family=family, source=source, destination=expected.destination, ttl=255, expectations=expected
    )


def slow_checksum_fits(data: bytes) -> bool:
    """Add up 16-bit words with end-around carry, as RFC 1071 spells it out; right data gives ffff."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2])
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


@law
@given(st.data(), packets(), forms)
def test_what_is_encoded_decodes_to_itself(data: st.DataObject, packet: Packet, form: ChecksumForm) -> None:
    source, expected = data.draw(sources(packet)), expecting(packet, checksum_sent=form)
    message = encode(packet, source=source, destination=expected.destination, checksum=form)
    assert delivered(message, source, expected) == packet
    # The next line down: the pseudo-header sum agrees with the slow way.
    pseudo = source.packed + expected.destination.packed + len(message).to_bytes(4) + bytes((0, 0, 0, 112))
    bare = packet.version == 2 or (family_of(packet) == 4 and form is ChecksumForm.MESSAGE_ONLY)
    assert slow_checksum_fits(message if bare else pseudo + message)


@law
@given(st.binary(max_size=120), packets(), octets, st.booleans())
def test_any_bytes_get_a_verdict(data: bytes, packet: Packet, ttl: int, strict: bool) -> None:
    expected = expecting(packet, strict=strict)
    for source in (IPv4Address("10.0.0.1"), IPv6Address("fe80::1"), IPv4Address(0), MULTICAST_GROUP_4):
        family: Any
        for family in (4, 6):
            verdict = decode(
                data,
                family=family,
                source=source,
                destination=expected.destination,
                ttl=ttl,
                expectations=expected,
            )
            assert isinstance(verdict, Packet | Discard)


@law
@given(st.data(), packets())
def test_a_mangled_packet_gets_a_verdict(data: st.DataObject, packet: Packet) -> None:
    # Random bytes rarely get past the first rungs; these do, with whatever checksum they end up with.
    source, expected = data.draw(sources(packet)), expecting(packet)
    message = bytearray(encode(packet, source=source, destination=expected.destination))
    for at, octet in data.draw(st.lists(st.tuples(st.integers(2, len(message) - 1), octets), max_size=4)):
        message[at] = octet
    cut = data.draw(st.integers(0, len(message)))
    assert isinstance(delivered(bytes(message), source, expected), Packet | Discard)
    assert cut == len(message) or isinstance(delivered(bytes(message[:cut]), source, expected), Discard)


@law
@given(st.data(), packets(), forms)
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject, packet: Packet, form: ChecksumForm) -> None:
    source = data.draw(sources(packet))
    expected = expecting(packet, checksum_sent=form, checksums_accepted=frozenset({form}))
    message = encode(packet, source=source, destination=expected.destination, checksum=form)
    for bit in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        # One bit moves a one's complement sum by a power of two, never by a multiple of ffff.
        assert isinstance(delivered(bytes(flipped), source, expected), Discard)


@law
@given(st.data(), packets(version=3, family=4), forms)
def test_accepting_both_forms_a_flip_can_only_pass_as_the_other_one(
    data: st.DataObject, packet: Packet, form: ChecksumForm
) -> None:
    source, expected = data.draw(sources(packet)), expecting(packet, checksum_sent=form)
    message = encode(packet, source=source, destination=expected.destination, checksum=form)
    for bit in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        verdict = delivered(bytes(flipped), source, expected)
        if isinstance(verdict, Packet):
            assert Remark.CHECKSUM_FORM in verdict.remarks


@law
@given(st.binary(max_size=80))
def test_any_datagram_splits_or_is_discarded(data: bytes) -> None:
    for datagram in (data, b"\x45" + data, b"\x45\x00\x00" + bytes((len(data) + 3 & 0xFF,)) + data):
        split = split_ipv4(datagram)
        assert isinstance(split, Datagram | Discard)
        if isinstance(split, Datagram):
            assert split.payload in datagram


@law
@given(st.binary(max_size=120))
def test_any_frame_is_read_or_ignored(data: bytes) -> None:
    for kind in ("0806", "86dd", "0800"):
        heard = announced_address(bytes(12) + bytes.fromhex(kind) + data)
        assert heard is None or isinstance(heard, Announcement)
    assert announced_address(data[:13]) is None


@law
@given(st.integers(1, 2**32 - 1).map(IPv4Address), macs, st.binary(max_size=18))
def test_a_gratuitous_arp_is_heard(address: IPv4Address, mac: bytes, padding: bytes) -> None:
    assert announced_address(gratuitous_arp(address, mac) + padding) == (address, mac)


@law
@given(st.integers(0, 2**120).map(IPv6Address), macs, st.booleans())
def test_a_neighbour_advertisement_is_heard_and_its_flipped_bits_are_not(
    address: IPv6Address, mac: bytes, router: bool
) -> None:
    frame = neighbor_advertisement(address, mac, router=router)
    assert announced_address(frame) == (address, mac)
    for bit in range(54 * 8, len(frame) * 8):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        assert announced_address(bytes(flipped)) is None
