"""Watches links and addresses, and tells what changed of those somebody asked about.

Promises: after ``start`` or ``reconfigure`` every watched interface and instance is told of once, then whenever
it changes, in order; if the kernel drops notifications, everything is read again and the differences are told.
It changes nothing on the host.

A link is up when it is administratively up, running and has a carrier; one that does not exist is down. A link is told
from another one of its name by the index: one that was made anew meanwhile has been down.
Renewing lifetimes makes the kernel notify of every address every second, so a filter in the kernel drops
notifications about addresses that carry our mark.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple, TypeAlias

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from haagent.config.model import VrrpInstance
from haagent.core.events import IPAddress, LinkChanged, PrimaryAddressChanged
from haagent.effects import packet_filter
from haagent.effects.addresses import Addresses, Key
from haagent.effects.interfaces import IFF_LOWER_UP, IFF_RUNNING, IFF_UP
from haagent.effects.netlink import ADDRESS_PROTOCOL, RTM_NEWADDR
from haagent.effects.packet_filter import Instruction
from haagent.errors import EffectError

WatchEvent: TypeAlias = LinkChanged | PrimaryAddressChanged

_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_USABLE = IFF_UP | IFF_RUNNING | IFF_LOWER_UP
_SCOPE_GLOBAL, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_IFA_F_SECONDARY, _IFA_F_UNUSABLE = 0x01, 0x08 | 0x40  # DADFAILED, TENTATIVE
_IFA_PROTO = 11
_RECEIVE_BUFFER = 1 << 20
_RETRY = 0.1  # seconds between attempts to read everything again

_DROP_OUR_OWN = (
    Instruction(packet_filter.LOAD_HALF, 4),  # nlmsg_type, in host order where the filter reads network order
    Instruction(packet_filter.JUMP_EQUAL, socket.htons(RTM_NEWADDR), 1, 0),
    Instruction(packet_filter.RETURN, packet_filter.ACCEPT),
    Instruction(packet_filter.SET_X, _IFA_PROTO),
    Instruction(packet_filter.SET, 24),  # where attributes start: struct nlmsghdr, struct ifaddrmsg
    Instruction(packet_filter.LOAD_WORD, packet_filter.NETLINK_ATTRIBUTE),
    Instruction(packet_filter.JUMP_EQUAL, 0, 0, 1),
    Instruction(packet_filter.RETURN, packet_filter.ACCEPT),
    Instruction(packet_filter.COPY_TO_X, 0),
    Instruction(packet_filter.LOAD_BYTE_AT_X, 4),
    Instruction(packet_filter.JUMP_EQUAL, ADDRESS_PROTOCOL, 0, 1),
    Instruction(packet_filter.RETURN, packet_filter.REJECT),
    Instruction(packet_filter.RETURN, packet_filter.ACCEPT),
)


class _Link(NamedTuple):
    name: str
    up: bool


class _Facts(NamedTuple):
    scope: int
    flags: int
    ours: bool


class NetworkWatch:
    """Knows the links and addresses of this network namespace. ``resyncs`` counts lost notifications."""

    def __init__(self, deliver: Callable[[WatchEvent], object], addresses: Addresses) -> None:
        self._deliver, self._installed = deliver, addresses
        self._links: dict[int, _Link] = {}
        self._addresses: dict[int, dict[IPAddress, _Facts]] = {}
        self._interfaces: tuple[str, ...] = ()
        self._instances: tuple[VrrpInstance, ...] = ()
        self._virtual: frozenset[IPAddress] = frozenset()
        self._told_links: dict[str, tuple[int, bool]] = {}  # index and whether it is up, by name
        self._told_primary: dict[str, IPAddress | None] = {}
        self._monitor: AsyncIPRoute | None = None
        self._task: asyncio.Task[None] | None = None
        self.resyncs = 0

    async def start(self) -> None:
        """Read everything, tell what is watched, and watch from here on. Raises EffectError."""
        try:
            await self._read_everything()
        except (OSError, NetlinkError) as error:
            self._close_monitor()
            raise EffectError(f"cannot watch links and addresses: {error}") from error
        self._task = asyncio.get_running_loop().create_task(self._run(), name="network watch")
        self._task.add_done_callback(_not_silently)

    def reconfigure(self, instances: Iterable[VrrpInstance], interfaces: Iterable[str] = ()) -> None:
        """Watch exactly these instances, their interfaces and those of their addresses, and ``interfaces``."""
        self._instances = tuple(instances)
        names = dict.fromkeys(interfaces)
        for instance in self._instances:
            names[instance.interface] = None
            devices = [virtual.device for virtual in instance.addresses + instance.excluded]
            names.update(dict.fromkeys((*devices, *map(instance.carrier, devices))))
        self._interfaces = tuple(names)
        self._virtual = frozenset(
            virtual.address
            for instance in self._instances
            for virtual in instance.addresses + instance.excluded
        )
        known = {instance.name for instance in self._instances}
        self._told_links = {name: told for name, told in self._told_links.items() if name in names}
        self._told_primary = {name: a for name, a in self._told_primary.items() if name in known}
        if self._task is not None:
            self._tell()

    def link_up(self, interface: str) -> bool:
        """Return whether the interface exists and is usable."""
        return any(link.up for link in self._links.values() if link.name == interface)

    def primary_address(
        self, ifindex: int, family: Literal[4, 6], *, routed: bool = False
    ) -> IPAddress | None:
        """Return the address adverts are sent from: the first global IPv4 or the link-local IPv6 address.

        Virtual addresses never count, nor do tentative ones. ``routed`` asks for one that peers beyond the link
        can answer to (IPv6 unicast), if there is one.
        """

        def rank(address: IPAddress) -> tuple[bool, int]:
            facts = table[address]
            if family == 4:
                return facts.scope != _SCOPE_GLOBAL, facts.flags & _IFA_F_SECONDARY
            return address.is_link_local == routed, facts.flags & _IFA_F_SECONDARY

        table = self._addresses.get(ifindex, {})
        candidates = [a for a, facts in table.items() if self._may_speak(a, facts, family)]
        if family == 6 and not routed:
            candidates = [a for a in candidates if a.is_link_local]
        return min(candidates, key=rank, default=None)

    async def aclose(self) -> None:
        """Stop watching. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._close_monitor()

    def _may_speak(self, address: IPAddress, facts: _Facts, family: int) -> bool:
        return (
            address.version == family
            and facts.scope < _SCOPE_HOST
            and not facts.ours
            and not facts.flags & _IFA_F_UNUSABLE
            and address not in self._virtual
        )

    async def _run(self) -> None:
        while self._monitor is not None:
            try:
                async for message in self._monitor.get():
                    if self._apply(message):
                        self._tell()
            except (OSError, NetlinkError):
                # ENOBUFS: notifications were dropped. Whatever it is, only reading everything again helps.
                self.resyncs += 1
                await self._read_again()

    async def _read_again(self) -> None:
        while True:
            try:
                await self._read_everything()
            except (OSError, NetlinkError):
                await asyncio.sleep(_RETRY)
            else:
                return

    async def _read_everything(self) -> None:
        """Listen first, then read: what changes in between is heard twice, not missed."""
        self._close_monitor()
        self._monitor = monitor = AsyncIPRoute()
        await monitor.bind(groups=_GROUPS)
        monitor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        packet_filter.attach(monitor.socket, _DROP_OUR_OWN)
        self._installed.reports_lost()
        async with AsyncIPRoute() as reader:
            everything = [message async for message in await reader.link("dump")]
            everything += [message async for message in await reader.addr("dump")]
        self._links, self._addresses = {}, {}
        for message in everything:
            self._apply(message)
        present: set[Key] = {(index, a) for index, table in self._addresses.items() for a in table}
        self._installed.reconcile(present)
        self._tell()

    def _close_monitor(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.close()

    def _apply(self, message: Any) -> bool:
        """Take note of one message; return whether there may be something to tell."""
        event = message["event"]
        if event in {"RTM_NEWADDR", "RTM_DELADDR"}:
            return self._apply_address(message, event == "RTM_NEWADDR")
        if event in {"RTM_NEWLINK", "RTM_DELLINK"} and message["family"] == socket.AF_UNSPEC:
            # Bridges announce their ports under their own family; leaving a bridge is not ceasing to exist.
            self._apply_link(message, event == "RTM_NEWLINK")
            return True
        return False

    def _apply_link(self, message: Any, exists: bool) -> None:
        index = message["index"]
        if exists:
            up = message["flags"] & _USABLE == _USABLE
            self._links[index] = _Link(message.get("ifname") or "", up)
        else:
            self._links.pop(index, None)
            self._addresses.pop(index, None)

    def _apply_address(self, message: Any, exists: bool) -> bool:
        index = message["index"]
        address = ip_address(message.get("local") or message.get("address"))
        table = self._addresses.setdefault(index, {})
        if exists:
            flags = message.get_attr("IFA_FLAGS")
            table[address] = _Facts(
                scope=message["scope"],
                flags=message["flags"] if flags is None else flags,
                ours=message.get_attr("IFA_PROTO") == ADDRESS_PROTOCOL,
            )
        else:
            table.pop(address, None)
            self._installed.deleted(index, address)
        return address not in self._virtual

    def _tell(self) -> None:
        links = {link.name: (index, link.up) for index, link in self._links.items()}
        for name in self._interfaces:
            self._tell_link(name, *links.get(name, (0, False)))
        for instance in self._instances:
            address = self._source(instance, links.get(instance.interface, (0, False))[0])
            if instance.name not in self._told_primary or self._told_primary[instance.name] != address:
                self._told_primary[instance.name] = address
                self._deliver(PrimaryAddressChanged(instance.name, address))

    def _tell_link(self, name: str, index: int, up: bool) -> None:
        before = self._told_links.get(name)
        self._told_links[name] = index, up
        if before is None or before[1] is not up:
            self._deliver(LinkChanged(name, up))
        elif up and before[0] != index:
            self._deliver(LinkChanged(name, up=False))
            self._deliver(LinkChanged(name, up=True))
        else:
            return
        if up:
            self._installed.interface_up(name)

    def _source(self, instance: VrrpInstance, ifindex: int) -> IPAddress | None:
        if instance.source is not None:
            gone = instance.track_source and instance.source not in self._addresses.get(ifindex, {})
            return None if gone else instance.source
        routed = instance.unicast is not None and not all(a.is_link_local for a in instance.unicast.peers)
        return self.primary_address(ifindex, instance.family, routed=routed)


def _not_silently(task: asyncio.Task[None]) -> None:
    """Hand the exception that ended the watch (our own bug) to the loop's handler at once."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "the network watch died", "exception": error})
