"""Who answers, told by the switch's port: for routers with a virtual MAC, which is the same on every node.

ARP alone is asked. The broadcast echo that the other probe sends also reaches a standby that keeps the address on a device
without carrier, by its own MAC; it would be answered, though no client ever sends there. So this judge is the milder one.
"""

from __future__ import annotations

import errno
import selectors
import socket
from dataclasses import replace
from ipaddress import IPv4Address

from haagent.core.units import Duration, Instant
from haagent.lab.namespaces import LabError, inside
from haagent.lab.observations import Record
from haagent.lab.observers import ETH_P_ALL, Watch, WireProbe
from haagent.lab.probes import SeenAdvert, SeenAnswer
from haagent.lab.topology import Topology


class PortProbe(WireProbe):
    """Asks from the client by ARP, hears what each node sends into the switch. IPv4 only."""

    def __init__(self, topology: Topology, watch: Watch, record: Record, period: Duration) -> None:
        four = tuple(one for one in watch.addresses if isinstance(one, IPv4Address))
        if watch.askers is None or not four:
            raise LabError(
                f"{watch.network}: no IPv4 address, or no 32 free ones to ask from; only ARP is judged here"
            )
        super().__init__(topology, replace(watch, addresses=four, echo=False), record, period)
        self._ports: dict[socket.socket, str] = {}
        for node in topology.nodes:
            if (wire := node.wire(watch.network)) is None:
                continue
            with inside(topology.switch):
                port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
                port.bind((wire.port, 0))
            port.setblocking(False)
            self._ports[port] = node.name

    def attach(self, selector: selectors.BaseSelector) -> None:
        for port in self._ports:
            selector.register(port, selectors.EVENT_READ, self)

    def close(self) -> None:
        super().close()
        for port in self._ports:
            port.close()

    def tick(self, now: Instant) -> None:
        for port in self._ports:
            self.readable(port, now)
        super().tick(now)

    def readable(self, ready: socket.socket, now: Instant) -> None:
        try:
            super().readable(ready, now)
        except OSError as error:
            # said once when a port goes down; it hears again when that is up
            if error.errno != errno.ENETDOWN:
                raise

    def _node(self, seen: SeenAnswer | SeenAdvert, ready: socket.socket) -> str | None:
        return self._ports.get(ready)
