"""What hypothesis draws for VRRP: packets that fit the wire, and the receiver that expects them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from haagent.core.packet import (
    MULTICAST_GROUP_4,
    MULTICAST_GROUP_6,
    ChecksumForm,
    Expectations,
    Packet,
)
from haagent.core.units import CENTISECOND, SECOND

# The same examples in every run, and no deadline: a busy machine is no defect.
law = settings(deadline=None, derandomize=True)

octets = st.integers(0, 255)
forms = st.sampled_from(ChecksumForm)
unicast4 = st.integers(int(IPv4Address("10.0.0.1")), int(IPv4Address("10.255.255.254"))).map(IPv4Address)
unicast6 = st.integers(1, 2**64 - 1).map(lambda host: IPv6Address((0xFE80 << 112) + host))
passwords = st.none() | st.binary(max_size=8).map(lambda word: word.ljust(8, b"\0"))


@st.composite
def packets(draw: st.DrawFn, version: int | None = None, family: int | None = None) -> Packet:
    """Draw a packet as ``decode`` would return it: a password is eight octets long, version 2 is IPv4."""
    chosen: Any = draw(st.sampled_from([2, 3])) if version is None else version
    family = 4 if chosen == 2 else draw(st.sampled_from([4, 6])) if family is None else family
    address: Any = (
        st.integers(0, 2**32 - 1).map(IPv4Address)
        if family == 4
        else st.integers(0, 2**128 - 1).map(IPv6Address)
    )
    first = [] if family == 4 else [draw(unicast6)]
    rest = draw(st.lists(address, min_size=1 if chosen == 3 and family == 4 else 0, max_size=20))
    return Packet(
        version=chosen,
        vrid=draw(st.integers(1, 255)),
        priority=draw(octets),
        interval=draw(st.integers(1, 255)) * SECOND
        if chosen == 2
        else draw(st.integers(1, 4095)) * CENTISECOND,
        addresses=(*first, *rest),
        auth=draw(passwords) if chosen == 2 else None,
    )


def family_of(packet: Packet) -> Any:
    return packet.addresses[0].version if packet.addresses else 4


def sources(packet: Packet) -> Any:
    """Return addresses the packet may come from: of its family, and none of its own."""
    family: Any = unicast4 if family_of(packet) == 4 else unicast6
    return family.filter(lambda source: source not in packet.addresses)


def expecting(packet: Packet, **changes: Any) -> Expectations:
    """Return what an instance configured like the sender of ``packet`` expects."""
    fields: dict[str, Any] = {
        "version": packet.version,
        "vrid": packet.vrid,
        "interval": packet.interval,
        "addresses": packet.addresses,
        "destination": MULTICAST_GROUP_4 if family_of(packet) == 4 else MULTICAST_GROUP_6,
        "auth": packet.auth,
    }
    return Expectations(**(fields | changes))
