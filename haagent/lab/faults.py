"""Faults: things done to a lab from outside, each with a name, ``inject`` and ``heal``.

Packet faults are nftables on the switch's end of a wire, one table per fault, so they add up and a node's own
ruleset does not matter. Healing what was not injected, or twice, is no error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, Protocol

from haagent.lab.namespaces import LabError, run
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import Node, Topology

Way = Literal["from", "to"]  # as the node sees it: what it sends, what it gets
BOTH: tuple[Way, ...] = ("from", "to")
_tables = count(1)


class Fault(Protocol):
    """Something that goes wrong, on ``target`` (a node's name), and can be put right."""

    name: str
    target: str
    description: str

    def inject(self) -> None: ...
    def heal(self) -> None: ...


class Restartable(Protocol):
    """A daemon as faults see it."""

    name: str

    @property
    def process(self) -> NodeProcess | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class ArbiterServers(Protocol):
    """A running arbiter: where it listens, and how to break its first so many members."""

    @property
    def endpoints(self) -> tuple[str, ...]: ...
    @property
    def size(self) -> int: ...
    @property
    def serving(self) -> bool: ...
    @property
    def logs(self) -> dict[str, Path]: ...
    def block(self, words: str = "") -> str: ...
    def freeze(self, members: int) -> None: ...
    def thaw(self) -> None: ...
    def kill(self, members: int) -> None: ...
    def restart(self) -> None: ...
    def stop(self) -> None: ...


class ProcessFault:
    """What the process faults share: a daemon that may not be running."""

    name = ""
    description = ""

    def __init__(self, daemon: Restartable) -> None:
        self.daemon, self.target = daemon, daemon.name

    def _process(self) -> NodeProcess:
        if self.daemon.process is None or not self.daemon.process.alive:
            raise LabError(f"{self.name} {self.target}: its daemon is not running")
        return self.daemon.process


class Kill(ProcessFault):
    """kill -9 of all processes of a daemon; healed by starting it again."""

    name = "kill"
    description = "kill -9 of all its processes"

    def inject(self) -> None:
        self._process().kill()

    def heal(self) -> None:
        self.daemon.start()


class Freeze(ProcessFault):
    """SIGSTOP of all processes of a daemon; the kernel below it goes on answering."""

    name = "freeze"
    description = "SIGSTOP of all its processes"

    def inject(self) -> None:
        self._process().freeze()

    def heal(self) -> None:
        if self.daemon.process is not None:
            self.daemon.process.thaw()


class Stop(ProcessFault):
    """A graceful stop, as at maintenance; healed by starting it again."""

    name = "stop"
    description = "graceful stop (SIGTERM)"

    def inject(self) -> None:
        self._process()
        self.daemon.stop()

    def heal(self) -> None:
        self.daemon.start()


@dataclass(frozen=True, slots=True)
class PortRule:
    """Apply ``statement`` (nft: match and verdict) to what a node sends or gets through switch port ``port``."""

    port: str
    way: Way
    statement: str


class PacketFault:
    """Rules on the switch, installed in one transaction and removed in one."""

    def __init__(
        self, name: str, target: str, switch: str, rules: Sequence[PortRule], description: str = ""
    ) -> None:
        self.name, self.target, self.description = name, target, description
        self._switch, self._rules = switch, tuple(rules)
        self._table = f"fault_{next(_tables)}"

    def inject(self) -> None:
        run("ip", "netns", "exec", self._switch, "nft", "-f", "-", stdin=self.ruleset())

    def heal(self) -> None:
        # add before delete: deleting a table that is not there would be an error
        script = f"add table netdev {self._table}\ndelete table netdev {self._table}\n"
        run("ip", "netns", "exec", self._switch, "nft", "-f", "-", stdin=script)

    def ruleset(self) -> str:
        """Return the nft script."""
        chains = "".join(f"  {_chain(number, rule)}\n" for number, rule in enumerate(self._rules))
        return f"table netdev {self._table} {{\n{chains}}}\n"


def _chain(number: int, rule: PortRule) -> str:
    hook = "ingress" if rule.way == "from" else "egress"
    return (
        f'chain c{number} {{ type filter hook {hook} device "{rule.port}" priority 0; policy accept; '
        f"{rule.statement}; }}"
    )


VRRP_MATCHES = ("ip protocol 112", "ip6 nexthdr 112")


def _both_ways(port: str, statement: str, ways: Sequence[Way] = BOTH) -> list[PortRule]:
    return [PortRule(port, way, statement) for way in ways]


def _on_lans(node: Node, statement: str, ways: Sequence[Way] = BOTH) -> list[PortRule]:
    return [rule for port in node.lan_ports for rule in _both_ways(port, statement, ways)]


def _vrrp_lost(node: Node, ways: Sequence[Way] = BOTH) -> list[PortRule]:
    return [rule for match in VRRP_MATCHES for rule in _on_lans(node, f"{match} drop", ways)]


def cut_vrrp(topology: Topology, node: Node, ways: Sequence[Way] = BOTH) -> PacketFault:
    """Lose only VRRP adverts of a node (or one way of them): the classic split."""
    rules = _vrrp_lost(node, ways)
    side = "" if len(ways) == 2 else f", only what it {'sends' if ways[0] == 'from' else 'gets'}"
    return PacketFault("cut-vrrp", node.name, topology.switch, rules, f"VRRP adverts lost{side}")


def cut_lan(topology: Topology, node: Node, ways: Sequence[Way] = BOTH) -> PacketFault:
    """Lose everything on a node's lan wire (or one way of it), with the carrier still up."""
    rules = _on_lans(node, "drop", ways)
    side = "" if len(ways) == 2 else f", only what it {'sends' if ways[0] == 'from' else 'gets'}"
    return PacketFault("cut-lan", node.name, topology.switch, rules, f"all lan traffic lost{side}")


def cut_arbiter(
    topology: Topology, node: Node, *, reject: bool = False, ways: Sequence[Way] = BOTH
) -> PacketFault:
    """Cut a node from every arbiter; peers on the same network stay reachable.

    With ``reject`` connections are reset instead of black-holed.
    """
    rules = []
    for arbiter in topology.arbiters:
        if reject:
            # the switch's own reset leaves through the same port, in the arbiter's name
            sent = f"ip daddr {arbiter.mgmt} meta l4proto tcp reject with tcp reset"
            got = f"ip saddr {arbiter.mgmt} tcp flags & rst == 0 drop"
        else:
            sent, got = f"ip daddr {arbiter.mgmt} drop", f"ip saddr {arbiter.mgmt} drop"
        statements: dict[Way, str] = {"from": sent, "to": got}
        rules += [PortRule(node.mgmt_port, way, statements[way]) for way in ways]
    how = "connections to the arbiter reset" if reject else "packets to and from the arbiter lost"
    return PacketFault("cut-arbiter", node.name, topology.switch, rules, how)


def cut_mgmt(topology: Topology, node: Node) -> PacketFault:
    """Lose everything on a node's mgmt wire: arbiter and peers."""
    rules = _both_ways(node.mgmt_port, "drop")
    return PacketFault("cut-mgmt", node.name, topology.switch, rules, "all mgmt traffic lost")


def partition(topology: Topology, node: Node) -> PacketFault:
    """Cut a node from its peers and the arbiter, while clients still reach it: the worst split.

    The lan drops what comes from or goes to other nodes, so the client still sees whoever answers.
    """
    rules = _both_ways(node.mgmt_port, "drop")
    rules += _vrrp_lost(node)
    for wire in node.lans:
        for mac in _other_macs(topology, node, wire.network):
            rules.append(PortRule(wire.port, "to", f"ether saddr {mac} drop"))
            rules.append(PortRule(wire.port, "from", f"ether daddr {mac} drop"))
    return PacketFault(
        "partition", node.name, topology.switch, rules, "cut from peers and arbiter, clients still reach it"
    )


def isolate(topology: Topology, node: Node) -> PacketFault:
    """Cut a node from everybody on both networks."""
    rules = _on_lans(node, "drop") + _both_ways(node.mgmt_port, "drop")
    return PacketFault("isolate", node.name, topology.switch, rules, "cut from everybody")


def lose(topology: Topology, node: Node, percent: int) -> PacketFault:
    """Drop ``percent`` of the packets of a node's lans at random, each way."""
    if not 0 < percent <= 100:
        raise LabError(f"loss of {percent} %: 1 to 100 accepted")
    rules = _on_lans(node, f"numgen random mod 100 < {percent} drop")
    return PacketFault(f"lose-{percent}", node.name, topology.switch, rules, f"{percent} % of packets lost")


def _other_macs(topology: Topology, node: Node, network: str) -> list[str]:
    """Return the MAC addresses of the other nodes in one network, as nft writes them."""
    wires = (other.wire(network) for other in topology.nodes if other.name != node.name)
    return [wire.mac.hex(":") for wire in wires if wire is not None]


class LinkDown:
    """Pull a node's lan cable: the switch's end goes down, so the node loses its carrier."""

    name = "link-down"
    description = "lan cable pulled"

    def __init__(self, topology: Topology, node: Node) -> None:
        self.target, self._switch, self._port = node.name, topology.switch, node.lan_port

    def inject(self) -> None:
        run("ip", "-n", self._switch, "link", "set", self._port, "down")

    def heal(self) -> None:
        run("ip", "-n", self._switch, "link", "set", self._port, "up")


class DeleteAddress:
    """Somebody removes the virtual address by hand. Putting it back is the daemon's business, not ours.

    ``fleeting``: the node may have lost the address a moment ago, and then there is nothing to remove.
    """

    name = "delete-address"
    description = "virtual address removed by hand"

    def __init__(self, node: Node, address: str, device: str = "lan", *, fleeting: bool = False) -> None:
        self.target, self._node, self._fleeting = node.name, node, fleeting
        self._arguments = ("addr", "del", address, "dev", device)

    def inject(self) -> None:
        try:
            run("ip", "-n", self._node.namespace, *self._arguments)
        except LabError as error:
            if not self._fleeting or "Address not found" not in str(error):
                raise

    def heal(self) -> None:
        """Nothing."""


class FreezeArbiter:
    """SIGSTOP of some members of the arbiter: connections stay open and silent."""

    name = "freeze-arbiter"
    target = "arbiter"

    def __init__(self, servers: ArbiterServers, members: int) -> None:
        self._servers, self._members = servers, members
        self.description = f"SIGSTOP of {members} members of the arbiter"

    def inject(self) -> None:
        self._servers.freeze(self._members)

    def heal(self) -> None:
        self._servers.thaw()


class KillArbiter:
    """kill -9 of some members of the arbiter; healed by starting them again on their data."""

    name = "kill-arbiter"
    target = "arbiter"

    def __init__(self, servers: ArbiterServers, members: int) -> None:
        self._servers, self._members = servers, members
        self.description = f"kill -9 of {members} members of the arbiter"

    def inject(self) -> None:
        self._servers.kill(self._members)

    def heal(self) -> None:
        self._servers.restart()


class Several:
    """Faults injected one right after the other, healed in reverse."""

    def __init__(self, name: str, *faults: Fault) -> None:
        self.name, self._faults = name, faults
        self.target = "+".join(dict.fromkeys(fault.target for fault in faults))
        self.description = "; ".join(fault.description for fault in faults)

    def inject(self) -> None:
        for fault in self._faults:
            fault.inject()

    def heal(self) -> None:
        with contextlib.ExitStack() as stack:  # every one is healed, whatever another raises
            for fault in self._faults:
                stack.callback(fault.heal)
