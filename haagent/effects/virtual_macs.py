"""The macvlan interfaces that carry virtual MACs (use_vmac): made at the start, up only while MASTER, gone at the end.

Promises: an interface of ours is down unless ``lift`` was called for its instance after the last ``lower``, so that
two nodes that keep their claims never have one MAC alive. What a hung or killed agent leaves alive, the gate on the
base interface silences: every frame of a macvlan passes the base's hooks, in both directions. Nothing here decides
when. Interfaces of ours carry an alias, by which a later run finds them whatever its configuration says.

The mode is private, as keepalived's: two virtual routers of one host talk to the wire, not to each other. An
interface of ours never makes itself an IPv6 address (both nodes would make the same one), and asks for no router.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualMac
from haagent.effects.gate.netlink import CREATE, NetlinkSocket, attr, attributes, nested, text
from haagent.effects.interfaces import IFF_UP, index_of
from haagent.errors import EffectError

LOG = logging.getLogger("haagent.host")
ALIAS = "haagent virtual MAC of "

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_EXCLUSIVE = 0x200
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 5, 18, 20
_INFO_KIND, _INFO_DATA, _MACVLAN_MODE = 1, 2, 1
_PRIVATE = 1
_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg

# As keepalived sets them: the interface answers for its own addresses only, and takes packets whose way back is the base.
_IPV4 = {"arp_ignore": "1", "accept_local": "1", "promote_secondaries": "1"}
_IPV6 = {"addr_gen_mode": "1", "accept_ra": "0", "autoconf": "0"}


@dataclass(frozen=True, slots=True)
class _Link:
    """An interface there is. ``base`` is an index, ``mode`` a macvlan's, or 0."""

    index: int
    name: str
    base: int
    mac: str
    alias: str
    mode: int

    @property
    def ours(self) -> bool:
        return bool(self.mode) and self.alias.startswith(ALIAS)

    def carries(self, vmac: VirtualMac) -> bool:
        """Tell whether this is the interface that ``vmac`` describes, whoever made it."""
        return (self.mode, self.mac, self.base) == (_PRIVATE, vmac.address, index_of(vmac.base))


class VirtualMacs:
    """The virtual MAC interfaces of one node, in the network namespace of the process."""

    def __init__(self) -> None:
        """Raises EffectError if the kernel refuses a netlink socket."""
        try:
            self._netlink = NetlinkSocket(socket.NETLINK_ROUTE)
        except OSError as error:
            raise EffectError(f"cannot open a netlink socket: {error}") from error
        self._wanted: dict[str, tuple[VirtualMac, ...]] = {}
        self._up: set[str] = set()

    def reconfigure(self, instances: Iterable[VrrpInstance]) -> None:
        """Have exactly these instances' interfaces; what is there already stays as it is. Raises EffectError."""
        self._wanted = {instance.name: instance.vmacs for instance in instances}
        wanted = {vmac.name: (name, vmac) for name, vmacs in self._wanted.items() for vmac in vmacs}
        self._up &= self._wanted.keys()
        for link in self._links():
            if link.ours and not (link.name in wanted and link.carries(wanted[link.name][1])):
                self._delete(link)
        for name, vmac in wanted.values():
            if index_of(vmac.base):
                self._ensure(name, vmac)

    def lift(self, instance: str) -> None:
        """Set the instance's interfaces up, and make them again if somebody removed them. Raises EffectError."""
        for vmac in self._wanted.get(instance, ()):
            self._switch(self._ensure(instance, vmac), vmac.name, up=True)
            self._up.add(instance)

    def lower(self, instance: str) -> None:
        """Set the instance's interfaces down; fine if there are none. Raises EffectError."""
        self._up.discard(instance)
        for vmac in self._wanted.get(instance, ()):
            if index := index_of(vmac.name):
                self._switch(index, vmac.name, up=False)

    def lost(self, interface: str) -> str | None:
        """Return the instance that needs this interface up now and has it not, if its base is there."""
        for instance in self._up:
            for vmac in self._wanted.get(instance, ()):
                if vmac.name == interface and index_of(vmac.base):
                    return instance
        return None

    def remove(self) -> tuple[str, ...]:
        """Delete every interface of ours, an earlier run's too; return their names. Raises EffectError."""
        self._up.clear()
        found = [link for link in self._links() if link.ours]
        for link in found:
            self._delete(link)
        return tuple(link.name for link in found)

    def close(self) -> None:
        """Close the socket; the interfaces stay until removed. Idempotent."""
        self._netlink.close()

    def _ensure(self, instance: str, vmac: VirtualMac) -> int:
        """Return the index of the interface, made if it is not there."""
        base = index_of(vmac.base)
        if not base:
            raise EffectError(f"{vmac.name}: interface {vmac.base} does not exist")
        if not index_of(vmac.name):
            self._create(instance, vmac, base)
        index = index_of(vmac.name)
        link = next((one for one in self._links(index) if one.index == index), None)
        if link is None or not link.carries(vmac):
            raise EffectError(
                f"interface {vmac.name} exists and is no virtual MAC interface {vmac.address} on {vmac.base}; "
                "remove it, or give use_vmac another name"
            )
        if not link.ours:  # new, or keepalived's that was killed
            self._request(
                _RTM_SETLINK, 0, _link_message(index, text(_IFLA_IFALIAS, ALIAS + instance)), vmac.name
            )
        return index

    def _create(self, instance: str, vmac: VirtualMac, base: int) -> None:
        mode = nested(_INFO_DATA, attr(_MACVLAN_MODE, struct.pack("=I", _PRIVATE)))
        body = _link_message(
            0,
            text(_IFLA_IFNAME, vmac.name),
            attr(_IFLA_LINK, struct.pack("=I", base)),
            attr(_IFLA_ADDRESS, bytes.fromhex(vmac.address.replace(":", ""))),
            nested(_IFLA_LINKINFO, text(_INFO_KIND, "macvlan"), mode),
        )
        self._request(_RTM_NEWLINK, CREATE | _EXCLUSIVE, body, vmac.name)
        _settle(vmac.name)
        LOG.info("virtual MAC interface %s (%s) on %s for %s", vmac.name, vmac.address, vmac.base, instance)

    def _switch(self, index: int, name: str, *, up: bool) -> None:
        body = _HEADER.pack(socket.AF_UNSPEC, 0, index, IFF_UP if up else 0, IFF_UP)
        self._request(_RTM_SETLINK, 0, body, name)

    def _delete(self, link: _Link) -> None:
        self._request(_RTM_DELLINK, 0, _link_message(link.index), link.name)

    def _request(self, kind: int, flags: int, body: bytes, name: str) -> None:
        try:
            self._netlink.request(kind, flags, body)
        except OSError as error:
            raise EffectError(f"virtual MAC interface {name}: {error.strerror or error}") from error

    def _links(self, index: int = 0) -> list[_Link]:
        """Return the interfaces there are, or the one with that index."""
        try:
            answers = self._netlink.query(_RTM_GETLINK, _link_message(index), dump=not index)
        except OSError as error:
            raise EffectError(f"cannot list interfaces: {error.strerror or error}") from error
        return [_link(answer) for answer in answers]


def remove_left_over() -> tuple[str, ...]:
    """Delete every virtual MAC interface of haagent in this network namespace; return their names. Raises EffectError."""
    macs = VirtualMacs()
    try:
        return macs.remove()
    finally:
        macs.close()


def _link_message(index: int, *parts: bytes) -> bytes:
    return _HEADER.pack(socket.AF_UNSPEC, 0, index, 0, 0) + b"".join(parts)


def _link(answer: bytes) -> _Link:
    index = _HEADER.unpack_from(answer)[2]
    found = attributes(answer[_HEADER.size :])
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    mode = 0
    if info.get(_INFO_KIND, b"").rstrip(b"\0") == b"macvlan":
        mode = int.from_bytes(attributes(info.get(_INFO_DATA, b"")).get(_MACVLAN_MODE, b""), sys.byteorder)
    base = found.get(_IFLA_LINK, bytes(4))
    return _Link(
        index=index,
        name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        base=struct.unpack("=I", base)[0],
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        alias=found.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace"),
        mode=mode,
    )


def _settle(name: str) -> None:
    """Write the settings of a new interface, before it is up for the first time."""
    strictest = _read("ipv4", "all", "rp_filter")
    # The way back to a client leads over the base. Where "all" forbids 0, "loose" is what it allows.
    reverse = {"rp_filter": "0" if strictest in ("", "0") else "2"}
    for family, settings in (("ipv4", _IPV4 | reverse), ("ipv6", _IPV6)):
        for setting, value in settings.items():
            path = f"/proc/sys/net/{family}/conf/{name}/{setting}"
            with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:
                file.write(value)  # a kernel without IPv6, or without this setting, needs none


def _read(family: str, name: str, setting: str) -> str:
    try:
        with open(f"/proc/sys/net/{family}/conf/{name}/{setting}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
