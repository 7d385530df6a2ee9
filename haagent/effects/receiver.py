"""Receives VRRP adverts for every instance of the node.

Promises: delivers an ``AdvertisementReceived`` exactly for packets the codec accepts for a configured instance,
in order of arrival; counts everything else, tells of it at a bounded rate, in bounded memory. It decides
nothing about elections.

Adverts repeat: the packet of an undisturbed MASTER is the same bytes, from the same place, thousands of times.
The verdict on a packet depends only on those bytes, the ancillary data (interface, destination, hop limit) and
the endpoint's configuration, so accepted packets are remembered by all of the former and forgotten whenever the
latter changes, and the very same event is delivered again.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address
from typing import TypeAlias

from haagent.core.events import AdvertisementReceived, IPAddress, PacketDiscarded
from haagent.core.packet import Discard, Expectations, Packet, decode, split_ipv4
from haagent.effects import raw
from haagent.effects.endpoint import Endpoint
from haagent.effects.throttle import Throttle

Deliver: TypeAlias = Callable[[AdvertisementReceived | PacketDiscarded], object]
_Hops: TypeAlias = Mapping[IPAddress, tuple[int, int]]
_Target: TypeAlias = tuple[str, Expectations, _Hops]

_BATCH = 256  # packets per wake-up, so that a flood does not starve the timers
_DATA = 8192  # an IPv6 advert of 255 addresses has 4088 octets
_ANCILLARY = 128
_TELL_EVERY = 10.0  # seconds, per instance, source and reason
_UNKNOWN = 1024
_ANY_TTL = (0, 255)


class Receiver:
    """The receiving socket of one family. ``counters`` counts ``accepted`` and every discard by reason."""

    def __init__(self, loop: asyncio.AbstractEventLoop, family: raw.Family, deliver: Deliver) -> None:
        """Raises EffectError if the socket is refused."""
        self._loop, self._family, self._deliver = loop, family, deliver
        self._socket = raw.open_receiving(family)
        self._targets: dict[str, tuple[Endpoint, _Target]] = {}
        self._by_interface: dict[tuple[int, int], _Target] = {}
        self._virtual: set[int] = set()  # interfaces that get copies of other virtual routers' adverts
        self._by_destination: dict[tuple[IPAddress, int], _Target] = {}
        self._known: dict[tuple[object, ...], AdvertisementReceived] = {}
        self._known_limit = 64
        self._throttle = Throttle(_TELL_EVERY)
        self.counters: Counter[str] = Counter()
        self.fates: Counter[tuple[str, str]] = (
            Counter()
        )  # by instance: accepted, priority-zero, discards by reason
        self.unknown_vrids: Counter[tuple[int, int]] = Counter()
        loop.add_reader(self._socket, self._drain_ipv4 if family == 4 else self._drain_ipv6)

    def listen_for(self, endpoints: Iterable[Endpoint]) -> None:
        """Deliver for exactly these endpoints (of this family) from now on."""
        before, self._targets = self._targets, {}
        for endpoint in endpoints:
            name = endpoint.instance.name
            kept = before.get(name)
            if kept is None or kept[0] is not endpoint:
                kept = (endpoint, (name, endpoint.expectations(), endpoint.hops()))
            self._targets[name] = kept
        self._by_interface.clear()
        self._virtual.clear()
        self._by_destination.clear()
        self._known.clear()
        self.unknown_vrids.clear()
        for endpoint, target in self._targets.values():
            self._index(endpoint, target)
        self._known_limit = 64 + 8 * len(self._targets)

    def close(self) -> None:
        """Stop receiving. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _index(self, endpoint: Endpoint, target: _Target) -> None:
        here = (endpoint.ifindex, endpoint.instance.vrid)
        if endpoint.group is not None:
            if endpoint.ifindex:
                self._by_interface[here] = target
            # While it is up, Linux hands frames from our own virtual MAC (a second MASTER's) to that interface alone.
            if endpoint.vmac_ifindex:
                self._by_interface[endpoint.vmac_ifindex, endpoint.instance.vrid] = target
                self._virtual.add(endpoint.vmac_ifindex)
            return
        # Routing may bring a unicast advert in over any interface; its destination says whose it is. The entry by
        # interface is for telling the operator about a peer that sends multicast.
        if endpoint.source is not None:
            self._by_destination[endpoint.source, endpoint.instance.vrid] = target
        if endpoint.ifindex:
            self._by_interface.setdefault(here, target)

    def _drain_ipv4(self) -> None:
        known, deliver, receive = self._known, self._deliver, self._socket.recvmsg
        counters, fates = self.counters, self.fates
        for _ in range(_BATCH):
            try:
                data, ancillary, _flags, _address = receive(_DATA, _ANCILLARY)
            except OSError as error:
                self._stopped(error)
                return
            # All that the verdict depends on: not the datagram's id and header checksum, which keep changing.
            key = (data[12:], data[8:9], data[:1], *ancillary)
            event = known.get(key)
            if event is not None:
                counters["accepted"] += 1
                fates[event.instance, "accepted"] += 1
                deliver(event)
                continue
            split = split_ipv4(data)
            if isinstance(split, Discard):
                counters[split] += 1
                continue
            self._first_seen(key, split, _interface(ancillary))

    def _drain_ipv6(self) -> None:
        known, deliver, receive = self._known, self._deliver, self._socket.recvmsg
        counters, fates = self.counters, self.fates
        for _ in range(_BATCH):
            try:
                data, ancillary, _flags, address = receive(_DATA, _ANCILLARY)
            except OSError as error:
                self._stopped(error)
                return
            key = (data, address, *ancillary)
            event = known.get(key)
            if event is not None:
                counters["accepted"] += 1
                fates[event.instance, "accepted"] += 1
                deliver(event)
                continue
            source = IPv6Address(address[0].partition("%")[0])
            destination, ifindex, hop_limit = _ipv6_facts(ancillary)
            self._first_seen(key, (source, destination, hop_limit, data), ifindex)

    def _stopped(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self.counters["receive-error"] += 1

    def _first_seen(
        self, key: tuple[object, ...], packet: tuple[IPAddress, IPAddress, int, bytes], ifindex: int
    ) -> None:
        source, destination, ttl, payload = packet
        if len(payload) < 2:
            self.counters[Discard.LENGTH] += 1
            return
        vrid = payload[1]
        target = self._by_destination.get((destination, vrid)) or self._by_interface.get((ifindex, vrid))
        if target is None:
            self._unknown(ifindex, vrid)
            return
        instance, expectations, hops = target
        verdict = decode(
            payload,
            family=self._family,
            source=source,
            destination=destination,
            ttl=ttl,
            expectations=expectations,
        )
        least, most = hops.get(source, _ANY_TTL)
        if isinstance(verdict, Discard):
            self._discard(instance, source, verdict)
        elif not least <= ttl <= most:
            self._discard(instance, source, Discard.TTL)
        else:
            self._accept(key, instance, source, verdict)

    def _accept(self, key: tuple[object, ...], instance: str, source: IPAddress, packet: Packet) -> None:
        event = AdvertisementReceived(instance, source, packet.priority, packet.interval, packet.addresses)
        if len(self._known) >= self._known_limit:
            self._known.clear()  # spoofed variety costs parsing again, not memory
        if event.priority:
            self._known[key] = event
        else:
            self.fates[instance, "priority-zero"] += 1  # rare, and counted: never among those known
        self.counters["accepted"] += 1
        self.fates[instance, "accepted"] += 1
        for remark in packet.remarks:
            self.counters[f"remark-{remark}"] += 1
        self._deliver(event)

    def _discard(self, instance: str, source: IPAddress, reason: Discard) -> None:
        self.counters[reason] += 1
        self.fates[instance, reason.value] += 1
        if self._throttle.admit((instance, source, reason), self._loop.time()):
            self._deliver(PacketDiscarded(instance, str(source), reason.value))

    def _unknown(self, ifindex: int, vrid: int) -> None:
        if ifindex in self._virtual:
            return
        self.counters[Discard.VRID] += 1
        if (ifindex, vrid) in self.unknown_vrids or len(self.unknown_vrids) < _UNKNOWN:
            self.unknown_vrids[ifindex, vrid] += 1


_Ancillary: TypeAlias = list[tuple[int, int, bytes]]


def _interface(ancillary: _Ancillary) -> int:
    """Return the index of the interface a packet came in on, from ``struct in_pktinfo``."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == raw.IP_PKTINFO:
            return int.from_bytes(data[:4], sys.byteorder)
    return 0


def _ipv6_facts(ancillary: _Ancillary) -> tuple[IPv6Address, int, int]:
    """Return destination, interface index and hop limit, zeros for what is missing."""
    destination, ifindex, hop_limit = IPv6Address(0), 0, 0
    for level, kind, data in ancillary:
        if level != socket.IPPROTO_IPV6:
            continue
        if kind == raw.IPV6_PKTINFO:
            destination = IPv6Address(data[:16])
            ifindex = int.from_bytes(data[16:20], sys.byteorder)
        elif kind == raw.IPV6_HOPLIMIT:
            hop_limit = int.from_bytes(data, sys.byteorder)
    return destination, ifindex, hop_limit
