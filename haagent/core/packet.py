"""VRRP advertisements as bytes: version 2 (RFC 3768) and version 3 (RFC 9568), over IPv4 and IPv6.

Promises: ``encode`` writes exactly what keepalived and the RFCs expect; ``decode`` is total, it answers every
sequence of bytes with a ``Packet`` or with the ``Discard`` that names the first broken rule, and never raises.
It knows no state: which advertisement wins is ``virtual_router``'s business.

``decode`` is a ladder. Each rung is one rule of RFC 9568 7.1 or RFC 3768 7.1 and has its own reason; the first
rung that fails names the packet. What the RFCs want logged but not dropped comes back in ``Packet.remarks``.

Checksums. Version 2 sums the message alone, IPv6 always adds the pseudo-header. For version 3 over IPv4 the
RFCs disagree: 5798 was read as "with a pseudo-header" (keepalived, FRR, MikroTik), 9568 says without (Cisco,
Juniper, Arista). We send the first form unless told otherwise, and accept both.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, NamedTuple, TypeAlias

from haagent.core.events import IPAddress
from haagent.core.units import CENTISECOND, SECOND, Duration

IP_PROTOCOL = 112
MULTICAST_GROUP_4 = IPv4Address("224.0.0.18")
MULTICAST_GROUP_6 = IPv6Address("ff02::12")
OWNER_PRIORITY = 255
RESIGN_PRIORITY = 0
AUTH_NONE = 0
AUTH_PASS = 1
MAX_INTERVAL_CS = 0xFFF  # twelve bits

_HEADER = 8
_AUTH_DATA = 8
_ADVERTISEMENT = 1
_HOP_LIMIT = 255
_NO_AUTH_DATA = bytes(_AUTH_DATA)


class Discard(StrEnum):
    """Why a packet was dropped. A closed set: these are counter labels and log words."""

    IP_HEADER = "ip-header"
    IP_LENGTH = "ip-length"
    FRAGMENT = "fragment"
    PROTOCOL = "protocol"
    TTL = "ttl"
    SOURCE = "source"
    OWN_SOURCE = "own-source"
    NOT_A_PEER = "not-a-peer"
    DESTINATION = "destination"
    LENGTH = "length"
    VERSION = "version"
    TYPE = "type"
    VRID = "vrid"
    COUNT_ZERO = "count-zero"
    CHECKSUM = "checksum"
    AUTH_TYPE = "auth-type"
    AUTH_FAIL = "auth-fail"
    INTERVAL = "interval"
    INTERVAL_ZERO = "interval-zero"
    NOT_LINK_LOCAL = "not-link-local"
    ADDRESS_LIST = "addr-list"


class Remark(StrEnum):
    """What an accepted packet made worth a (rate-limited) log line."""

    ADDRESS_LIST = "addr-list"
    INTERVAL = "interval"
    NOT_LINK_LOCAL = "not-link-local"
    CHECKSUM_FORM = "checksum-form"


class ChecksumForm(StrEnum):
    """What the checksum of a version 3 IPv4 advertisement covers."""

    PSEUDO_HEADER = "pseudo-header"
    MESSAGE_ONLY = "message-only"


@dataclass(frozen=True, slots=True)
class Packet:
    """One advertisement. ``interval`` is v3's Max Advertise Interval or v2's Adver Int, in nanoseconds.

    ``auth`` is None for "no authentication", else v2's simple text password: at most its first eight octets
    travel, zero-filled; a decoded one is always eight octets long.
    """

    version: Literal[2, 3]
    vrid: int
    priority: int
    interval: Duration
    addresses: tuple[IPAddress, ...]
    auth: bytes | None = field(default=None, repr=False)
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Expectations:
    """What one instance accepts.

    ``addresses`` are the virtual addresses it advertises itself, in order; ``own_addresses`` every address of
    this host on the interface. ``destination`` is the group it joined or, with ``peers``, its own unicast
    address; ``peers`` is None for multicast, and empty if any unicast sender will do. IPv6 addresses carry
    no zone. ``strict`` drops what is otherwise only remarked on; ``check_addresses`` makes the optional
    address check of RFC 3768 7.1.
    """

    version: Literal[2, 3]
    vrid: int
    interval: Duration
    addresses: tuple[IPAddress, ...]
    destination: IPAddress
    own_addresses: frozenset[IPAddress] = frozenset()
    peers: frozenset[IPAddress] | None = None
    auth: bytes | None = field(default=None, repr=False)
    checksum_sent: ChecksumForm = ChecksumForm.PSEUDO_HEADER
    checksums_accepted: frozenset[ChecksumForm] = frozenset(ChecksumForm)
    check_addresses: bool = True
    strict: bool = False


class Datagram(NamedTuple):
    """What matters of an IPv4 datagram: addresses, TTL, and the payload without options or padding."""

    source: IPv4Address
    destination: IPv4Address
    ttl: int
    payload: bytes


def split_ipv4(datagram: bytes) -> Datagram | Discard:
    """Split what an AF_INET raw socket delivered: the IPv4 header is there, its options too. Total."""
    if len(datagram) < 20 or datagram[0] >> 4 != 4:
        return Discard.IP_HEADER
    header = (datagram[0] & 0x0F) * 4
    total = int.from_bytes(datagram[2:4])
    if header < 20 or header > len(datagram):
        return Discard.IP_HEADER
    if not header <= total <= len(datagram):
        return Discard.IP_LENGTH
    if int.from_bytes(datagram[6:8]) & 0x3FFF:  # more fragments, or an offset
        return Discard.FRAGMENT
    if datagram[9] != IP_PROTOCOL:
        return Discard.PROTOCOL
    source, destination = IPv4Address(datagram[12:16]), IPv4Address(datagram[16:20])
    return Datagram(source, destination, datagram[8], datagram[header:total])


def encode(
    packet: Packet,
    *,
    source: IPAddress,
    destination: IPAddress,
    checksum: ChecksumForm = ChecksumForm.PSEUDO_HEADER,
) -> bytes:
    """Return ``packet`` as the VRRP message to send from ``source`` to ``destination``.

    ``checksum`` matters for version 3 over IPv4 only. Raises ValueError if a field does not fit the wire.
    """
    family = source.version
    if packet.version == 2 and family != 4:
        raise ValueError("VRRP version 2 is IPv4 only")
    if any(address.version != family for address in (destination, *packet.addresses)):
        raise ValueError("one family per message (RFC 9568 5.2.9)")
    head = bytes((packet.version << 4 | _ADVERTISEMENT, packet.vrid, packet.priority, len(packet.addresses)))
    tail = b"".join(address.packed for address in packet.addresses)
    if packet.version == 2:
        tail += _auth_data(packet.auth)
    head += _interval_field(packet)
    pseudo = 0
    if family == 6 or (packet.version == 3 and checksum is ChecksumForm.PSEUDO_HEADER):
        pseudo = _pseudo_header_sum(source, destination, _HEADER + len(tail))
    return head + _checksum(_sum(head + b"\0\0" + tail) + pseudo) + tail


def _interval_field(packet: Packet) -> bytes:
    """Return octets 4 and 5: Auth Type and Adver Int, or four reserved zero bits and twelve of centiseconds."""
    if packet.version == 2:
        seconds, rest = divmod(packet.interval, SECOND)
        if rest or not 1 <= seconds <= 255:
            raise ValueError("a version 2 interval is 1 to 255 whole seconds (RFC 3768 5.3.7)")
        return bytes((AUTH_NONE if packet.auth is None else AUTH_PASS, seconds))
    centiseconds, rest = divmod(packet.interval, CENTISECOND)
    if rest or not 1 <= centiseconds <= MAX_INTERVAL_CS:
        raise ValueError("a version 3 interval is 1 to 4095 whole centiseconds (RFC 9568 5.2.7)")
    return centiseconds.to_bytes(2)


def _auth_data(auth: bytes | None) -> bytes:
    return _NO_AUTH_DATA if auth is None else auth[:_AUTH_DATA].ljust(_AUTH_DATA, b"\0")


def decode(
    data: bytes,
    *,
    family: Literal[4, 6],
    source: IPAddress,
    destination: IPAddress,
    ttl: int,
    expectations: Expectations,
) -> Packet | Discard:
    """Check one VRRP message against every rule and return it, or the reason it is dropped. Total.

    ``data`` is the IP payload, ``ttl`` the TTL or hop limit it arrived with; ``family`` is that of the carrying
    packet: "IP version of the carrying packet" decides the width of addresses, nothing inside the message.
    """
    received = _Received(data, family, source, destination, ttl, expectations)
    for rung in _LADDER:
        reason = rung(received)
        if reason is not None:
            return reason
    version = expectations.version
    return Packet(
        version=version,
        vrid=data[1],
        priority=data[2],
        interval=received.interval,
        addresses=received.addresses,
        auth=data[-_AUTH_DATA:] if version == 2 and data[4] == AUTH_PASS else None,
        remarks=tuple(received.remarks),
    )


@dataclass(slots=True)
class _Received:
    """One message on its way down the ladder; the last three fields are filled in by the rungs it passes."""

    data: bytes
    family: Literal[4, 6]
    source: IPAddress
    destination: IPAddress
    ttl: int
    expected: Expectations
    interval: Duration = 0
    addresses: tuple[IPAddress, ...] = ()
    remarks: list[Remark] = field(default_factory=list)


def _check_ttl(r: _Received) -> Discard | None:
    # RFC 9568 7.1: "MUST verify that the IPv4 TTL/IPv6 Hop Limit is 255." Unicast is outside the RFCs: keepalived's
    # IPv6 adverts arrive with 64 there.
    return Discard.TTL if r.ttl != _HOP_LIMIT and r.expected.peers is None else None


def _check_source(r: _Received) -> Discard | None:
    source, expected = r.source, r.expected
    if source in expected.own_addresses or source in expected.addresses:
        return Discard.OWN_SOURCE  # a loop, or a spoof
    if source.is_unspecified or source.is_loopback or source.is_multicast:
        return Discard.SOURCE
    if expected.peers and source not in expected.peers:
        return Discard.NOT_A_PEER
    return None


def _check_destination(r: _Received) -> Discard | None:
    return Discard.DESTINATION if r.destination != r.expected.destination else None


def _check_header(r: _Received) -> Discard | None:
    data, expected = r.data, r.expected
    # RFC 9568 7.1: "MUST verify that the received packet contains the complete VRRP packet".
    if len(data) < _HEADER:
        return Discard.LENGTH
    # RFC 9568 7.1: "MUST verify the VRRP version". Version 2 is IPv4 only.
    if data[0] >> 4 != expected.version or (expected.version == 2 and r.family != 4):
        return Discard.VERSION
    # RFC 9568 5.2.2: "A packet with unknown type MUST be discarded."
    if data[0] & 0x0F != _ADVERTISEMENT:
        return Discard.TYPE
    # RFC 9568 7.1: "MUST verify that the VRID is configured on the receiving interface".
    return Discard.VRID if data[1] != expected.vrid else None


def _check_length(r: _Received) -> Discard | None:
    # RFC 9568 5.2.5: "If the received count is 0, the VRRP advertisement MUST be ignored." 3768 has no minimum.
    count, version = r.data[3], r.expected.version
    if count == 0 and version == 3:
        return Discard.COUNT_ZERO
    # The exact length, not only "complete": version 2's authentication data keeps CARP (also protocol 112, also
    # 224.0.0.18) out, and a version 3 message with octets to spare is not one.
    width = 4 if r.family == 4 else 16
    length = _HEADER + count * width + (_AUTH_DATA if version == 2 else 0)
    return Discard.LENGTH if len(r.data) != length else None


def _check_checksum(r: _Received) -> Discard | None:
    # RFC 9568 7.1: "MUST verify the VRRP checksum." A right sum folds to ffff, which is 0 modulo ffff.
    total = _sum(r.data)
    alone = total % 0xFFFF == 0
    if r.expected.version == 2:
        return None if alone else Discard.CHECKSUM
    pseudo = (total + _pseudo_header_sum(r.source, r.destination, len(r.data))) % 0xFFFF == 0
    if r.family == 6:
        return None if pseudo else Discard.CHECKSUM
    if pseudo and ChecksumForm.PSEUDO_HEADER in r.expected.checksums_accepted:
        form = ChecksumForm.PSEUDO_HEADER
    elif alone and ChecksumForm.MESSAGE_ONLY in r.expected.checksums_accepted:
        form = ChecksumForm.MESSAGE_ONLY
    else:
        return Discard.CHECKSUM
    if form is not r.expected.checksum_sent:
        r.remarks.append(Remark.CHECKSUM_FORM)  # that peer may well drop ours
    return None


def _check_auth(r: _Received) -> Discard | None:
    # RFC 3768 7.1: "MUST verify that the Auth Type matches the locally configured authentication method".
    if r.expected.version == 3:
        return None
    if r.data[4] != (AUTH_NONE if r.expected.auth is None else AUTH_PASS):
        return Discard.AUTH_TYPE
    # RFC 3768 5.3.6.1: the data "SHOULD be set to zero on transmission and ignored on reception".
    if r.expected.auth is None:
        return None
    genuine = hmac.compare_digest(r.data[-_AUTH_DATA:], _auth_data(r.expected.auth))
    return None if genuine else Discard.AUTH_FAIL


def _check_interval(r: _Received) -> Discard | None:
    if r.expected.version == 2:
        # RFC 3768 7.1: "MUST verify that the Adver Interval in the packet is the same as the locally configured".
        r.interval = r.data[5] * SECOND
        return Discard.INTERVAL if r.interval != r.expected.interval else None
    # RFC 9568 5.2.6: the four reserved bits are "ignored on reception". Erratum 8301: 0 is no interval.
    r.interval = (int.from_bytes(r.data[4:6]) & MAX_INTERVAL_CS) * CENTISECOND
    if r.interval == 0:
        return Discard.INTERVAL_ZERO
    # RFC 9568 7.1: a different interval SHOULD be logged; it is learned, not dropped.
    if r.interval != r.expected.interval:
        r.remarks.append(Remark.INTERVAL)
    return None


def _check_addresses(r: _Received) -> Discard | None:
    data, expected = r.data, r.expected
    r.addresses = _addresses(data, r.family)
    # RFC 9568 5.2.9, erratum 8300: the first IPv6 address is link-local. keepalived can send other orders.
    if r.family == 6 and not r.addresses[0].is_link_local:
        if expected.strict:
            return Discard.NOT_LINK_LOCAL
        r.remarks.append(Remark.NOT_LINK_LOCAL)
    if r.addresses == expected.addresses or sorted(map(int, r.addresses)) == sorted(
        map(int, expected.addresses)
    ):
        return None
    # RFC 3768 7.1: MAY check the list; if it differs and "the packet was not generated by the address owner
    # (Priority does not equal 255)", MUST drop. RFC 9568 7.1: log, and process the packet.
    if expected.version == 2 and expected.check_addresses and data[2] != OWNER_PRIORITY:
        return Discard.ADDRESS_LIST
    r.remarks.append(Remark.ADDRESS_LIST)
    return None


_Rung: TypeAlias = Callable[[_Received], Discard | None]
_LADDER: tuple[_Rung, ...] = (
    _check_ttl,
    _check_source,
    _check_destination,
    _check_header,
    _check_length,
    _check_checksum,
    _check_auth,
    _check_interval,
    _check_addresses,
)


def _addresses(data: bytes, family: Literal[4, 6]) -> tuple[IPAddress, ...]:
    end = _HEADER + data[3] * (4 if family == 4 else 16)
    if family == 4:
        return tuple(IPv4Address(data[at : at + 4]) for at in range(_HEADER, end, 4))
    return tuple(IPv6Address(data[at : at + 16]) for at in range(_HEADER, end, 16))


def _sum(data: bytes) -> int:
    """Return a number congruent to the sum of ``data``'s 16-bit words modulo ffff (``data`` has an even length).

    One's complement addition *is* addition modulo 2^16 - 1, and 2^16 is 1 there: so the big integer will do.
    """
    return int.from_bytes(data)


def _pseudo_header_sum(source: IPAddress, destination: IPAddress, length: int) -> int:
    """Return the sum of the pseudo-header (RFC 793 3.1, RFC 8200 8.1): addresses, protocol, length."""
    return int(source) + int(destination) + IP_PROTOCOL + length


def _checksum(total: int) -> bytes:
    """Return the checksum field for a sum over non-zero data; a computed 0000 is sent as 0000 (RFC 1071)."""
    return (0xFFFF - (total % 0xFFFF or 0xFFFF)).to_bytes(2)
