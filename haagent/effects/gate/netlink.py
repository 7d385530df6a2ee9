"""Just enough netlink for the gate: attributes, messages, one blocking request socket.

pyroute2 serves the rest of haagent; here a renewal must cost tens of microseconds, run inside any event loop, and
put several nftables messages into one transaction, which pyroute2 0.9 does not do. Nothing is retried; a kernel
error becomes OSError.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, CREATE = 0x100, 0x400
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSG_HEADER = struct.Struct("=IHHII")
_ATTR_HEADER = struct.Struct("=HH")
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_SO_SNDBUFFORCE = 32
_SNDBUF = 8 << 20
_TIMEOUT = 5.0  # seconds; the kernel answers before send returns, so this only bounds a bug


def attr(kind: int, data: bytes) -> bytes:
    """Return one attribute, padded."""
    return _ATTR_HEADER.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def text(kind: int, value: str) -> bytes:
    """Return a NUL-terminated text attribute."""
    return attr(kind, value.encode() + b"\0")


def nested(kind: int, *children: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attr(kind | _NESTED, b"".join(children))


def big32(kind: int, value: int) -> bytes:
    """Return a 32-bit attribute in network order, as nftables wants numbers."""
    return attr(kind, struct.pack(">I", value & 0xFFFFFFFF))


def big64(kind: int, value: int) -> bytes:
    """Return a 64-bit attribute in network order."""
    return attr(kind, struct.pack(">Q", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in ``data`` by type; of repeated ones the last."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of every complete attribute in ``data``."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTR_HEADER.unpack_from(data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return one netlink message."""
    return _NLMSG_HEADER.pack(16 + len(payload), kind, flags, sequence, 0) + payload


class NetlinkSocket:
    """One request at a time to one netlink family (``socket.NETLINK_ROUTE``, 12 for netfilter)."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._socket.settimeout(_TIMEOUT)
        self._sequence = 0
        with suppress(
            OSError
        ):  # a large ruleset is one message burst; without the right it only has to be smaller
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SNDBUF)

    def close(self) -> None:
        self._socket.close()

    def next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        return self._sequence

    def request(self, kind: int, flags: int, payload: bytes) -> None:
        """Send one message and wait for its acknowledgement. Raises OSError."""
        sequence = self.next_sequence()
        self.transact(message(kind, flags | REQUEST | ACK, sequence, payload), last=sequence)

    def transact(self, data: bytes, *, last: int) -> None:
        """Send messages of which only that with sequence ``last`` asks for an acknowledgement. Raises OSError."""
        self._drain()
        self._socket.send(data)
        for kind, sequence, payload in self._answers():
            if kind != _NLMSG_ERROR:
                continue
            code = -struct.unpack_from("=i", payload)[0]
            if code:
                raise OSError(code, os.strerror(code))
            if sequence == last:
                return

    def query(self, kind: int, payload: bytes, *, dump: bool = True) -> list[bytes]:
        """Return the payloads of the answers to one question. Raises OSError."""
        sequence = self.next_sequence()
        flags = REQUEST | (DUMP if dump else ACK)
        self._drain()
        self._socket.send(message(kind, flags, sequence, payload))
        found: list[bytes] = []
        for answer, answered, data in self._answers():
            if answered != sequence:
                continue
            if answer == _NLMSG_DONE:
                break
            if answer == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", data)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                break
            found.append(data)
        return found

    def _drain(self) -> None:
        """Throw away answers nobody waits for any more (the rest after an error)."""
        self._socket.setblocking(False)  # a timeout would wait before it looks, MSG_DONTWAIT or not
        with suppress(OSError):
            while self._socket.recv(1 << 16):
                pass
        self._socket.settimeout(_TIMEOUT)

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (type, sequence, payload); the caller stops when it has seen enough."""
        while True:
            data, at = self._socket.recv(1 << 18), 0
            while at + 16 <= len(data):
                length, kind, _, sequence, _ = _NLMSG_HEADER.unpack_from(data, at)
                if length < 16:
                    break
                yield kind, sequence, data[at + 16 : at + length]
                at += (length + 3) & ~3
