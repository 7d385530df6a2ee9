"""Frames the observer sends and understands; pure, bytes in and out.

Every round is one broadcast frame per probe, so all nodes are asked at the same instant. An echo request to a
unicast address in a broadcast frame is answered by every Linux node that would accept packets for it, whatever
the client's ARP cache says; that makes the echo probe stricter than ARP. An ARP or ND answer names its round by
the address it goes to: questions come from ``SOURCES`` addresses in turn.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from haagent.lab.observations import Probe

BROADCAST = b"\xff" * 6
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, ICMPV6, VRRP = 1, 58, 112
ECHO_REPLY, ECHO_REQUEST, ECHO6_REQUEST, ECHO6_REPLY = 0, 8, 128, 129
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
ECHO_IDENTIFIER = 0x6861
SOURCES = 32
SOURCE4 = IPv4Address("192.0.2.208")
SOURCE6 = IPv6Address("2001:db8::f000")


@dataclass(frozen=True, slots=True)
class SeenAnswer:
    """An answer for ``address``; ``round`` is the low bits of its number, modulo ``modulus``."""

    mac: bytes
    probe: Probe
    address: IPv4Address | IPv6Address
    round: int
    modulus: int


@dataclass(frozen=True, slots=True)
class SeenAdvert:
    """A VRRP advertisement, undecided whether valid."""

    mac: bytes
    version: int
    vrid: int
    priority: int


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of ``data``."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def arp_request(mac: bytes, target: IPv4Address, number: int, first: IPv4Address = SOURCE4) -> bytes:
    """Ask who has ``target``, for round ``number``; ``first`` is the first of the ``SOURCES`` addresses."""
    source = first + number % SOURCES
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1)
    return _ethernet(mac, ARP) + head + mac + source.packed + bytes(6) + target.packed


def echo_request(mac: bytes, source: IPv4Address, target: IPv4Address, number: int) -> bytes:
    """Ask every holder of ``target`` for an ICMP echo."""
    fields = (ECHO_REQUEST, 0, ECHO_IDENTIFIER, number & 0xFFFF)
    sum_ = checksum(struct.pack("!BBxxHH", *fields))
    message = struct.pack("!BBHHH", fields[0], 0, sum_, fields[2], fields[3])
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP, 0, source.packed, target.packed
    )
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return _ethernet(mac, IPV4) + header + message


def neighbour_solicitation(mac: bytes, target: IPv6Address, number: int) -> bytes:
    """Ask who has ``target`` (RFC 4861, 4.3), for round ``number``."""
    source = SOURCE6 + number % SOURCES
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + target.packed[13:]
    body = bytes(4) + target.packed + b"\x01\x01" + mac
    return _icmpv6(mac, source, IPv6Address(group), NEIGHBOUR_SOLICITATION, body, hops=255)


def echo6_request(mac: bytes, source: IPv6Address, target: IPv6Address, number: int) -> bytes:
    """Ask every holder of ``target`` for an ICMPv6 echo."""
    body = struct.pack("!HH", ECHO_IDENTIFIER, number & 0xFFFF)
    return _icmpv6(mac, source, target, ECHO6_REQUEST, body, hops=64)


def _ethernet(mac: bytes, kind: int) -> bytes:
    return BROADCAST + mac + struct.pack("!H", kind)


def _icmpv6(
    mac: bytes, source: IPv6Address, target: IPv6Address, kind: int, body: bytes, *, hops: int
) -> bytes:
    length = 4 + len(body)
    pseudo = source.packed + target.packed + struct.pack("!II", length, ICMPV6)
    sum_ = checksum(pseudo + struct.pack("!BBH", kind, 0, 0) + body)
    header = struct.pack("!IHBB", 6 << 28, length, ICMPV6, hops) + source.packed + target.packed
    return _ethernet(mac, IPV6) + header + struct.pack("!BBH", kind, 0, sum_) + body


def decode(frame: bytes, first: IPv4Address = SOURCE4) -> SeenAnswer | SeenAdvert | None:
    """Read one Ethernet frame; None when it is none of an answer's or an advert's.

    ``first`` is the first address that ARP questions come from.
    """
    if len(frame) < 34:
        return None
    mac, kind = frame[6:12], int.from_bytes(frame[12:14], "big")
    if kind == ARP:
        return _decode_arp(mac, frame[14:], first)
    if kind == IPV4:
        return _decode_ipv4(mac, frame[14:])
    if kind == IPV6 and len(frame) >= 62:
        return _decode_ipv6(mac, frame[14:])
    return None


def _decode_arp(mac: bytes, packet: bytes, first: IPv4Address) -> SeenAnswer | None:
    if len(packet) < 28 or packet[6:8] != b"\0\x02":
        return None
    source = int.from_bytes(packet[24:28], "big") - int(first)
    if not 0 <= source < SOURCES:
        return None
    return SeenAnswer(mac, "arp", IPv4Address(packet[14:18]), source, SOURCES)


def _decode_ipv4(mac: bytes, packet: bytes) -> SeenAnswer | SeenAdvert | None:
    payload = packet[(packet[0] & 15) * 4 :]
    if packet[9] == VRRP:
        return _decode_vrrp(mac, payload)
    if packet[9] != ICMP or len(payload) < 8 or payload[0] != ECHO_REPLY:
        return None
    identifier, number = struct.unpack("!HH", payload[4:8])
    if identifier != ECHO_IDENTIFIER:
        return None
    return SeenAnswer(mac, "echo", IPv4Address(packet[12:16]), number, 1 << 16)


def _decode_ipv6(mac: bytes, packet: bytes) -> SeenAnswer | SeenAdvert | None:
    payload = packet[40:]
    if packet[6] == VRRP:
        return _decode_vrrp(mac, payload)
    if packet[6] != ICMPV6 or len(payload) < 8:
        return None
    if payload[0] == NEIGHBOUR_ADVERTISEMENT and len(payload) >= 24:
        source = int.from_bytes(packet[24:40], "big") - int(SOURCE6)
        if 0 <= source < SOURCES:
            return SeenAnswer(mac, "nd", IPv6Address(payload[8:24]), source, SOURCES)
    if payload[0] == ECHO6_REPLY:
        identifier, number = struct.unpack("!HH", payload[4:8])
        if identifier == ECHO_IDENTIFIER:
            return SeenAnswer(mac, "echo6", IPv6Address(packet[8:24]), number, 1 << 16)
    return None


def _decode_vrrp(mac: bytes, payload: bytes) -> SeenAdvert | None:
    if len(payload) < 8 or payload[0] & 15 != 1:
        return None
    return SeenAdvert(mac, payload[0] >> 4, payload[1], payload[2])
