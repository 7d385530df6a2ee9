"""Requests to the kernel's routing netlink: many at once, answered before the call returns.

Promises: ``execute`` performs requests in order and says of each whether the kernel accepted it. The kernel
works on a request inside ``send`` whichever library sends it, so waiting for the answer costs nothing more, and
"in order" needs no queue.

Address requests are written here byte by byte, once per address, and sent again every second to extend their
lifetimes: ten microseconds each, where a general library takes two hundred. Watching is in ``watch``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import TypeAlias

from haagent.config.network_model import VirtualAddress
from haagent.errors import EffectError

# Marks our addresses, where the kernel can (5.18), so that people and we can tell them from others.
ADDRESS_PROTOCOL = 112

RTM_NEWADDR, RTM_DELADDR = 20, 21
_NLMSG_ERROR = 2
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_HEADER = 16
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = (
    1,
    2,
    3,
    4,
    6,
    8,
    11,
)
_IFA_F_NODAD = 0x02
_IFA_F = {"home": 0x10, "mngtmpaddr": 0x100, "noprefixroute": 0x200, "autojoin": 0x400}
_SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255, "universe": 0}
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_CHUNK = 64  # acknowledgements that surely fit into the receive buffer

Request: TypeAlias = bytes


class RequestSocket:
    """A netlink socket for requests. Blocking only as long as the kernel works on them."""

    def __init__(self) -> None:
        """Raises EffectError if the socket is refused."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        except OSError as error:
            raise EffectError(f"cannot open a netlink socket: {error}") from error
        self._sequence = 0

    def execute(self, requests: Sequence[Request]) -> list[int]:
        """Perform the requests in order; return one errno each, 0 for success. Raises EffectError."""
        results: list[int] = []
        try:
            for start in range(0, len(requests), _CHUNK):
                results += self._execute(requests[start : start + _CHUNK])
        except OSError as error:
            raise EffectError(f"netlink does not answer: {error}") from error
        return results

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def _execute(self, requests: Sequence[Request]) -> list[int]:
        first = self._sequence = self._sequence & 0x3FFFFFFF
        self._sequence += len(requests)
        numbered = (
            request[:8] + struct.pack("=I", first + at) + request[12:] for at, request in enumerate(requests)
        )
        self._socket.send(b"".join(numbered))
        results = [errno.EIO] * len(requests)
        missing = len(requests)
        while missing:
            answer = self._socket.recv(65536, socket.MSG_DONTWAIT)
            for sequence, code in _acknowledgements(answer):
                if 0 <= sequence - first < len(requests):
                    results[sequence - first] = code
                    missing -= 1
        return results


def _acknowledgements(data: bytes) -> list[tuple[int, int]]:
    """Return (sequence number, errno) of every acknowledgement in what one recv returned."""
    found = []
    at = 0
    while at + _HEADER + 4 <= len(data):
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data, at)
        if kind == _NLMSG_ERROR:
            found.append((sequence, -struct.unpack_from("=i", data, at + _HEADER)[0]))
        at += max((length + 3) & ~3, _HEADER)
    return found


def add_address(
    ifindex: int, virtual: VirtualAddress, lifetime: int, *, ours: bool = True, renew: bool = True
) -> Request:
    """Return the request that puts an address on an interface, or renews it, for ``lifetime`` whole seconds.

    ``ours`` marks it as one that comes and goes with an instance. Without ``renew`` one that is there stays as it is,
    and the kernel answers EEXIST.

    Note that Linux creates the address if it is not there, whatever the request says. Raises EffectError.
    """
    valid = max(lifetime, 1)
    preferred = valid
    if virtual.preferred_lifetime is not None:
        preferred = min(virtual.preferred_lifetime, valid)
    flags = _IFA_F_NODAD if virtual.address.version == 6 and virtual.nodad else 0
    for name in virtual.flags:
        flags |= _IFA_F[name]
    attributes = _identity(virtual)
    if virtual.label:
        attributes += _attribute(_IFA_LABEL, virtual.label.encode() + b"\0")
    broadcast = _broadcast(virtual)
    if broadcast is not None:
        attributes += _attribute(_IFA_BROADCAST, broadcast.packed)
    attributes += _attribute(_IFA_CACHEINFO, struct.pack("=IIII", preferred, valid, 0, 0))
    attributes += _attribute(_IFA_FLAGS, struct.pack("=I", flags))
    if ours:
        attributes += _attribute(_IFA_PROTO, bytes((ADDRESS_PROTOCOL,)))
    how = _CREATE | (_REPLACE if renew else _EXCLUSIVE)
    return _message(RTM_NEWADDR, how, ifindex, virtual, attributes)


def delete_address(ifindex: int, virtual: VirtualAddress) -> Request:
    """Return the request that takes an address off an interface. Raises EffectError."""
    return _message(RTM_DELADDR, 0, ifindex, virtual, _identity(virtual))


def explain(code: int) -> str:
    """Return an errno of ``execute`` as text for people."""
    return f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"


def _identity(virtual: VirtualAddress) -> bytes:
    try:
        peer = type(virtual.address)(virtual.peer) if virtual.peer else virtual.address
    except ValueError as error:
        raise EffectError(f"the peer of {virtual} is not an address: {virtual.peer}") from error
    return _attribute(_IFA_LOCAL, virtual.address.packed) + _attribute(_IFA_ADDRESS, peer.packed)


def _broadcast(virtual: VirtualAddress) -> IPv4Address | None:
    """Return the broadcast address: "+" is the network with all host bits set, "-" with none, as in ip-address(8)."""
    if virtual.broadcast is None or not isinstance(virtual.address, IPv4Address):
        return None
    host_bits = (1 << 32 - virtual.prefix_length) - 1
    try:
        if virtual.broadcast == "-":
            return IPv4Address(int(virtual.address) & ~host_bits)
        if virtual.broadcast == "+":
            return IPv4Address(int(virtual.address) | host_bits)
        return IPv4Address(virtual.broadcast)
    except ValueError as error:
        raise EffectError(f"the broadcast address of {virtual} is not one: {virtual.broadcast}") from error


def _scope(virtual: VirtualAddress) -> int:
    if virtual.scope is None:
        return _SCOPES["link"] if virtual.address.version == 6 and virtual.address.is_link_local else 0
    if virtual.scope.isdecimal() and int(virtual.scope) < 256:
        return int(virtual.scope)
    if virtual.scope not in _SCOPES:
        raise EffectError(
            f"the scope of {virtual} is {virtual.scope}, accepted are {', '.join(_SCOPES)} and 0-255"
        )
    return _SCOPES[virtual.scope]


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _message(kind: int, flags: int, ifindex: int, virtual: VirtualAddress, attributes: bytes) -> Request:
    family = socket.AF_INET if virtual.address.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, virtual.prefix_length, 0, _scope(virtual), ifindex) + attributes
    return struct.pack("=IHHII", _HEADER + len(body), kind, flags | _REQUEST | _ACK, 0, 0) + body
