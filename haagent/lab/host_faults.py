"""Faults of a node's interfaces and addresses, and of its neighbours on the wire.

As all faults: ``inject`` and ``heal``, and healing what was not injected is no error.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from haagent.core.packet import MULTICAST_GROUP_4, Packet, encode
from haagent.core.units import SECOND, Duration
from haagent.lab.faults import VRRP_MATCHES, PacketFault, PortRule
from haagent.lab.namespaces import LabError, inside, run
from haagent.lab.topology import Node, Topology, Wire

ETH_P_IP, GROUP_MAC = 0x0800, bytes.fromhex("01005e000012")


class InterfaceDown:
    """``ip link set down`` on the node itself: the kernel drops its addresses' neighbours and routes."""

    name = "interface-down"
    description = "its interface set down by hand"

    def __init__(self, node: Node, interface: str) -> None:
        self.target, self._node, self._interface = node.name, node, interface

    def inject(self) -> None:
        run("ip", "-n", self._node.namespace, "link", "set", self._interface, "down")

    def heal(self) -> None:
        run("ip", "-n", self._node.namespace, "link", "set", self._interface, "up")


class Flap:
    """A lan cable pulled and put back, over and over until healed."""

    name = "link-flap"
    description = "lan cable pulled and put back, again and again"

    def __init__(self, topology: Topology, node: Node, period: Duration = SECOND // 2) -> None:
        self.target, self._switch, self._port = node.name, topology.switch, node.lan_port
        self._period = period / SECOND
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def inject(self) -> None:
        self._thread = threading.Thread(target=self._run, name="flap", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for state in ("down", "up"):
                run("ip", "-n", self._switch, "link", "set", self._port, state)
                if self._stop.wait(self._period):
                    return

    def heal(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            run("ip", "-n", self._switch, "link", "set", self._port, "up")


class AddAddress:
    """Somebody adds the virtual address by hand on a node that must not answer for it; removed when healed."""

    name = "add-address"
    description = "virtual address added by hand where it does not belong"

    def __init__(self, node: Node, address: str, device: str) -> None:
        self.target, self._namespace, self._rest = node.name, node.namespace, (address, "dev", device)

    def inject(self) -> None:
        run("ip", "-n", self._namespace, "addr", "add", *self._rest)

    def heal(self) -> None:
        with contextlib.suppress(LabError):  # the agent may have removed it, as it should
            run("ip", "-n", self._namespace, "addr", "del", *self._rest)


def corrupt_adverts(topology: Topology, node: Node) -> PacketFault:
    """Overwrite the priority in half of a node's adverts; their checksums are wrong then."""
    statement = "numgen random mod 2 == 0 @th,16,8 set 255"
    rules = [
        PortRule(port, "from", f"{match} {statement}") for port in node.lan_ports for match in VRRP_MATCHES
    ]
    return PacketFault("corrupt-adverts", node.name, topology.switch, rules, "half of its adverts damaged")


def duplicate(topology: Topology, node: Node) -> PacketFault:
    """Deliver everything a node sends on its lans to the other nodes twice."""
    rules = []
    for wire in node.lans:
        others = [other.wire(wire.network) for other in topology.nodes if other.name != node.name]
        rules += [
            PortRule(wire.port, "from", f'dup to "{other.port}"') for other in others if other is not None
        ]
    return PacketFault("duplicate", node.name, topology.switch, rules, "what it sends arrives twice")


def no_announcements(topology: Topology, addresses: Sequence[IPv4Address | IPv6Address]) -> PacketFault:
    """Lose every gratuitous ARP and unsolicited neighbour advertisement of ``addresses``: clients keep old entries."""
    four = [one for one in addresses if isinstance(one, IPv4Address)]
    lost = [f"arp saddr ip {one} arp daddr ip {one} drop" for one in four]
    lost.append("icmpv6 type nd-neighbor-advert ip6 daddr ff02::1 drop")
    rules = [
        PortRule(port, "from", one) for node in topology.nodes for port in node.lan_ports for one in lost
    ]
    return PacketFault("no-announcements", "all nodes", topology.switch, rules, "gratuitous ARP and NA lost")


def ring(topology: Topology) -> PacketFault:
    """Let every node hear only the one before it, among three or more: no two agree about who is there."""
    nodes = topology.nodes
    rules = []
    for number, node in enumerate(nodes):
        for wire in node.lans:
            heard = nodes[number - 1].wire(wire.network)
            kept = f"ether saddr != {heard.mac.hex(':')}" if heard is not None else ""
            rules += [PortRule(wire.port, "to", f"{match} {kept} drop") for match in VRRP_MATCHES]
    return PacketFault("ring", "all nodes", topology.switch, rules, "each hears adverts of one other only")


class SlowLink:
    """A node's lans and mgmt squeezed to ``rate`` both ways (token bucket): late, and lossy where full."""

    name = "slow-link"
    target = ""

    def __init__(self, topology: Topology, node: Node, rate: str = "256kbit") -> None:
        self.target, self.description = node.name, f"its links squeezed to {rate}/s"
        ports = [*node.lan_ports, node.mgmt_port]
        self._places = [(topology.switch, port) for port in ports]
        self._places += [(node.namespace, wire.interface) for wire in node.lans]
        self._rate = ("tbf", "rate", rate, "burst", "1600", "latency", "300ms")

    def inject(self) -> None:
        for namespace, device in self._places:
            run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", *self._rate)

    def heal(self) -> None:
        for namespace, device in self._places:
            with contextlib.suppress(LabError):
                run("tc", "-n", namespace, "qdisc", "del", "dev", device, "root")


@dataclass(frozen=True, slots=True)
class Rogue:
    """What a foreign router sends: adverts for somebody else's VRID, IPv4 multicast."""

    vrid: int
    version: int
    priority: int
    interval: Duration
    addresses: tuple[IPv4Address, ...]
    auth: bytes | None = None
    damaged: bool = False

    def frame(self, wire: Wire, source: IPv4Address) -> bytes:
        """Return one advert as an Ethernet frame from ``wire``."""
        packet = Packet(
            3 if self.version == 3 else 2, self.vrid, self.priority, self.interval, self.addresses, self.auth
        )
        message = encode(packet, source=source, destination=MULTICAST_GROUP_4)
        if self.damaged:
            message = message[:6] + bytes(2) + message[8:]
        header = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0xC0,
            20 + len(message),
            0,
            0,
            255,
            112,
            0,
            source.packed,
            MULTICAST_GROUP_4.packed,
        )
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]
        return GROUP_MAC + wire.mac + struct.pack("!H", ETH_P_IP) + header + message


class ForeignRouter:
    """Adverts of a router that does not belong here, sent from the client's wire every ``every``."""

    target = "the network"

    def __init__(
        self, name: str, topology: Topology, wire: Wire, rogue: Rogue, *, source: IPv4Address, every: Duration
    ) -> None:
        self.name, self._frame, self._every = name, rogue.frame(wire, source), every / SECOND
        damaged = ", checksum wrong" if rogue.damaged else ""
        self.description = f"foreign adverts of priority {rogue.priority} every {self._every:g} s{damaged}"
        self._place = topology.client.namespace, wire.interface
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def inject(self) -> None:
        self._thread = threading.Thread(target=self._run, name="foreign-router", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        namespace, interface = self._place
        with inside(namespace):
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            sender.bind((interface, 0))
        with sender:
            while not self._stop.wait(self._every):
                with contextlib.suppress(OSError):
                    sender.send(self._frame)

    def heal(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
