"""Sends VRRP adverts for every instance of the node.

Promises: ``send`` hands one advert per destination to the kernel at once, or returns what the kernel said; it
never raises for the host's refusals, never blocks and never logs. An advert is encoded once per instance and
priority and kept until the endpoint changes.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from haagent.core.events import IPAddress
from haagent.core.packet import encode
from haagent.effects import raw
from haagent.effects.endpoint import Endpoint
from haagent.errors import EffectError


class _Datagram(NamedTuple):
    socket: socket.socket
    payload: bytes
    ancillary: tuple[tuple[int, int, bytes], ...]
    flags: int
    address: tuple[str, int] | tuple[str, int, int, int]


class Sender:
    """The sending sockets of the node. ``counters`` counts ``sent`` and refusals by errno name."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[raw.Family, bool], socket.socket] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._datagrams: dict[tuple[str, int], tuple[_Datagram, ...]] = {}
        self.counters: Counter[str] = Counter()
        self.fates: Counter[tuple[str, str]] = Counter()  # by instance: sent, sent-zero

    def speak_for(self, endpoints: Iterable[Endpoint]) -> None:
        """Send for exactly these endpoints from now on. Raises EffectError if a socket is refused."""
        before = self._endpoints
        self._endpoints = {endpoint.instance.name: endpoint for endpoint in endpoints}
        kept = {name for name, endpoint in self._endpoints.items() if before.get(name) is endpoint}
        self._datagrams = {key: value for key, value in self._datagrams.items() if key[0] in kept}
        for endpoint in self._endpoints.values():
            self._socket(endpoint)

    def send(self, instance: str, priority: int) -> EffectError | None:
        """Send one advert of ``instance`` to its group or to each peer; return the first refusal, or None.

        A closed gate answers ENOBUFS. One peer that cannot be reached does not keep the advert from the others.
        """
        datagrams = self._datagrams.get((instance, priority))
        if datagrams is None:
            try:
                datagrams = self._prepare(instance, priority)
            except EffectError as error:
                self.counters["unprepared"] += 1
                return error
        refusal: EffectError | None = None
        for datagram in datagrams:
            try:
                datagram.socket.sendmsg(
                    (datagram.payload,), datagram.ancillary, datagram.flags, datagram.address
                )
                self.counters["sent"] += 1
                self.fates[instance, "sent" if priority else "sent-zero"] += 1
            except OSError as error:
                refusal = refusal or self._refused(instance, datagram, error)
        return refusal

    def close(self) -> None:
        """Close every socket. Idempotent."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._endpoints.clear()
        self._datagrams.clear()

    def _refused(self, instance: str, datagram: _Datagram, error: OSError) -> EffectError:
        self.counters[errno.errorcode.get(error.errno or 0, "unknown")] += 1
        return EffectError(f"cannot send an advert of {instance} to {datagram.address[0]}: {error}")

    def _socket(self, endpoint: Endpoint) -> socket.socket:
        kind = (endpoint.instance.family, endpoint.group is not None)
        if kind not in self._sockets:
            self._sockets[kind] = raw.open_sending(kind[0], multicast=kind[1])
        return self._sockets[kind]

    def _prepare(self, instance: str, priority: int) -> tuple[_Datagram, ...]:
        endpoint = self._endpoints.get(instance)
        if endpoint is None:
            raise EffectError(f"cannot send an advert of {instance}: there is no such instance")
        if not endpoint.ifindex:
            raise EffectError(f"cannot send: interface {endpoint.instance.interface} does not exist")
        if endpoint.source is None:
            raise EffectError(
                f"cannot send: interface {endpoint.instance.interface} has no usable IPv{endpoint.instance.family} address"
            )
        unicast = endpoint.instance.unicast
        destinations = (endpoint.group,) if endpoint.group else (unicast.peers if unicast else ())
        datagrams = tuple(
            self._datagram(endpoint, endpoint.source, destination, priority) for destination in destinations
        )
        self._datagrams[instance, priority] = datagrams
        return datagrams

    def _datagram(
        self, endpoint: Endpoint, source: IPAddress, destination: IPAddress, priority: int
    ) -> _Datagram:
        try:
            payload = encode(
                endpoint.packet(priority),
                source=source,
                destination=destination,
                checksum=endpoint.checksum,
            )
        except ValueError as error:
            raise EffectError(f"cannot encode an advert of {endpoint.instance.name}: {error}") from error
        unicast = endpoint.instance.unicast
        ttl = 255 if unicast is None else unicast.ttl
        # Multicast leaves by the configured interface and no other; where a peer lives is for the routing table.
        pinned = endpoint.group is not None or destination.is_link_local
        ifindex = endpoint.leaves_by(priority) if pinned else 0
        flags = socket.MSG_DONTROUTE if endpoint.group is not None else 0
        ancillary = _ancillary(source, ifindex, ttl)
        address: tuple[str, int] | tuple[str, int, int, int] = (str(destination), 0)
        if endpoint.instance.family == 6:
            address = (str(destination), 0, 0, ifindex)
        return _Datagram(self._socket(endpoint), payload, ancillary, flags, address)


def _ancillary(source: IPAddress, ifindex: int, ttl: int) -> tuple[tuple[int, int, bytes], ...]:
    """Return what pins one datagram's source, interface and hop limit."""
    if source.version == 4:
        return (
            (socket.IPPROTO_IP, raw.IP_PKTINFO, struct.pack("=i4s4x", ifindex, source.packed)),
            (socket.IPPROTO_IP, raw.IP_TTL, struct.pack("=i", ttl)),
        )
    return (
        (socket.IPPROTO_IPV6, raw.IPV6_PKTINFO, struct.pack("=16si", source.packed, ifindex)),
        (socket.IPPROTO_IPV6, raw.IPV6_HOPLIMIT, struct.pack("=i", ttl)),
    )
