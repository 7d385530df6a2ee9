"""The addresses of one rebuilt network: the nodes', the client's, and those its ARP questions come from.

Promise: nobody gets an address that a file gives to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from haagent.config.network_model import IPAddress, VirtualAddress
from haagent.lab.namespaces import LabError
from haagent.lab.observers import Watch
from haagent.lab.probes import SOURCES
from haagent.lab.topology import CLIENT4, CLIENT6

_WIDEST4 = 8
_FIRST_NODE = 11


@dataclass(slots=True)
class Subnet:
    """One network's plan; ``nodes`` are the addresses of each node's card, v4 and v6 mixed."""

    four: IPv4Network
    six: IPv6Network | None
    virtual: tuple[IPAddress, ...]
    nodes: dict[str, list[IPAddress]]
    _client4: IPv4Address = CLIENT4
    _client6: IPv6Address = CLIENT6
    _askers: IPv4Address | None = None
    _used: set[IPAddress] = field(default_factory=set)

    def settle(self) -> None:
        """Give everybody who has no address yet a free one; last, when the files' own are all assigned."""
        self._used |= {*self.virtual, *(one for addresses in self.nodes.values() for one in addresses)}
        for addresses in self.nodes.values():
            if not any(one.version == 4 for one in addresses):
                addresses.append(self._next4())
            if self.six is not None and not any(one.version == 6 and one in self.six for one in addresses):
                addresses.append(self._next6())
        self._client4 = self._last4()
        if self.six is not None:
            self._client6 = self._next6(0xF0)
        self._askers = self._run()

    def assign(self, node: str, address: IPAddress) -> bool:
        """Give ``node`` one more address if it has a card here and the address belongs here."""
        network = self.four if address.version == 4 else self.six
        if node not in self.nodes or network is None or address not in network:
            return False
        if address not in self.nodes[node]:
            self.nodes[node].append(address)
        return True

    def of(self, node: str) -> tuple[str, ...]:
        """Return a node's addresses with their prefix lengths."""
        return tuple(self._sized(one) for one in self.nodes[node])

    def client(self) -> tuple[str, ...]:
        """Return the client's addresses with their prefix lengths."""
        both: tuple[IPAddress, ...] = (self._client4, *([self._client6] if self.six is not None else []))
        return tuple(self._sized(one) for one in both)

    def far(self) -> tuple[str, ...]:
        """Return the virtual addresses that are outside these networks, as routes for the client."""
        return tuple(
            f"{one}/{one.max_prefixlen}" for one in dict.fromkeys(self.virtual)
            if not one.is_link_local and one not in self.four and (self.six is None or one not in self.six)
        )  # fmt: skip

    def watch(self, network: str, addresses: tuple[IPAddress, ...]) -> Watch:
        """Return the watch on some of its virtual addresses."""
        return Watch(addresses, network, self._client4, self._client6, self._askers)

    def _sized(self, address: IPAddress) -> str:
        network = self.four if address.version == 4 else self.six
        length = 64 if network is None else network.prefixlen
        return f"{address}/{length}"

    def _next4(self) -> IPv4Address:
        hosts = self.four.num_addresses
        order = [*range(_FIRST_NODE, hosts - 1), *range(1, min(_FIRST_NODE, hosts - 1))]
        return self._take(self.four[number] for number in order)

    def _last4(self) -> IPv4Address:
        # not the very last one: it is often the gateway's
        return self._take(self.four[number] for number in range(self.four.num_addresses - 5, 0, -1))

    def _next6(self, first: int = _FIRST_NODE) -> IPv6Address:
        assert self.six is not None
        network = self.six
        for number in range(first, first + 256):
            if network[number] not in self._used:
                self._used.add(network[number])
                return network[number]
        raise LabError(f"no address is free in {network}")

    def _take(self, candidates: Iterator[IPv4Address]) -> IPv4Address:
        found = next((one for one in candidates if one not in self._used), None)
        if found is None:
            raise LabError(f"no address is free in {self.four}: the client of the rehearsal needs one there")
        self._used.add(found)
        return found

    def _run(self) -> IPv4Address | None:
        """Return the first of 32 free addresses in a row; None in a network too small or too full."""
        if self.four.num_addresses < 4 * SOURCES:
            return None
        for start in range(self.four.num_addresses - 2 * SOURCES, SOURCES, -SOURCES):
            if not any(self.four[start + step] in self._used for step in range(SOURCES)):
                return self.four[start]
            if start < self.four.num_addresses - 64 * SOURCES:
                return None
        return None


def choose_subnet(
    name: str, explicit: Mapping[str, Sequence[IPAddress]], virtual: Sequence[VirtualAddress]
) -> Subnet:
    """Return the subnet of one network, not settled yet. Raises LabError."""
    own4 = [one for addresses in explicit.values() for one in addresses if isinstance(one, IPv4Address)]
    addresses = tuple(one.address for one in virtual)
    return Subnet(
        _four(name, own4, virtual),
        _six([one for many in explicit.values() for one in many if isinstance(one, IPv6Address)], virtual),
        addresses,
        {node: list(many) for node, many in explicit.items()},
    )


def _four(name: str, own: Sequence[IPv4Address], virtual: Sequence[VirtualAddress]) -> IPv4Network:
    around = own[0] if own else next((v.address for v in virtual if v.address.version == 4), None)
    if around is None:
        return IPv4Network(f"10.77.{int(name.removeprefix('net')) % 256}.0/24")
    fitting = [v for v in virtual if v.address.version == 4 and v.prefix_length <= 29]
    networks = [ip_network(f"{v.address}/{v.prefix_length}", strict=False) for v in fitting]
    start = next((one for one in networks if around in one), ip_network(f"{around}/24", strict=False))
    network = start if isinstance(start, IPv4Network) else IPv4Network(f"{around}/24", strict=False)
    while not all(one in network for one in own):
        if network.prefixlen <= _WIDEST4:
            raise LabError(f"the nodes' addresses {', '.join(map(str, own))} have no network in common")
        network = network.supernet()
    return network


def _six(own: Sequence[IPv6Address], virtual: Sequence[VirtualAddress]) -> IPv6Network | None:
    usable = [v for v in virtual if isinstance(v.address, IPv6Address) and not v.address.is_link_local]
    lengths = {one: 64 for one in own if not one.is_link_local}
    lengths |= {v.address: min(v.prefix_length, 64) for v in usable if isinstance(v.address, IPv6Address)}
    for address, length in lengths.items():
        return IPv6Network(f"{address}/{length}", strict=False)
    return None
