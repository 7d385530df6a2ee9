"""Ordinary clients of the virtual address: they use the kernel's ARP cache, as real ones do.

A stale cache entry, a dead HAProxy and a node that has let go all look the same here: no answer. Each request
is recorded once, with the node that answered it, or None when that took longer than ``LATE``.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from haagent.core.units import MILLISECOND, Duration, Instant
from haagent.lab.namespaces import inside
from haagent.lab.observations import Exchange, Record
from haagent.lab.topology import Node

LATE = 100 * MILLISECOND  # an answer a client would no longer wait for
UDP_PORT = 9007
HTTP_PORT = 80


class UdpProbe:
    """An ordinary client: a datagram every few ms through its own ARP cache; the answer names the node."""

    def __init__(
        self, client: Node, vip: IPv4Address | IPv6Address, record: Record, period: Duration
    ) -> None:
        self.period, self._record = period, record
        self._number = 0
        self._open: dict[int, Instant] = {}
        family = socket.AF_INET if vip.version == 4 else socket.AF_INET6
        with inside(client.namespace):
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((str(vip), UDP_PORT))

    def attach(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._socket, selectors.EVENT_READ, self)

    def close(self) -> None:
        self._socket.close()

    def tick(self, now: Instant) -> None:
        self.readable(self._socket, now)
        self._expire(now)
        self._number += 1
        self._open[self._number] = time.monotonic_ns()
        with contextlib.suppress(OSError):  # unreachable or refused: a probe without an answer
            self._socket.send(struct.pack("!Q", self._number))

    def readable(self, ready: socket.socket, now: Instant) -> None:
        while True:
            try:
                data = ready.recv(256)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram; each is reported once
            self._answered(data)

    def _answered(self, data: bytes) -> None:
        if len(data) < 8:
            return
        sent = self._open.pop(int.from_bytes(data[:8], "big"), None)
        if sent is not None:
            took = time.monotonic_ns() - sent
            node = data[8:].decode(errors="replace") if took <= LATE else None
            self._record.exchanges.append(Exchange("udp", sent, took, node))

    def _expire(self, now: Instant) -> None:
        while self._open:
            number, sent = next(iter(self._open.items()))
            if now - sent <= LATE:
                return
            del self._open[number]
            self._record.exchanges.append(Exchange("udp", sent, now - sent, None))


@dataclass
class _Request:
    sent: Instant
    asked: bool = False
    reply: bytes = b""


class HttpProbe:
    """A client that opens a new connection for every request; HAProxy's header names the node."""

    def __init__(self, client: Node, vip: IPv4Address, record: Record, period: Duration) -> None:
        self.period, self._record, self._client, self._vip = period, record, client, vip
        self._requests: dict[socket.socket, _Request] = {}
        self._selector: selectors.BaseSelector | None = None

    def attach(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector  # every request is a socket of its own

    def tick(self, now: Instant) -> None:
        for connection, request in tuple(self._requests.items()):
            if now - request.sent > LATE:
                self._finish(connection, None)
        with inside(self._client.namespace):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        self._requests[connection] = _Request(time.monotonic_ns())
        if connection.connect_ex((str(self._vip), HTTP_PORT)) not in (0, errno.EINPROGRESS):
            self._finish(connection, None)
        elif self._selector is not None:
            self._selector.register(connection, selectors.EVENT_WRITE, self)

    def readable(self, ready: socket.socket, now: Instant) -> None:
        request = self._requests.get(ready)
        if request is None:
            return
        try:
            if not request.asked:
                self._ask(ready, request)
            else:
                self._read(ready, request)
        except OSError:
            self._finish(ready, None)

    def _ask(self, connection: socket.socket, request: _Request) -> None:
        connection.send(b"GET / HTTP/1.0\r\nHost: vip\r\n\r\n")
        request.asked = True
        if self._selector is not None:
            self._selector.modify(connection, selectors.EVENT_READ, self)

    def _read(self, connection: socket.socket, request: _Request) -> None:
        data = connection.recv(4096)
        request.reply += data
        if not data:
            self._finish(connection, node_of_reply(request.reply))

    def _finish(self, connection: socket.socket, node: str | None) -> None:
        request = self._requests.pop(connection)
        if self._selector is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(connection)
        connection.close()
        took = time.monotonic_ns() - request.sent
        self._record.exchanges.append(Exchange("http", request.sent, took, node))

    def close(self) -> None:
        """Give up the requests still open; they are not recorded as failures."""
        for connection in self._requests:
            connection.close()
        self._requests.clear()


def node_of_reply(reply: bytes) -> str | None:
    """Return the node a 200 reply names in its X-Served-By header, else None."""
    head = reply.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    if " 200 " not in f"{head[0]} ":
        return None
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "x-served-by":
            return value.strip()
    return None
