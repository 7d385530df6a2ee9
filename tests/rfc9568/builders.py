"""The laboratory of the conformance tests: one virtual router, its peers, and packets between them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from haagent.core.events import IPAddress
from haagent.core.packet import (
    MULTICAST_GROUP_4,
    MULTICAST_GROUP_6,
    Discard,
    Expectations,
    Packet,
    decode,
    encode,
)
from haagent.core.units import SECOND
from haagent.core.virtual_router import Backup, Master, RouterParameters, VirtualRouter

OURS = IPv4Address("192.0.2.251")
PEER = IPv4Address("192.0.2.252")
LOWER_PEER = IPv4Address("192.0.2.250")
VIP = IPv4Address("192.0.2.1")
PEER6 = IPv6Address("fe80::cf:ff:fe00:b")
OURS6 = IPv6Address("fe80::cf:ff:fe00:a")
VIPS6 = (IPv6Address("fe80::cf:1"), IPv6Address("2001:db8:cf::1"))
VRID = 51
START = 1_000 * SECOND  # any instant will do, but 0 would hide a forgotten "now +"

V2 = Packet(version=2, vrid=VRID, priority=100, interval=SECOND, addresses=(VIP,))
V3 = Packet(version=3, vrid=VRID, priority=100, interval=SECOND, addresses=(VIP,))
V3_IPV6 = Packet(version=3, vrid=VRID, priority=100, interval=SECOND, addresses=VIPS6)


def expecting(packet: Packet, **changes: Any) -> Expectations:
    """Return what an instance configured like the sender of ``packet`` expects."""
    ipv6 = any(address.version == 6 for address in packet.addresses)
    own: frozenset[IPAddress] = frozenset({OURS6, ip_address("2001:db8:cf::251")} if ipv6 else {OURS})
    expected = Expectations(
        version=packet.version,
        vrid=packet.vrid,
        interval=packet.interval,
        addresses=packet.addresses,
        destination=MULTICAST_GROUP_6 if ipv6 else MULTICAST_GROUP_4,
        own_addresses=own,
        auth=packet.auth,
    )
    return replace(expected, **changes)


def message(packet: Packet, **options: Any) -> bytes:
    """Return ``packet`` as the peer multicasts it."""
    if packet.addresses and packet.addresses[0].version == 6:
        return encode(packet, source=PEER6, destination=MULTICAST_GROUP_6, **options)
    return encode(packet, source=PEER, destination=MULTICAST_GROUP_4, **options)


def receive(data: bytes, expected: Expectations, **header: Any) -> Packet | Discard:
    """Decode ``data`` as the peer's multicast; ``header`` overrides source, destination or ttl."""
    family: Any = expected.destination.version
    source = PEER if family == 4 else PEER6
    fields = {"source": source, "destination": expected.destination, "ttl": 255} | header
    return decode(data, family=family, expectations=expected, **fields)


def with_checksum(data: bytes, pseudo: bytes = b"") -> bytes:
    """Return ``data`` with its checksum made right over ``pseudo`` and itself, the slow way of RFC 1071."""
    octets = pseudo + data[:6] + b"\0\0" + data[8:]
    octets += b"\0" * (len(octets) % 2)
    total = sum(int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:6] + (~total & 0xFFFF).to_bytes(2) + data[8:]


def router(
    version: Any = 3, priority: int = 100, *, primary: IPAddress | None = OURS, **parameters: Any
) -> VirtualRouter:
    """Return a router in Initialize, interval 1 s unless ``advertisement_interval`` says otherwise."""
    parameters = {"advertisement_interval": SECOND} | parameters
    return VirtualRouter(RouterParameters(version, VRID, priority, **parameters), primary)


def backup(version: Any = 3, priority: int = 100, **parameters: Any) -> VirtualRouter:
    """Return a router that has just entered Backup at ``START``."""
    fresh = router(version, priority, **parameters)
    fresh.startup(START, owner_waits=True)
    assert isinstance(fresh.state, Backup)
    return fresh


def master(version: Any = 3, priority: int = 100, **parameters: Any) -> VirtualRouter:
    """Return a router that has just become Master; its next advertisement is due at ``START`` + interval."""
    fresh = router(version, priority, **parameters)
    fresh._state = Master(adver_at=START + fresh.parameters.advertisement_interval, answer_at=START)
    return fresh
