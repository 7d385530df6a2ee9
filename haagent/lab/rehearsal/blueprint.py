"""What has to be built for a set of nodes: networks, cards, addresses, watches. Pure.

Cards of different nodes are in one network when the same instance runs on them, or, for the rest, when they have the
same name. Addresses are those the files name (unicast_src_ip, mcast_src_ip, unicast peers, the peers block); what is
left open gets a free address beside the virtual ones. Promise: the same files give the same blueprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_interface

from haagent.config.model import VrrpInstance
from haagent.config.network_model import IPAddress, VirtualAddress
from haagent.lab.namespaces import LabError
from haagent.lab.observers import Watch
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.sources import NodeSource
from haagent.lab.rehearsal.subnets import Subnet, choose_subnet

MOST_WATCHED = 4  # addresses of one instance that are asked for, of each family
_SPECIAL = re.compile(r"bond|team|vlan|br|wl|macv|ipv|vxlan|tun|tap|wg|ppp|.*[.:@]")
MGMT = ("198.51.100.0/24", "203.0.113.0/24", "10.255.254.0/24", "172.31.254.0/24")


@dataclass(frozen=True, slots=True)
class Card:
    """One interface of a node: in which network, with which addresses (as ``ip addr add`` takes them)."""

    network: str
    interface: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """One node: its cards, and its addresses on the mgmt network (the first is the lab's own)."""

    source: NodeSource
    cards: tuple[Card, ...]
    mgmt: tuple[str, ...]

    @property
    def name(self) -> str:
        """The node's name."""
        return self.source.name

    def first4(self) -> IPv4Address:
        """Return the first IPv4 address of its first card; every card has one."""
        addresses = (ip_interface(text).ip for text in self.cards[0].addresses)
        return next(address for address in addresses if isinstance(address, IPv4Address))


@dataclass(frozen=True, slots=True)
class Network:
    """One bridge, and the client's addresses in it. ``label`` is what the files call it."""

    name: str
    label: str
    client: tuple[str, ...]
    routes: tuple[str, ...]  # virtual addresses outside its subnet, which the client has to be told about


@dataclass(frozen=True, slots=True)
class Watched:
    """One instance as the client sees it. ``best`` has the highest priority; ``claim``: its group, or itself."""

    instance: str
    claim: str
    best: str
    preempt: bool
    vrid: int
    version: int
    watch: Watch


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything to build. ``mgmt`` is the arbiter's and the peers' network."""

    machines: tuple[Machine, ...]
    networks: tuple[Network, ...]
    watched: tuple[Watched, ...]
    mgmt: IPv4Network


def draw_up(sources: Sequence[NodeSource], findings: Findings) -> Blueprint:
    """Return the blueprint. Raises LabError when there is nothing that can be watched."""
    classes = _networks(sources)
    special = {name for source in sources for name in interfaces(source) if _SPECIAL.match(name)}
    if special:
        findings.changed(
            f"{', '.join(sorted(special))}: plain wires in the lab, whatever they are on your machines"
        )
    subnets = {
        name: choose_subnet(name, _explicit(sources, members), _virtual(sources, members))
        for name, members in classes.items()
    }
    mgmt = _free_network(sources)
    beyond: dict[str, list[str]] = {source.name: [] for source in sources}
    for node, address in _peer_addresses(sources):
        if not any(subnet.assign(node, address) for subnet in subnets.values()) and node in beyond:
            beyond[node].append(f"{address}/{24 if address.version == 4 else 64}")
    for subnet in subnets.values():
        subnet.settle()
    machines = tuple(
        Machine(
            source, tuple(_cards(source, classes, subnets)), (f"{mgmt[10 + number]}/24", *beyond[source.name])
        )
        for number, source in enumerate(sources, 1)
    )
    networks = tuple(
        Network(name, _label(members), subnet.client(), subnet.far()) for (name, members), subnet in
        zip(classes.items(), subnets.values(), strict=True)
    )  # fmt: skip
    watched = tuple(_watched(sources, classes, subnets, findings))
    if not watched:
        raise LabError("no virtual address of these files can be asked for from outside: nothing to rehearse")
    return Blueprint(machines, networks, watched, mgmt)


Key = tuple[str, str]  # node, interface


def interfaces(source: NodeSource) -> list[str]:
    """Return every interface a configuration names, the instances' own first."""
    config = source.configuration
    named: list[str | None] = [one.interface for one in config.instances]
    for one in config.instances:
        named += [address.device for address in (*one.addresses, *one.excluded)]
        named += [route.device for route in one.routes]
        named += [name for rule in one.rules for name in (rule.input, rule.output)]
    named += [track.name for subject in config.subjects for track in subject.track_interfaces]
    named += [address.device for address in config.static_addresses]
    named += [route.device for route in config.static_routes]
    named += [delay.interface for delay in config.link_delays]
    return [name for name in dict.fromkeys(named) if name and name != "lo"]


def _networks(sources: Sequence[NodeSource]) -> dict[str, list[Key]]:
    """Return the members of each network, by the name of its bridge."""
    group: dict[Key, list[Key]] = {}
    for source in sources:
        for name in interfaces(source):
            group[source.name, name] = [(source.name, name)]
    for one, other in (*_same_instance(sources), *_same_name(group)):
        mine, theirs = group[one], group[other]
        if mine is not theirs and not {node for node, _ in mine} & {node for node, _ in theirs}:
            mine += theirs
            for member in theirs:
                group[member] = mine
    unique = {id(members): members for members in group.values()}
    return {f"net{number}": members for number, members in enumerate(unique.values(), 1)}


def _same_instance(sources: Sequence[NodeSource]) -> Iterator[tuple[Key, Key]]:
    first = sources[0]
    for source in sources[1:]:
        for one in first.configuration.instances:
            other = counterpart(one, source)
            if other is not None:
                yield (first.name, one.interface), (source.name, other.interface)


def counterpart(instance: VrrpInstance, source: NodeSource) -> VrrpInstance | None:
    """Return the instance of another node that shares the virtual router: the same name, else VRID and family."""
    found = source.configuration.instances
    by_name = next((one for one in found if one.name == instance.name), None)
    same = (one for one in found if (one.vrid, one.family) == (instance.vrid, instance.family))
    return by_name or next(same, None)


def _same_name(group: dict[Key, list[Key]]) -> list[tuple[Key, Key]]:
    return [(one, other) for one in group for other in group if one[0] != other[0] and one[1] == other[1]]


def _label(members: Sequence[Key]) -> str:
    return " / ".join(dict.fromkeys(interface for _, interface in members))


def _on(sources: Sequence[NodeSource], members: Sequence[Key]) -> Iterator[tuple[str, VrrpInstance]]:
    for source in sources:
        for one in source.configuration.instances:
            if (source.name, one.interface) in members:
                yield source.name, one


def _explicit(sources: Sequence[NodeSource], members: Sequence[Key]) -> dict[str, list[IPAddress]]:
    """Return the addresses the files give to each node's card of one network."""
    found: dict[str, list[IPAddress]] = {node: [] for node, _ in members}
    peers: list[IPAddress] = []
    for node, one in _on(sources, members):
        found[node] += [one.source] if one.source is not None else []
        peers += one.unicast.peers if one.unicast is not None else ()
    taken = {address for addresses in found.values() for address in addresses}
    open_peers = [address for address in dict.fromkeys(peers) if address not in taken]
    for addresses in found.values():
        if not addresses and open_peers:
            addresses.append(open_peers.pop(0))
    return found


def _virtual(sources: Sequence[NodeSource], members: Sequence[Key]) -> list[VirtualAddress]:
    return [
        address
        for source in sources
        for one in source.configuration.instances
        for address in (*one.addresses, *one.excluded)
        if (source.name, address.device) in members
    ]


def _peer_addresses(sources: Sequence[NodeSource]) -> Iterator[tuple[str, IPAddress]]:
    """Yield what the first peers block says: nodes and their addresses."""
    for one in sources[0].statements:
        for line in (one.block or ()) if one.keyword == "peers" else ():
            if line.keyword == "node" and line.values:
                for word in line.values[1:]:
                    yield line.values[0].text, ip_address(word.text)


def _free_network(sources: Sequence[NodeSource]) -> IPv4Network:
    """Return a network for arbiter and peers that none of the files' addresses is in."""
    used = [
        address.address for source in sources for one in source.configuration.instances
        for address in (*one.addresses, *one.excluded)
    ]  # fmt: skip
    used += [one.source for s in sources for one in s.configuration.instances if one.source is not None]
    used += [address for _, address in _peer_addresses(sources)]
    for text in MGMT:
        network = IPv4Network(text)
        if not any(isinstance(one, IPv4Address) and one in network for one in used):
            return network
    raise LabError(f"the files use addresses of {', '.join(MGMT)}: no network is left for the lab's arbiter")


def _cards(source: NodeSource, classes: dict[str, list[Key]], subnets: dict[str, Subnet]) -> Iterator[Card]:
    for network, members in classes.items():
        for node, interface in members:
            if node == source.name:
                yield Card(network, interface, subnets[network].of(node))


def _watched(
    sources: Sequence[NodeSource],
    classes: dict[str, list[Key]],
    subnets: dict[str, Subnet],
    findings: Findings,
) -> Iterator[Watched]:
    first = sources[0]
    groups = {member: group.name for group in first.configuration.groups for member in group.members}
    for one in first.configuration.instances:
        device, addresses = _askable(one, findings)
        rivals = {source.name: other for source in sources if (other := counterpart(one, source))}
        if len(rivals) < 2:
            findings.left_out(f"{one.name} runs on {first.name} alone: nobody could take it over")
        elif not addresses:
            findings.left_out(f"{one.name} has no address that a client can ask for")
        else:
            best = max(rivals, key=lambda name: rivals[name].priority)
            claim = groups.get(one.name, one.name)
            network = next(name for name, members in classes.items() if (first.name, device) in members)
            watch = subnets[network].watch(network, addresses)
            preempt = rivals[best].preempt
            yield Watched(one.name, claim, best, preempt, one.vrid, one.version, watch)


def _askable(instance: VrrpInstance, findings: Findings) -> tuple[str, tuple[IPAddress, ...]]:
    """Return the addresses that are asked for and their interface, the instance's own if it has any there.

    Not link-local ones, and at most a few.
    """
    every = (*instance.addresses, *instance.excluded)
    devices = dict.fromkeys((instance.interface, *(one.device for one in every)))
    for device in devices:
        usable = [one.address for one in every if one.device == device and not one.address.is_link_local]
        kept = (*_first(usable, IPv4Address), *_first(usable, IPv6Address))
        if kept:
            if len(kept) < len(every):
                findings.note(f"{instance.name}: {len(kept)} of its {len(every)} addresses are asked for")
            return device, kept
    return instance.interface, ()


def _first(addresses: Iterable[IPAddress], kind: type[IPv4Address | IPv6Address]) -> list[IPAddress]:
    return [address for address in addresses if isinstance(address, kind)][:MOST_WATCHED]
