"""What a configuration puts on the host's network: addresses, interfaces with a virtual MAC, routes and rules.

Frozen values, already checked, each one line of a virtual_* or static_* block (a virtual MAC: what use_vmac makes).
They say what is wanted; how the kernel is told is for ``effects``. ``place`` says where a line was written and does
not take part in comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, NamedTuple, TypeAlias

from haagent.errors import NOWHERE, Place

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """One line of virtual_ipaddress or virtual_ipaddress_excluded.

    ``own_mac``: wanted on a virtual MAC interface although it is not on the instance's own interface. ``flags`` are
    the kernel's, in keepalived's words (home, mngtmpaddr, noprefixroute, autojoin).
    """

    address: IPAddress
    prefix_length: int
    device: str
    label: str | None = None
    scope: str | None = None
    broadcast: str | None = None
    peer: str | None = None
    preferred_lifetime: int | None = None
    nodad: bool = True
    no_track: bool = False
    own_mac: bool = False
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


@dataclass(frozen=True, slots=True)
class VirtualMac:
    """A macvlan interface ``name`` on ``base`` with a virtual router's MAC ``address`` (six octets, with colons)."""

    name: str
    base: str
    address: str


class NextHop(NamedTuple):
    """One way of a route with several: "" is no gateway, None no device."""

    gateway: str
    device: str | None = None
    weight: int = 1
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A line of virtual_routes or static_routes. ``destination`` None is the default route.

    ``metrics`` are in the kernel's units; it does not change those that are ``locked``. ``append``: behind other routes
    to the same place, not before them. ``text`` is the line, for people.
    """

    destination: IPNetwork | None
    family: Literal[4, 6] | None = None
    kind: str = "unicast"
    gateway: IPAddress | None = None
    device: str | None = None
    source: IPAddress | None = None
    from_network: IPNetwork | None = None
    table: int = 254
    metric: int | None = None
    scope: int | None = None
    tos: int = 0
    onlink: bool = False
    metrics: tuple[tuple[str, int | str], ...] = ()
    locked: tuple[str, ...] = ()
    next_hops: tuple[NextHop, ...] = ()
    append: bool = False
    realms: int | None = None
    preference: int | None = None
    no_track: bool = False
    text: str = ""
    place: Place = field(default=NOWHERE, compare=False)

    @property
    def version(self) -> Literal[4, 6]:
        """The family, from whatever names an address."""
        for one in (self.destination, self.gateway, self.source, self.from_network):
            if one is not None:
                return one.version
        if self.next_hops and ":" in self.next_hops[0].gateway:
            return 6
        return self.family or 4


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of virtual_rules or static_rules. ``priority`` None is keepalived's default, 16384."""

    from_network: IPNetwork | None = None
    to_network: IPNetwork | None = None
    family: Literal[4, 6] | None = None
    inverted: bool = False
    table: int | None = None
    priority: int | None = None
    input: str | None = None
    output: str | None = None
    mark: int | None = None
    mask: int = 2**32 - 1
    tos: int = 0
    suppress_length: int | None = None
    suppress_group: int | None = None
    realms: int | None = None
    tunnel: int | None = None
    l3mdev: bool = False
    uids: tuple[int, int] | None = None
    ip_protocol: int | None = None
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    action: str = "table"
    goto: int | None = None
    no_track: bool = False
    text: str = ""
    place: Place = field(default=NOWHERE, compare=False)

    @property
    def version(self) -> Literal[4, 6]:
        """The family, from whatever names a network."""
        for one in (self.from_network, self.to_network):
            if one is not None:
                return one.version
        return self.family or 4
