"""Raw IP sockets of protocol 112, and the multicast memberships that feed them.

Promises: sockets come out non-blocking and fully set up, or EffectError says what was refused.

One socket per family receives for every instance. It joins nothing itself: Linux hands multicast to a raw
socket as soon as anybody on the host joined, and limits the memberships of one IPv4 socket to 20, so the
memberships are held by idle UDP sockets, as many as it takes.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple, TypeAlias

from haagent.core.events import IPAddress
from haagent.core.packet import IP_PROTOCOL
from haagent.effects import packet_filter
from haagent.errors import EffectError

Family: TypeAlias = Literal[4, 6]

# From linux/in.h and linux/in6.h; not all are in the socket module before Python 3.14.
IP_TTL = 2
IP_PKTINFO = 8
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
IP_RECVERR = 11
IPV6_RECVERR = 25
IPV6_PKTINFO = 50
IPV6_HOPLIMIT = 52
IPV6_FREEBIND = 78
_SO_RCVBUFFORCE = 33

_PRECEDENCE = 0xC0  # "internetwork control", as every VRRP router sends
_RECEIVE_BUFFER = 4 << 20  # a second of 250 instances at 10 ms


def _open(family: Family, kind: int, protocol: int) -> socket.socket:
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        return socket.socket(domain, kind | socket.SOCK_NONBLOCK, protocol)
    except PermissionError as error:
        raise EffectError("cannot open a raw socket: CAP_NET_RAW is missing") from error
    except OSError as error:
        raise EffectError(f"cannot open an IPv{family} socket: {error}") from error


def open_receiving(family: Family) -> socket.socket:
    """Return a socket that gets every VRRP packet of ``family``, with ancillary interface, destination, hop limit.

    IPv4 data starts at the IP header (which holds the TTL), IPv6 data at the VRRP header.
    """
    sock = _open(family, socket.SOCK_RAW, IP_PROTOCOL)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    if family == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    return sock


def open_sending(family: Family, *, multicast: bool) -> socket.socket:
    """Return a socket to send adverts with; interface, source and hop limit travel with each datagram.

    The multicast one is told when a packet was dropped on its way out (a closed gate answers ENOBUFS), which
    Linux hides from others; a unicast one would also be told of every ICMP error, late, so it is not.
    """
    sock = _open(family, socket.SOCK_RAW, IP_PROTOCOL)
    packet_filter.attach(sock, packet_filter.DROP_ALL)
    if family == 4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _PRECEDENCE)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)  # DF off, as keepalived
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, int(multicast))
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _PRECEDENCE)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        # A virtual MAC's interface sends from the base's link-local address and has none of its own.
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, int(multicast))
    return sock


class Membership(NamedTuple):
    """One multicast group on one interface."""

    group: IPAddress
    ifindex: int


class Memberships:
    """Holds multicast groups joined, per interface."""

    def __init__(self) -> None:
        self._holders: list[tuple[Family, socket.socket]] = []
        self._joined: dict[Membership, socket.socket] = {}

    def hold(self, wanted: AbstractSet[Membership]) -> None:
        """Join and leave until exactly ``wanted`` is joined. Raises EffectError.

        An interface that is gone needs no leaving, and one that vanishes meanwhile no joining.
        """
        for membership in self._joined.keys() - wanted:
            self._leave(membership)
        for membership in sorted(wanted - self._joined.keys(), key=str):
            self._join(membership)

    def close(self) -> None:
        """Leave everything. Idempotent."""
        for _, holder in self._holders:
            holder.close()
        self._holders.clear()
        self._joined.clear()

    def _join(self, membership: Membership) -> None:
        family: Family = 4 if membership.group.version == 4 else 6
        for held, holder in self._holders:
            if held == family and self._try(holder, membership):
                return
        holder = _open(family, socket.SOCK_DGRAM, 0)
        self._holders.append((family, holder))
        if not self._try(holder, membership):
            raise EffectError(
                f"cannot join {membership.group}: net.ipv4.igmp_max_memberships or optmem_max is too low"
            )

    def _try(self, holder: socket.socket, membership: Membership) -> bool:
        """Return False if this holder is full."""
        try:
            _set_membership(holder, membership, join=True)
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                return False
            if error.errno == errno.ENODEV:
                return True  # gone again; it is joined when it comes back under a new index
            raise EffectError(
                f"cannot join {membership.group} on interface {membership.ifindex}: {error}"
            ) from error
        self._joined[membership] = holder
        return True

    def _leave(self, membership: Membership) -> None:
        holder = self._joined.pop(membership)
        try:
            _set_membership(holder, membership, join=False)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise EffectError(f"cannot leave {membership.group}: {error}") from error


def _set_membership(holder: socket.socket, membership: Membership, *, join: bool) -> None:
    group, ifindex = membership
    if group.version == 4:
        option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
        holder.setsockopt(socket.IPPROTO_IP, option, struct.pack("=4s4xi", group.packed, ifindex))
    else:
        option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
        holder.setsockopt(socket.IPPROTO_IPV6, option, struct.pack("=16sI", group.packed, ifindex))
