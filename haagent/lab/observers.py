"""Observers that stand outside the nodes: one thread, sockets in the lab's namespaces.

Promises to see what a client and the wire see, never to ask a daemon. They may not change the nodes: the address
watchers only listen to netlink. Answers are read before the next question is asked, so an observer that was
itself delayed does not see two owners where there were none.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from haagent.core.units import MILLISECOND, Duration, Instant
from haagent.lab import probes
from haagent.lab.clients import HttpProbe, UdpProbe
from haagent.lab.namespaces import LabError, inside
from haagent.lab.observations import AddressChange, Advert, Answer, Record, Round
from haagent.lab.timekeeping import keeping_time
from haagent.lab.topology import CLIENT4, CLIENT6, Node, Topology

ETH_P_ALL = 3
PACKET_OUTGOING = 4
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTMGRP_ADDRESSES = 0x10 | 0x100


@dataclass(frozen=True, slots=True)
class Pace:
    """How often each observer asks."""

    round: Duration = 20 * MILLISECOND
    udp: Duration = 5 * MILLISECOND
    http: Duration = 50 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Watch:
    """Addresses that one node at a time may have in ``network``, and where its client asks for them from.

    ``askers`` is the first of 32 addresses for ARP questions, None where the network has no room for them: then the echo
    probe alone is judged, which is stricter. Without ``echo`` IPv4 is asked for by ARP alone.
    """

    addresses: tuple[IPv4Address | IPv6Address, ...]
    network: str = "lan"
    client4: IPv4Address = CLIENT4
    client6: IPv6Address = CLIENT6
    askers: IPv4Address | None = probes.SOURCE4
    echo: bool = True

    def questions(self, mac: bytes, number: int) -> list[bytes]:
        """Return the frames of round ``number``, from the client's ``mac``."""
        return [frame for address in self.addresses for frame in self._ask(mac, address, number)]

    def _ask(
        self, mac: bytes, address: IPv4Address | IPv6Address, number: int
    ) -> tuple[bytes, ...] | list[bytes]:
        if isinstance(address, IPv4Address):
            arp = [] if self.askers is None else [probes.arp_request(mac, address, number, self.askers)]
            return [*arp, probes.echo_request(mac, self.client4, address, number)] if self.echo else arp
        solicitation = probes.neighbour_solicitation(mac, address, number)
        return [solicitation, probes.echo6_request(mac, self.client6, address, number)]


class Source(Protocol):
    """One observer: it registers its sockets, is called when one is readable, and every ``period`` (0: never)."""

    period: Duration

    def attach(self, selector: selectors.BaseSelector) -> None: ...
    def readable(self, ready: socket.socket, now: Instant) -> None: ...
    def tick(self, now: Instant) -> None: ...
    def close(self) -> None: ...


class WireProbe:
    """Asks all nodes at once who has the addresses, and hears adverts."""

    def __init__(self, topology: Topology, watch: Watch, record: Record, period: Duration) -> None:
        self.period, self._record, self._watch = period, record, watch
        self._names, self._number = topology.by_mac(), 0
        wire = topology.client.wire(watch.network)
        if wire is None:
            raise LabError(f"the client has no wire in {watch.network}")
        self._mac = wire.mac
        with inside(topology.client.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.bind((wire.interface, 0))
        self._socket.setblocking(False)

    def attach(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._socket, selectors.EVENT_READ, self)

    def close(self) -> None:
        self._socket.close()

    def tick(self, now: Instant) -> None:
        self.readable(self._socket, now)
        self._number += 1
        self._record.rounds.append(Round(self._number, time.monotonic_ns()))
        for frame in self._watch.questions(self._mac, self._number):
            with contextlib.suppress(OSError):
                self._socket.send(frame)

    def readable(self, ready: socket.socket, now: Instant) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, origin = ready.recvfrom(2048)
                if origin[2] != PACKET_OUTGOING:
                    self._take(frame, ready)

    def _node(self, seen: probes.SeenAnswer | probes.SeenAdvert, ready: socket.socket) -> str | None:
        """Return who sent it; None: no node."""
        return self._names.get(seen.mac)

    def _take(self, frame: bytes, ready: socket.socket) -> None:
        seen, at = probes.decode(frame, self._watch.askers or probes.SOURCE4), time.monotonic_ns()
        if seen is None or (node := self._node(seen, ready)) is None:
            return
        if isinstance(seen, probes.SeenAdvert):
            self._record.adverts.append(Advert(at, node, seen.version, seen.vrid, seen.priority))
        elif seen.address in self._watch.addresses:
            number = self._number - (self._number - seen.round) % seen.modulus
            self._record.answers.append(Answer(number, seen.probe, node, at))


class AddressWatch:
    """Listens to each node's kernel for addresses coming and going; ``own`` None watches all of them.

    An address added again while it is there (a lifetime renewed) is no change.
    """

    period: Duration = 0

    def __init__(self, nodes: Sequence[Node], record: Record, own: Sequence[str] | None) -> None:
        self._record, self._own = record, None if own is None else frozenset(own)
        self._names: dict[socket.socket, str] = {}
        self._present: set[tuple[str, str]] = set()
        for node in nodes:
            with inside(node.namespace):
                monitor = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            monitor.bind((0, RTMGRP_ADDRESSES))
            monitor.setblocking(False)
            self._names[monitor] = node.name

    def attach(self, selector: selectors.BaseSelector) -> None:
        for monitor in self._names:
            selector.register(monitor, selectors.EVENT_READ, self)

    def close(self) -> None:
        for monitor in self._names:
            monitor.close()

    def tick(self, now: Instant) -> None:
        """Nothing: netlink speaks by itself."""

    def readable(self, ready: socket.socket, now: Instant) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                for address, present in decode_addresses(ready.recv(1 << 16)):
                    self._take(self._names[ready], address, present=present)

    def _take(self, node: str, address: str, *, present: bool) -> None:
        if self._own is not None and address not in self._own:
            return
        if present and (node, address) in self._present:
            return
        (self._present.add if present else self._present.discard)((node, address))
        self._record.addresses.append(AddressChange(time.monotonic_ns(), node, address, present))


def decode_addresses(data: bytes) -> list[tuple[str, bool]]:
    """Read a netlink buffer: (address, True when added) per RTM_NEWADDR or RTM_DELADDR."""
    changes = []
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            address = _ifaddr(data[16:length])
            if address:
                changes.append((address, kind == RTM_NEWADDR))
        data = data[max(16, (length + 3) & ~3) :]
    return changes


def _ifaddr(message: bytes) -> str:
    """Return the address of an ifaddrmsg: IFA_LOCAL where there is one, else IFA_ADDRESS."""
    attributes, rest = {}, message[8:]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        attributes[kind] = rest[4:length]
        rest = rest[max(4, (length + 3) & ~3) :]
    packed = attributes.get(2, attributes.get(1, b""))
    return str(ip_address(packed)) if len(packed) in (4, 16) else ""


@dataclass
class Observer:
    """Runs sources in a thread and fills ``record`` and ``others``. Start once, stop once."""

    record: Record
    sources: Sequence[Source]
    others: Sequence[Record] = ()
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def start(self) -> None:
        """Begin to observe."""
        self._thread = threading.Thread(target=self._run, name="lab-observer", daemon=True)
        self._thread.start()

    def stop(self) -> Record:
        """End, close the sockets, and return what was seen. Raises what ended the thread early."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None
        for record in (self.record, *self.others):
            record.end = record.end or time.monotonic_ns()
        if self._error is not None:
            raise self._error
        return self.record

    def owners(self, record: Record | None = None) -> frozenset[str]:
        """Return who answered the last complete round; a hint for waiting, not a verdict."""
        seen = record or self.record
        if len(seen.rounds) < 2:
            return frozenset()
        last = seen.rounds[-1].number - 1
        return frozenset(answer.node for answer in seen.answers[-16:] if answer.round == last)

    def _run(self) -> None:
        with keeping_time(), selectors.DefaultSelector() as selector:
            try:
                self._loop(selector)
            except BaseException as error:
                self._error = error
            finally:
                for source in self.sources:
                    source.close()

    def _loop(self, selector: selectors.BaseSelector) -> None:
        due: list[tuple[Source, Instant]] = []
        for source in self.sources:
            source.attach(selector)
            if source.period:
                due.append((source, time.monotonic_ns()))
        while not self._stop.is_set():
            due = [(source, _tick(source, at)) for source, at in due]
            wait = min((at for _, at in due), default=time.monotonic_ns() + 50 * MILLISECOND)
            for key, _ in selector.select(max(0, wait - time.monotonic_ns()) / 1e9):
                key.data.readable(key.fileobj, time.monotonic_ns())


def _tick(source: Source, at: Instant) -> Instant:
    """Let ``source`` act when it is due; return when it is due next. A missed beat is skipped, not made up."""
    now = time.monotonic_ns()
    if now < at:
        return at
    source.tick(now)
    return max(at + source.period, time.monotonic_ns())


def observe(
    topology: Topology,
    vips: Sequence[IPv4Address | IPv6Address],
    pace: Pace | None = None,
) -> Observer:
    """Start all observers for the cluster's addresses; the first IPv4 one is asked by UDP and HTTP too."""
    pace = pace or Pace()
    names = tuple(node.name for node in topology.nodes)
    record = Record(nodes=names, begin=time.monotonic_ns(), round_period=pace.round)
    sources: list[Source] = [
        WireProbe(topology, Watch(tuple(vips)), record, pace.round),
        AddressWatch(topology.nodes, record, [str(vip) for vip in vips]),
    ]
    first = next((vip for vip in vips if isinstance(vip, IPv4Address)), None)
    if first is not None:
        sources += [
            UdpProbe(topology.client, first, record, pace.udp),
            HttpProbe(topology.client, first, record, pace.http),
        ]
    observer = Observer(record, sources)
    observer.start()
    return observer
