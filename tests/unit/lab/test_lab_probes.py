"""Frames of the observer, byte by byte, and what it makes of answers."""

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from haagent.lab import probes
from haagent.lab.clients import node_of_reply
from haagent.lab.observers import decode_addresses

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")
VIP4, VIP6 = IPv4Address("192.0.2.100"), IPv6Address("2001:db8::100")
CLIENT4, CLIENT6 = IPv4Address("192.0.2.200"), IPv6Address("2001:db8::200")


def test_arp_request_is_a_broadcast_question_whose_source_names_the_round():
    frame = probes.arp_request(MAC, VIP4, 37)
    assert frame[:6] == b"\xff" * 6
    assert frame[12:22] == bytes.fromhex("08060001080006040001")
    assert frame[28:32] == IPv4Address("192.0.2.213").packed  # .208 + 37 % 32
    assert frame[38:42] == VIP4.packed


def test_an_arp_reply_is_attributed_to_its_round():
    question = probes.arp_request(MAC, VIP4, 37)
    reply = MAC + OTHER + question[12:20] + b"\0\x02" + OTHER + VIP4.packed + MAC + question[28:32]
    assert probes.decode(reply) == probes.SeenAnswer(OTHER, "arp", VIP4, 5, 32)


def test_an_arp_request_of_somebody_is_no_answer():
    assert probes.decode(probes.arp_request(OTHER, VIP4, 1)) is None


def test_echo_request_has_valid_checksums():
    packet = probes.echo_request(MAC, CLIENT4, VIP4, 9)[14:]
    assert probes.checksum(packet[:20]) == 0
    assert probes.checksum(packet[20:]) == 0


@pytest.mark.parametrize(
    "frame",
    [probes.neighbour_solicitation(MAC, VIP6, 3), probes.echo6_request(MAC, CLIENT6, VIP6, 3)],
    ids=["nd", "echo6"],
)
def test_icmpv6_checksums_cover_the_pseudo_header(frame):
    packet = frame[14:]
    length = int.from_bytes(packet[4:6], "big")
    assert length == len(packet) - 40
    assert probes.checksum(packet[8:40] + struct.pack("!II", length, 58) + packet[40:]) == 0


def test_echo_replies_are_attributed_by_sequence_number():
    packet = bytearray(probes.echo_request(OTHER, VIP4, CLIENT4, 700))
    packet[34] = 0
    assert probes.decode(bytes(packet)) == probes.SeenAnswer(OTHER, "echo", VIP4, 700, 1 << 16)
    packet6 = bytearray(probes.echo6_request(OTHER, VIP6, CLIENT6, 700))
    packet6[54] = 129
    assert probes.decode(bytes(packet6)) == probes.SeenAnswer(OTHER, "echo6", VIP6, 700, 1 << 16)


def test_foreign_pings_are_no_answers():
    packet = bytearray(probes.echo_request(OTHER, VIP4, CLIENT4, 700))
    packet[34], packet[38:40] = 0, b"\x12\x34"
    assert probes.decode(bytes(packet)) is None


def test_an_advert_is_recognised_behind_ip_options():
    header = bytes([0x46, 0, 0, 40, 0, 0, 0, 0, 255, 112, 0, 0]) + bytes(12)
    frame = (
        b"\x01\x00\x5e\x00\x00\x12" + OTHER + b"\x08\x00" + header + bytes([0x31, 51, 150, 1, 0, 100, 0, 0])
    )
    assert probes.decode(frame) == probes.SeenAdvert(OTHER, 3, 51, 150)


@pytest.mark.parametrize("length", range(70))
def test_truncated_frames_are_ignored_not_fatal(length):
    for whole in (
        probes.arp_request(MAC, VIP4, 1),
        probes.echo_request(MAC, CLIENT4, VIP4, 1),
        probes.neighbour_solicitation(MAC, VIP6, 1),
        probes.echo6_request(MAC, CLIENT6, VIP6, 1),
    ):
        for protocol in (None, 112):
            frame = bytearray(whole)
            if protocol and len(frame) > 23:
                frame[23] = protocol
            probes.decode(bytes(frame[:length]))


def test_netlink_address_messages():
    def message(kind, attributes):
        body = struct.pack("=BBBBI", 2, 32, 0, 0, 2) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body

    local = struct.pack("=HH", 8, 2) + VIP4.packed
    peer = struct.pack("=HH", 8, 1) + CLIENT4.packed
    only = struct.pack("=HH", 20, 1) + VIP6.packed
    data = message(20, peer + local) + message(21, only) + message(24, local)
    assert decode_addresses(data) == [("192.0.2.100", True), ("2001:db8::100", False)]


@pytest.mark.parametrize(
    ("reply", "node"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Served-By: node2\r\n\r\nbody", "node2"),
        (b"HTTP/1.0 200 OK\r\nx-served-by:node1\r\n\r\n", "node1"),
        (b"HTTP/1.1 503 Service Unavailable\r\nX-Served-By: node2\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\nX-Served-By: body", None),
        (b"", None),
    ],
)
def test_only_a_good_reply_with_the_header_names_a_node(reply, node):
    assert node_of_reply(reply) == node
