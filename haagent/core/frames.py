"""Announcements of an address as whole Ethernet frames: gratuitous ARP and neighbour advertisements.

Promises: the frames keepalived sends, octet for octet, which every switch and neighbour cache understands; and
a reader of other nodes' announcements that is total: what is not a sound announcement is None, never an error.
It sends nothing and decides nothing; hearing a foreign claim to an address of ours is only evidence.

MAC addresses are six octets; ``mac.hex(":")`` writes one for people.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Literal, NamedTuple

from haagent.core.events import IPAddress

ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD

_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ETHERNET = 14
_ARP_FIXED = bytes.fromhex("0001080006040001")  # Ethernet, IPv4, their widths, opcode 1 (request)
_ARP_LENGTH = 28
_IPV6 = 40
_ICMPV6 = 58
_NEIGHBOR_ADVERTISEMENT = 136
_NA_LENGTH = 24
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_TARGET_LINK_LAYER_ADDRESS = 2


class Announcement(NamedTuple):
    """Somebody says: ``address`` is at ``mac``."""

    address: IPAddress
    mac: bytes


def virtual_router_mac(family: Literal[4, 6], vrid: int) -> bytes:
    """Return 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6 (RFC 9568 7.3)."""
    return bytes((0x00, 0x00, 0x5E, 0x00, 0x01 if family == 4 else 0x02, vrid))


def gratuitous_arp(address: IPv4Address, mac: bytes) -> bytes:
    """Return the broadcast ARP request that tells everyone ``address`` is at ``mac`` (RFC 9568 6.4.2)."""
    # Errata 7947 and 7949 put the virtual MAC into the target; receivers ignore that field, and everybody sends ff.
    arp = _ARP_FIXED + mac + address.packed + _BROADCAST + address.packed
    return _BROADCAST + mac + ETHERTYPE_ARP.to_bytes(2) + arp


def neighbor_advertisement(address: IPv6Address, mac: bytes, *, router: bool) -> bytes:
    """Return the unsolicited neighbour advertisement for ``address`` to all nodes (RFC 9568 6.4.2).

    ``router`` is the R flag: RFC 9568 sets it, keepalived only where the host forwards. S=0, O=1, and the
    target link-layer address option, without which neighbours would not learn ``mac``.
    """
    flags = _OVERRIDE | (_ROUTER if router else 0)
    option = bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) + mac
    head, body = bytes((_NEIGHBOR_ADVERTISEMENT, 0)), bytes((flags, 0, 0, 0)) + address.packed + option
    length = len(head) + 2 + len(body)
    total = int.from_bytes(head + b"\0\0" + body) + _pseudo_header_sum(address, _ALL_NODES, length)
    checksum = 0xFFFF - (total % 0xFFFF or 0xFFFF)
    ipv6 = (
        bytes((0x60, 0, 0, 0))
        + length.to_bytes(2)
        + bytes((_ICMPV6, 255))
        + address.packed
        + _ALL_NODES.packed
    )
    return _ALL_NODES_MAC + mac + ETHERTYPE_IPV6.to_bytes(2) + ipv6 + head + checksum.to_bytes(2) + body


def announced_address(frame: bytes) -> Announcement | None:
    """Return what an Ethernet frame says about where an address is, or None if it says nothing sound. Total.

    Any ARP request or reply with a sender address counts (every receiver may learn from it), and every
    neighbour advertisement that RFC 4861 7.1.2 lets a receiver accept. Padding after either is fine.
    """
    ethertype = int.from_bytes(frame[12:_ETHERNET])
    if ethertype == ETHERTYPE_ARP:
        return _arp_announcement(frame[_ETHERNET : _ETHERNET + _ARP_LENGTH])
    if ethertype == ETHERTYPE_IPV6:
        return _neighbor_announcement(frame)
    return None


def _arp_announcement(arp: bytes) -> Announcement | None:
    if len(arp) < _ARP_LENGTH or arp[:6] != _ARP_FIXED[:6] or int.from_bytes(arp[6:8]) not in {1, 2}:
        return None
    sender = IPv4Address(arp[14:18])
    if sender.is_unspecified:  # a probe (RFC 5227) asks, it does not claim
        return None
    return Announcement(sender, arp[8:14])


def _neighbor_announcement(frame: bytes) -> Announcement | None:
    ipv6 = frame[_ETHERNET : _ETHERNET + _IPV6]
    if len(ipv6) < _IPV6 or ipv6[0] >> 4 != 6 or ipv6[6] != _ICMPV6 or ipv6[7] != 255:
        return None
    length = int.from_bytes(ipv6[4:6])
    message = frame[_ETHERNET + _IPV6 : _ETHERNET + _IPV6 + length]
    if len(message) != length or length < _NA_LENGTH or message[:2] != bytes((_NEIGHBOR_ADVERTISEMENT, 0)):
        return None
    destination, target = IPv6Address(ipv6[24:40]), IPv6Address(message[8:24])
    if target.is_multicast or (destination.is_multicast and message[4] & _SOLICITED):
        return None
    if not _sound(message, IPv6Address(ipv6[8:24]), destination):
        return None
    options = _options(message[_NA_LENGTH:])
    return (
        None
        if options is None
        else Announcement(target, options.get(_TARGET_LINK_LAYER_ADDRESS, frame[6:12]))
    )


def _options(data: bytes) -> dict[int, bytes] | None:
    """Return neighbour discovery options by type, None if they are malformed (RFC 4861 4.6)."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        size = data[at + 1] * 8 if at + 1 < len(data) else 0
        if size == 0 or at + size > len(data):
            return None
        options.setdefault(data[at], data[at + 2 : at + 8])
        at += size
    return options


def _sound(message: bytes, source: IPv6Address, destination: IPv6Address) -> bool:
    """Return whether an ICMPv6 checksum is right; an odd last octet is padded (RFC 1071)."""
    even = message + b"\0" * (len(message) % 2)
    return (int.from_bytes(even) + _pseudo_header_sum(source, destination, len(message))) % 0xFFFF == 0


def _pseudo_header_sum(source: IPv6Address, destination: IPv6Address, length: int) -> int:
    return int(source) + int(destination) + _ICMPV6 + length
