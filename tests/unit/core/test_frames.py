"""Hearing other nodes' announcements: what counts as a claim to an address, and what does not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from haagent.core.frames import announced_address, gratuitous_arp, neighbor_advertisement

VIP = IPv4Address("192.0.2.1")
VIP6 = IPv6Address("2001:db8:cf::1")
MAC = bytes.fromhex("02cf0000000b")
ARP = gratuitous_arp(VIP, MAC)
NA = neighbor_advertisement(VIP6, MAC, router=False)


def patched(frame: bytes, at: int, octets: str) -> bytes:
    new = bytes.fromhex(octets)
    return frame[:at] + new + frame[at + len(new) :]


def summed(frame: bytes, at: int, octets: str) -> bytes:
    """Return a neighbour advertisement with octets patched and its ICMPv6 checksum made right again."""
    frame = patched(patched(frame, at, octets), 56, "0000")
    message = frame[54:] + b"\0" * (len(frame) % 2)
    pseudo = frame[22:54] + len(frame[54:]).to_bytes(4) + bytes((0, 0, 0, 58))
    total = sum(int.from_bytes((pseudo + message)[i : i + 2]) for i in range(0, len(pseudo + message), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return patched(frame, 56, (~total & 0xFFFF).to_bytes(2).hex())


@pytest.mark.parametrize("opcode", ["0001", "0002"])
def test_every_arp_request_and_reply_tells_where_its_sender_is(opcode: str) -> None:
    assert announced_address(patched(ARP, 20, opcode)) == (VIP, MAC)


def test_an_arp_probe_claims_nothing() -> None:
    assert announced_address(patched(ARP, 28, "00000000")) is None


@pytest.mark.parametrize(
    ("at", "octets"),
    [(20, "0003"), (14, "0006"), (16, "86dd"), (18, "08"), (19, "10"), (12, "0800"), (12, "8100")],
)
def test_other_arp_is_ignored(at: int, octets: str) -> None:
    assert announced_address(patched(ARP, at, octets)) is None


def test_every_truncation_is_ignored() -> None:
    for frame in (ARP, NA):
        for length in range(len(frame)):
            assert announced_address(frame[:length]) is None


def test_the_target_link_layer_address_counts_not_the_sender_of_the_frame() -> None:
    assert announced_address(patched(NA, 6, "02aa00000001")) == (VIP6, MAC)


def test_without_that_option_the_sender_of_the_frame_counts() -> None:
    bare = summed(patched(NA[:78], 18, "0018"), 20, "3a")
    assert announced_address(bare) == (VIP6, MAC)


def test_a_solicited_advertisement_counts_when_unicast() -> None:
    to_us = patched(NA, 38, IPv6Address("fe80::2").packed.hex())
    assert announced_address(summed(to_us, 58, "60")) == (VIP6, MAC)


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (54, "87"),  # a solicitation
        (55, "01"),  # a code
        (58, "60"),  # solicited, to all nodes
        (62, "ff02"),  # a multicast target
        (79, "00"),  # an option of length 0
        (79, "02"),  # an option longer than the message
    ],
)
def test_an_advertisement_that_rfc_4861_refuses_is_ignored(at: int, octets: str) -> None:
    assert announced_address(summed(NA, at, octets)) is None


@pytest.mark.parametrize(("at", "octets"), [(14, "40"), (20, "70"), (21, "fe"), (56, "0000")])
def test_a_broken_ipv6_packet_is_ignored(at: int, octets: str) -> None:
    assert announced_address(patched(NA, at, octets)) is None


def test_summed_is_right_about_an_untouched_frame() -> None:
    assert summed(NA, 58, NA[58:59].hex()) == NA
