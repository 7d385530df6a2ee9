"""The two programs of the BPF gate, written with ``bpf_asm``: one for packets coming in, one for those going out.

A program answers TC_ACT_UNSPEC ("not my business, go on") or TC_ACT_SHOT (drop), and changes no packet. It drops
only what it has recognised as belonging to a guarded claim that is closed or past the deadline: a frame it cannot
read (short, unknown, another VLAN's) passes, because the kernel cannot take such a frame for a guarded one either.

Extension headers. A neighbour solicitation hidden behind IPv6 options passes on its way in, but the answer is made
by our own kernel, without options, and is dropped on its way out. Our own advertisements carry no options; one
that had to be fragmented is still recognised. Later fragments pass: without the first they are nothing.

Maps (all keys and values in host order but for addresses, which are wire bytes; IPv4 as ::ffff:a.b.c.d):

    lease    array[1]   u64 deadline, CLOCK_BOOTTIME ns
    claims   array      u64 epoch << 1 | open
    addresses hash      {u32 ifindex if link-local else 0, 16 bytes address} -> u32 claim slot
    routers  hash       {u32 ifindex, u8 VRID, u8 family, u16 0, 16 bytes destination} -> u32 claim slot
                        {u32 ifindex, u32 0, 6 bytes virtual MAC, 10 bytes 0} -> u32 claim slot
    names    hash       u32 claim slot -> claim name; not read here, only kept alive
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from haagent.effects.gate.bpf_asm import FP, R0, R1, R2, R3, R4, R5, R6, R7, R8, Assembler, Size, Test

PASS, DROP = (
    -1,
    2,
)  # TC_ACT_UNSPEC, TC_ACT_SHOT; TC_ACT_OK would end a TCX chain and skip the programs behind us

_MAP_LOOKUP, _SKB_LOAD_BYTES, _SKB_LOAD_BYTES_RELATIVE = 1, 26, 68
KTIME_GET_BOOT_NS = 125  # without the offset of anybody's time namespace, see bpf_clock
_HEADER_START_NETWORK = 1
_SKB_PROTOCOL, _SKB_VLAN_PRESENT, _SKB_VLAN_TCI, _SKB_IFINDEX = 16, 20, 24, 40

_ETH_IPV4, _ETH_ARP, _ETH_IPV6 = 0x0800, 0x0806, 0x86DD
_ETH_VLAN, _ETH_QINQ = 0x8100, 0x88A8
_PROTO_FRAGMENT, _PROTO_ICMPV6, _PROTO_VRRP = 44, 58, 112
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ARP_REQUEST = 1
_MAC_DESTINATION, _MAC_SOURCE = 0, 6  # offsets in the frame

# The stack, as offsets from the frame pointer.
_ADDRESS_KEY = -24  # 20 bytes: scope, then the address
_ADDRESS = _ADDRESS_KEY + 4
_ADDRESS_V4 = _ADDRESS + 12
_ROUTER_KEY = -48  # 24 bytes: ifindex, VRID, family, 0, destination
_DESTINATION = _ROUTER_KEY + 8
_SLOT = -56
_OTHER = -64  # 8 bytes: the ARP sender, a fragment header
_HEADER = -112  # 40 bytes: an IP or ARP header
_VRRP = -120  # 4 bytes: version and type, VRID, priority, count


@dataclass(frozen=True, slots=True)
class MapDescriptors:
    """File descriptors of the five maps."""

    lease: int
    claims: int
    names: int
    addresses: int
    routers: int


def ingress(maps: MapDescriptors, *, ethernet: bool) -> bytes:
    """Return the program for packets coming in on Ethernet, or on a link whose frames have no header we know."""
    code = _Filter(maps, ethernet=ethernet)
    code.dispatch(_MAC_DESTINATION)
    code.asm.label("ipv4")
    code.load_ipv4_key(16)
    code.judge_address("pass")
    code.asm.label("arp")
    code.arp(requests_only=True)
    code.asm.label("ipv6")
    code.fetch(24, _ADDRESS, 16, "pass")
    code.scope_address()
    code.judge_address("ipv6.next")
    code.asm.label("ipv6.next")
    code.fetch(0, _HEADER, 40, "pass")
    code.asm.load(Size.BYTE, R1, FP, _HEADER + 6)
    code.asm.jump_if(R1, Test.NE, _PROTO_ICMPV6, "pass")
    code.asm.set(R7, code.layer3 + 40)
    code.neighbour(_SOLICITATION, "pass")
    return code.finish()


def egress(maps: MapDescriptors, *, ethernet: bool) -> bytes:
    """Return the program for packets going out, as ``ingress``."""
    code = _Filter(maps, ethernet=ethernet)
    code.dispatch(_MAC_SOURCE)
    _egress_ipv4(code)
    code.asm.label("arp")
    code.arp(requests_only=False)
    _egress_ipv6(code)
    code.asm.label("vrrp.4.test")
    code.advertisement(4, "ipv4.source")
    code.asm.label("ipv4.source")
    code.load_ipv4_key(12)
    code.judge_address("pass")
    code.asm.label("vrrp.6.test")
    code.advertisement(6, "ipv6.source")
    code.asm.label("ipv6.source")
    code.fetch(8, _ADDRESS, 16, "pass")
    code.scope_address()
    code.judge_address("pass")
    return code.finish()


def _egress_ipv4(code: _Filter) -> None:
    asm = code.asm
    asm.label("ipv4")
    code.fetch(0, _HEADER, 20, "pass")
    asm.load(Size.BYTE, R1, FP, _HEADER + 9)
    asm.jump_if(R1, Test.NE, _PROTO_VRRP, "ipv4.source")
    asm.load(Size.HALF, R1, FP, _HEADER + 6)
    asm.and_(R1, socket.htons(0x1FFF))
    asm.jump_if(R1, Test.NE, 0, "ipv4.source")
    asm.load(Size.BYTE, R7, FP, _HEADER)
    asm.and_(R7, 0x0F)
    asm.shift_left(R7, 2)
    asm.add(R7, code.layer3)
    code.mapped_prefix(_DESTINATION)
    asm.load(Size.WORD, R1, FP, _HEADER + 16)
    asm.store(Size.WORD, FP, _DESTINATION + 12, R1)
    asm.jump("vrrp.4.test")


def _egress_ipv6(code: _Filter) -> None:
    asm = code.asm
    asm.label("ipv6")
    code.fetch(0, _HEADER, 40, "pass")
    for word in (0, 4, 8, 12):
        asm.load(Size.WORD, R1, FP, _HEADER + 24 + word)
        asm.store(Size.WORD, FP, _DESTINATION + word, R1)
    asm.set(R7, code.layer3 + 40)
    asm.load(Size.BYTE, R8, FP, _HEADER + 6)
    asm.jump_if(R8, Test.NE, _PROTO_FRAGMENT, "ipv6.upper")
    code.fetch_at(R7, _OTHER, 8, "ipv6.source")
    asm.load(Size.HALF, R1, FP, _OTHER + 2)
    asm.and_(R1, socket.htons(0xFFF8))
    asm.jump_if(R1, Test.NE, 0, "ipv6.source")
    asm.load(Size.BYTE, R8, FP, _OTHER)
    asm.add(R7, 8)
    asm.label("ipv6.upper")
    asm.jump_if(R8, Test.EQ, _PROTO_VRRP, "vrrp.6.test")
    asm.jump_if(R8, Test.NE, _PROTO_ICMPV6, "ipv6.source")
    # A neighbour advertisement speaks for its target, whatever address it is sent from.
    code.neighbour(_ADVERTISEMENT, "ipv6.source")


class _Filter:
    """The pieces both directions are made of. R6 is the packet, R7 the offset of the upper-layer header."""

    def __init__(self, maps: MapDescriptors, *, ethernet: bool) -> None:
        self.asm = Assembler()
        self.maps = maps
        self.ethernet = ethernet
        self.layer3 = 14 if ethernet else 0

    def dispatch(self, mac: int) -> None:
        """Judge the frame by the MAC at offset ``mac``, then jump to ipv4, arp or ipv6; let everything else pass."""
        asm = self.asm
        # A program keeps the maps it names alive; the next run finds all five through either direction.
        asm.map(R2, self.maps.names)
        asm.map(R2, self.maps.routers)
        asm.move(R6, R1)
        # The kernel has taken the VLAN tag off already. A tagged packet belongs to the VLAN's own interface, which
        # has its own gate; VLAN 0 is only a priority and belongs here.
        asm.load(Size.WORD, R1, R6, _SKB_VLAN_PRESENT)
        asm.jump_if(R1, Test.EQ, 0, "untagged")
        asm.load(Size.WORD, R1, R6, _SKB_VLAN_TCI)
        asm.and_(R1, 0x0FFF)
        asm.jump_if(R1, Test.NE, 0, "pass")
        asm.label("untagged")
        if self.ethernet:
            # Not skb->protocol: on packet sockets that is what the sender said, not what the frame is.
            self._load_bytes(lambda: asm.set(R2, 12), _OTHER, 2, "pass")
            self._station(mac)
            asm.load(Size.HALF, R1, FP, _OTHER)
        else:
            asm.load(Size.WORD, R1, R6, _SKB_PROTOCOL)
        for ethertype, label in ((_ETH_IPV4, "ipv4"), (_ETH_ARP, "arp"), (_ETH_IPV6, "ipv6")):
            asm.jump_if(R1, Test.EQ, socket.htons(ethertype), label)
        asm.jump("pass")

    def _station(self, mac: int) -> None:
        """Drop a frame whose MAC at that offset is a guarded one of a claim that is shut, whatever it carries."""
        asm = self.asm
        asm.load(Size.HALF, R1, FP, _OTHER)
        # Tagged without the card's help: the VLAN's own gate has seen it.
        for tagged in (_ETH_VLAN, _ETH_QINQ):
            asm.jump_if(R1, Test.EQ, socket.htons(tagged), "pass")
        for double in (0, 8, 16):
            asm.store_value(Size.DOUBLE, FP, _ROUTER_KEY + double, 0)
        self._load_bytes(lambda: asm.set(R2, mac), _DESTINATION, 6, "pass")
        asm.load(Size.WORD, R1, R6, _SKB_IFINDEX)
        asm.store(Size.WORD, FP, _ROUTER_KEY, R1)
        self._find_slot(self.maps.routers, _ROUTER_KEY, "no_station")
        self._judge_slot()
        asm.label("no_station")

    def fetch(self, offset: int, into: int, length: int, failed: str) -> None:
        """Copy ``length`` bytes at ``offset`` of the network header to the stack, or jump to ``failed``."""
        self._load_bytes(lambda: self.asm.set(R2, self.layer3 + offset), into, length, failed)

    def fetch_at(self, register: int, into: int, length: int, failed: str, offset: int = 0) -> None:
        """Copy bytes from where ``register`` points, plus ``offset``."""

        def locate() -> None:
            self.asm.move(R2, register)
            self.asm.add(R2, offset)

        self._load_bytes(locate, into, length, failed)

    def mapped_prefix(self, address: int) -> None:
        """Write the first 12 bytes of ::ffff:0:0/96."""
        self.asm.store_value(Size.WORD, FP, address, 0)
        self.asm.store_value(Size.WORD, FP, address + 4, 0)
        self.asm.store_value(Size.HALF, FP, address + 8, 0)
        self.asm.store_value(Size.HALF, FP, address + 10, -1)

    def load_ipv4_key(self, offset: int) -> None:
        """Make the address key from four bytes of the network header."""
        self.mapped_prefix(_ADDRESS)
        self.fetch(offset, _ADDRESS_V4, 4, "pass")
        self.asm.store_value(Size.WORD, FP, _ADDRESS_KEY, 0)

    def scope_address(self) -> None:
        """Complete the key of an IPv6 address: link-local ones are per interface."""
        asm, done = self.asm, self.asm.fresh("scoped")
        asm.store_value(Size.WORD, FP, _ADDRESS_KEY, 0)
        asm.load(Size.HALF, R1, FP, _ADDRESS)
        asm.and_(R1, socket.htons(0xFFC0))
        asm.jump_if(R1, Test.NE, socket.htons(0xFE80), done)
        asm.load(Size.WORD, R1, R6, _SKB_IFINDEX)
        asm.store(Size.WORD, FP, _ADDRESS_KEY, R1)
        asm.label(done)

    def judge_address(self, otherwise: str) -> None:
        """Drop if the address key is guarded and shut; else go on at ``otherwise``."""
        self._find_slot(self.maps.addresses, _ADDRESS_KEY, otherwise)
        self._judge_slot()
        self.asm.jump(otherwise)

    def arp(self, *, requests_only: bool) -> None:
        """Judge ARP for IPv4: incoming requests by target, outgoing packets of any kind by sender.

        Hardware addresses may have any length, so InfiniBand's ARP is understood as well.
        """
        asm = self.asm
        self.fetch(0, _HEADER, 8, "pass")
        asm.load(Size.HALF, R1, FP, _HEADER + 2)
        asm.jump_if(R1, Test.NE, socket.htons(_ETH_IPV4), "pass")
        asm.load(Size.BYTE, R1, FP, _HEADER + 5)
        asm.jump_if(R1, Test.NE, 4, "pass")
        asm.load(Size.BYTE, R7, FP, _HEADER + 4)
        self.mapped_prefix(_ADDRESS)
        asm.store_value(Size.WORD, FP, _ADDRESS_KEY, 0)
        asm.move(R8, R7)
        asm.add(R8, self.layer3 + 8)
        if requests_only:
            asm.load(Size.HALF, R1, FP, _HEADER + 6)
            asm.jump_if(R1, Test.NE, socket.htons(_ARP_REQUEST), "pass")
            self.fetch_at(R8, _OTHER, 4, "pass")
            asm.shift_left(R7, 1)
            asm.add(R7, self.layer3 + 12)
            self.fetch_at(R7, _ADDRESS_V4, 4, "pass")
            # Sender and target equal: the peer announces the address, it does not ask for it. Our cache must learn.
            asm.load(Size.WORD, R1, FP, _OTHER)
            asm.load(Size.WORD, R2, FP, _ADDRESS_V4)
            asm.jump_if_register(R1, Test.EQ, R2, "pass")
        else:
            self.fetch_at(R8, _ADDRESS_V4, 4, "pass")
        self.judge_address("pass")

    def neighbour(self, kind: int, otherwise: str) -> None:
        """Judge the target of the ICMPv6 message at R7 if it is of this kind; else go on at ``otherwise``."""
        asm = self.asm
        self.fetch_at(R7, _OTHER, 1, otherwise)
        asm.load(Size.BYTE, R1, FP, _OTHER)
        asm.jump_if(R1, Test.NE, kind, otherwise)
        self.fetch_at(R7, _ADDRESS, 16, otherwise, offset=8)
        self.scope_address()
        self.judge_address(otherwise)

    def advertisement(self, family: int, otherwise: str) -> None:
        """Judge the VRRP message at R7, its destination already in the router key; else go on at ``otherwise``."""
        asm = self.asm
        self.fetch_at(R7, _VRRP, 4, otherwise)
        asm.load(Size.WORD, R1, R6, _SKB_IFINDEX)
        asm.store(Size.WORD, FP, _ROUTER_KEY, R1)
        asm.load(Size.BYTE, R1, FP, _VRRP + 1)
        asm.store(Size.BYTE, FP, _ROUTER_KEY + 4, R1)
        asm.store_value(Size.BYTE, FP, _ROUTER_KEY + 5, family)
        asm.store_value(Size.HALF, FP, _ROUTER_KEY + 6, 0)
        self._find_slot(self.maps.routers, _ROUTER_KEY, otherwise)
        asm.load(Size.BYTE, R1, FP, _VRRP + 2)
        asm.jump_if(R1, Test.EQ, 0, "pass")  # a resignation helps the peer, whoever we are
        self._judge_slot()

    def finish(self) -> bytes:
        for label, verdict in (("pass", PASS), ("drop", DROP)):
            self.asm.label(label)
            self.asm.set(R0, verdict)
            self.asm.exit()
        return self.asm.assemble()

    def _find_slot(self, map_fd: int, key: int, otherwise: str) -> None:
        asm = self.asm
        asm.map(R1, map_fd)
        self._point(R2, key)
        asm.call(_MAP_LOOKUP)
        asm.jump_if(R0, Test.EQ, 0, otherwise)
        asm.load(Size.WORD, R1, R0, 0)
        asm.store(Size.WORD, FP, _SLOT, R1)

    def _judge_slot(self) -> None:
        """Drop unless the claim in the slot is open and the deadline lies ahead."""
        asm = self.asm
        asm.map(R1, self.maps.claims)
        self._point(R2, _SLOT)
        asm.call(_MAP_LOOKUP)
        asm.jump_if(R0, Test.EQ, 0, "drop")
        asm.load(Size.DOUBLE, R1, R0, 0)
        asm.and_(R1, 1)
        asm.jump_if(R1, Test.EQ, 0, "drop")
        asm.call(KTIME_GET_BOOT_NS)
        asm.map_value(R1, self.maps.lease)
        asm.load(Size.DOUBLE, R1, R1, 0)
        asm.jump_if_register(R0, Test.GE, R1, "drop")

    def _point(self, register: int, stack_offset: int) -> None:
        self.asm.move(register, FP)
        self.asm.add(register, stack_offset)

    def _load_bytes(self, locate: Callable[[], None], into: int, length: int, failed: str) -> None:
        asm = self.asm
        locate()
        asm.move(R1, R6)
        self._point(R3, into)
        asm.set(R4, length)
        if self.ethernet:
            asm.call(_SKB_LOAD_BYTES)
        else:
            asm.set(R5, _HEADER_START_NETWORK)
            asm.call(_SKB_LOAD_BYTES_RELATIVE)
        asm.jump_if(R0, Test.NE, 0, failed)
