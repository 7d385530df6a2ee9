"""Announces our addresses to the neighbours, and listens for others who announce them.

Promises: one ``announce`` is one round: a gratuitous ARP or an unsolicited neighbour advertisement per address,
from the interface's own MAC, in the configured order. The listener hears what other machines announce, never
ourselves, and tells of it at a bounded rate. How often to announce and what a foreign announcement means is
decided elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.events import ForeignAnnouncement
from haagent.core.frames import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    announced_address,
    gratuitous_arp,
    neighbor_advertisement,
)
from haagent.effects import packet_filter
from haagent.effects.interfaces import IFF_NOARP, flags_of, forwards_ipv6, mac_of
from haagent.effects.packet_filter import Instruction
from haagent.effects.throttle import Throttle
from haagent.errors import EffectError

_BATCH = 64
_FRAME = 2048
_TELL_EVERY = 1.0  # seconds, per instance, address and MAC

# Offsets in an Ethernet frame.
_ARP_SENDER = 28
_IPV6_NEXT_HEADER = 20
_ICMPV6_TYPE = 54
_NA_TARGET_LOW = 74  # the last four octets of the target address
_ICMPV6, _NEIGHBOR_ADVERTISEMENT = 58, 136


def _packet_socket(protocol: int) -> socket.socket:
    """Return a packet socket on every interface, for frames of ``protocol`` that come in; 0 is for sending only.

    (Only ETH_P_ALL would also see what we send.)
    """
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(protocol))
    except PermissionError as error:
        raise EffectError("cannot open a packet socket: CAP_NET_RAW is missing") from error
    except OSError as error:
        raise EffectError(f"cannot open a packet socket: {error}") from error


class Announcer:
    """Sends announcements; one socket for the node. Interface facts are asked for afresh in every round."""

    def __init__(self) -> None:
        """Raises EffectError if the socket is refused."""
        self._socket = _packet_socket(0)

    def announce(self, virtuals: Iterable[VirtualAddress]) -> EffectError | None:
        """Announce each address once; return the first refusal, or None.

        Interfaces without ARP are skipped. A closed gate answers ENOBUFS.
        """
        refusal: EffectError | None = None
        macs: dict[str, bytes | None] = {}
        for virtual in virtuals:
            device = virtual.device
            try:
                if device not in macs:
                    macs[device] = self._mac(device)
                mac = macs[device]
                if mac is not None:
                    self._socket.sendto(_frame(virtual, mac), (device, 0))
            except (OSError, EffectError) as error:
                refusal = refusal or EffectError(f"cannot announce {virtual} on {device}: {error}")
        return refusal

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def _mac(self, device: str) -> bytes | None:
        """Return the MAC to announce from, None if this interface does no ARP."""
        mac = mac_of(self._socket, device)
        if mac is None:
            raise EffectError("there is no such interface")
        return None if flags_of(self._socket, device) & IFF_NOARP else mac


def _frame(virtual: VirtualAddress, mac: bytes) -> bytes:
    address = virtual.address
    if isinstance(address, IPv4Address):
        return gratuitous_arp(address, mac)
    return neighbor_advertisement(address, mac, router=forwards_ipv6(virtual.device))


Deliver: TypeAlias = Callable[[ForeignAnnouncement], object]
_Key: TypeAlias = tuple[str, IPv4Address | IPv6Address]


class AnnouncementListener:
    """Hears announcements of our addresses by other machines.

    Two sockets for the whole node, one per protocol, bound to no interface: an interface that comes back is
    heard without being told. Their kernel filters let through only frames that name one of our addresses.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        self._loop, self._deliver = loop, deliver
        self._sockets: dict[int, socket.socket] = {}
        self._owners: dict[_Key, str] = {}
        self._throttle = Throttle(_TELL_EVERY)
        self.heard = 0

    def reconfigure(self, instances: Iterable[VrrpInstance]) -> None:
        """Listen for exactly these instances' addresses. Raises EffectError."""
        self._owners = {
            (device, virtual.address): instance.name
            for instance in instances
            for virtual in (*instance.addresses, *instance.excluded)
            for device in (virtual.device, instance.carrier(virtual.device))
        }
        addresses = {address for _, address in self._owners}
        ipv4 = sorted(int(a) for a in addresses if a.version == 4)
        ipv6 = sorted({int(a) & 0xFFFFFFFF for a in addresses if a.version == 6})
        self._listen(ETHERTYPE_ARP, ipv4, _ARP_FILTER)
        self._listen(ETHERTYPE_IPV6, ipv6, _NA_FILTER)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        for protocol in tuple(self._sockets):
            self._close(protocol)

    def _close(self, protocol: int) -> None:
        sock = self._sockets.pop(protocol, None)
        if sock is not None:
            self._loop.remove_reader(sock)
            sock.close()

    def _listen(self, protocol: int, words: Sequence[int], head: Sequence[Instruction]) -> None:
        if not words:
            self._close(protocol)
            return
        program = _program(head, words)
        if protocol in self._sockets:
            packet_filter.attach(self._sockets[protocol], program)
            return
        sock = _packet_socket(protocol)
        try:
            packet_filter.attach(sock, program)
        except EffectError:
            sock.close()
            raise
        self._sockets[protocol] = sock
        self._loop.add_reader(sock, self._drain, sock)

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                frame, (interface, *_rest) = sock.recvfrom(_FRAME)
            except OSError:
                return  # nothing left, or an interface went down; either way the next frame wakes us
            self._hear(sock, frame, interface)

    def _hear(self, sock: socket.socket, frame: bytes, interface: str) -> None:
        announcement = announced_address(frame)
        if announcement is None:
            return
        address, mac = announcement
        owner = self._owners.get((interface, address))
        if owner is None or mac == mac_of(sock, interface):
            return  # not ours, or our own frame, reflected
        self.heard += 1
        if self._throttle.admit((owner, address, mac), self._loop.time()):
            self._deliver(ForeignAnnouncement(owner, str(address), mac.hex(":")))


_NOT_FOR_US = (
    Instruction(packet_filter.LOAD_WORD, packet_filter.PACKET_TYPE),
    Instruction(packet_filter.JUMP_GREATER, packet_filter.PACKET_OTHER_HOST - 1, 0, 1),
    Instruction(packet_filter.RETURN, packet_filter.REJECT),
)
_ARP_FILTER = (*_NOT_FOR_US, Instruction(packet_filter.LOAD_WORD, _ARP_SENDER))
_NA_FILTER = (
    *_NOT_FOR_US,
    Instruction(packet_filter.LOAD_BYTE, _IPV6_NEXT_HEADER),
    Instruction(packet_filter.JUMP_EQUAL, _ICMPV6, 1, 0),
    Instruction(packet_filter.RETURN, packet_filter.REJECT),
    Instruction(packet_filter.LOAD_BYTE, _ICMPV6_TYPE),
    Instruction(packet_filter.JUMP_EQUAL, _NEIGHBOR_ADVERTISEMENT, 1, 0),
    Instruction(packet_filter.RETURN, packet_filter.REJECT),
    Instruction(packet_filter.LOAD_WORD, _NA_TARGET_LOW),
)


def _program(head: Sequence[Instruction], words: Sequence[int]) -> list[Instruction]:
    """Return a filter that accepts frames whose loaded word is one of ``words``, or all if they are too many."""
    program = [*head, *packet_filter.any_of(words)]
    if len(program) > packet_filter.MAX_INSTRUCTIONS:
        return [*head, Instruction(packet_filter.RETURN, packet_filter.ACCEPT)]
    return program
