"""The wires of a lab: nodes, a client, arbiters, and a switch in a namespace of its own.

::

    node1 node2 node3          lan   192.0.2.0/24, 2001:db8::/64   VRRP, virtual addresses, the client
      |lan  |lan  |lan ----- switch ----- client
      |mgmt |mgmt |mgmt ---- switch ----- arb1 arb2 arb3
                               mgmt  198.51.100.0/24               arbiter and peer traffic

Faults act on the switch's side of each wire, where a node cannot undo them. Promises unique names, so labs
run side by side, and a record in ``REGISTRY`` written before the first namespace, so that what a crash
leaves behind can be removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Self

from haagent.lab.namespaces import NAMESPACE_DIRECTORY, LabError, processes_in, run, sysctl

REGISTRY = Path("/run/haagent-lab")
VIP4 = IPv4Address("192.0.2.100")
VIP6 = IPv6Address("2001:db8::100")
CLIENT4 = IPv4Address("192.0.2.200")
CLIENT6 = IPv6Address("2001:db8::200")
MOST_NODES = 9


@dataclass(frozen=True, slots=True)
class Wire:
    """One cable: ``interface`` in the node's namespace, ``port`` on the switch, where bridge ``network`` is."""

    network: str
    interface: str
    port: str
    mac: bytes


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the lab. ``lan`` addresses are None on an arbiter; ``mac`` is the first lan interface's.

    ``lans`` are the wires that carry VRRP and virtual addresses: one in the usual lab, several in a rehearsal.
    """

    name: str
    namespace: str
    mgmt: IPv4Address | None
    lan4: IPv4Address | None = None
    lan6: IPv6Address | None = None
    mac: bytes = b""
    lans: tuple[Wire, ...] = ()
    mgmt_port: str = ""

    @property
    def lan_port(self) -> str:
        """The switch's end of this node's first lan wire."""
        return self.lans[0].port

    @property
    def lan_ports(self) -> tuple[str, ...]:
        """The switch's ends of all its lan wires."""
        return tuple(wire.port for wire in self.lans)

    def wire(self, network: str) -> Wire | None:
        """Return its wire in ``network``; None where it has none."""
        return next((wire for wire in self.lans if wire.network == network), None)


@dataclass
class Topology:
    """A built network. Use as a context manager, or call ``destroy``."""

    name: str
    workdir: Path
    switch: str
    client: Node
    nodes: tuple[Node, ...] = ()
    arbiters: tuple[Node, ...] = ()
    _destroyed: bool = field(default=False, repr=False)

    def node(self, name: str) -> Node:
        """Return the node or arbiter called ``name``."""
        for node in (*self.nodes, *self.arbiters, self.client):
            if node.name == name:
                return node
        raise LabError(
            f"no node {name!r} in lab {self.name}; there are {', '.join(n.name for n in self.nodes)}"
        )

    def by_mac(self) -> dict[bytes, str]:
        """Return each node's name by the MAC addresses it answers with on its lans."""
        return {wire.mac: node.name for node in self.nodes for wire in node.lans}

    def destroy(self) -> None:
        """End every process inside the lab, remove its namespaces, files and record. Safe to call twice."""
        if not self._destroyed:
            self._destroyed = True
            remove(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()


def build(nodes: int = 2, arbiters: int = 3, *, prefix: str = "hal") -> Topology:
    """Make the namespaces and wires for ``nodes`` (1 to 9) and ``arbiters`` (0 to 9)."""
    if not 1 <= nodes <= MOST_NODES or not 0 <= arbiters <= MOST_NODES:
        raise LabError(
            f"{nodes} nodes and {arbiters} arbiters: 1 to {MOST_NODES} and 0 to {MOST_NODES} accepted"
        )
    node_names = [f"node{i}" for i in range(1, nodes + 1)]
    arbiter_names = [f"arb{i}" for i in range(1, arbiters + 1)]
    name, workdir = register(prefix, ["switch", "client", *node_names, *arbiter_names])
    try:
        switch = add_switch(name, ("lan", "mgmt"))
        return Topology(
            name=name,
            workdir=workdir,
            switch=switch,
            client=_client(name, switch),
            nodes=tuple(_node(name, switch, n, 10 + i) for i, n in enumerate(node_names, 1)),
            arbiters=tuple(_arbiter(name, switch, n, 20 + i) for i, n in enumerate(arbiter_names, 1)),
        )
    except BaseException:
        remove(name)
        raise


def add_namespace(lab: str, role: str) -> str:
    """Make a namespace of a registered lab, its loopback up; return its name."""
    namespace = f"{lab}-{role}"
    run("ip", "netns", "add", namespace)
    # an address of the lab is never in doubt, so duplicate address detection would only cost seconds
    sysctl(namespace, "net.ipv6.conf.default.accept_dad", 0)
    sysctl(namespace, "net.ipv6.conf.all.accept_dad", 0)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    return namespace


def add_switch(lab: str, bridges: Sequence[str]) -> str:
    """Make the switch's namespace with a bridge per network; return the namespace."""
    namespace = add_namespace(lab, "switch")
    for bridge in bridges:
        # multicast snooping off: VRRP groups must reach every port, as on a plain switch
        run("ip", "-n", namespace, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", namespace, "link", "set", bridge, "up")
    return namespace


def connect(
    switch: str,
    network: str,
    port: str,
    namespace: str,
    *,
    interface: str = "",
    addresses: Sequence[str] = (),
) -> Wire:
    """Connect ``namespace`` to bridge ``network`` by ``interface`` (default: called like the network)."""
    interface = interface or network
    ends = ("link", "add", "dev", port, "type", "veth", "peer", "name", interface, "netns", namespace)
    run("ip", "-n", switch, *ends)
    run("ip", "-n", switch, "link", "set", port, "master", network, "up")
    for address in addresses:
        nodad = ("nodad",) if ":" in address else ()
        run("ip", "-n", namespace, "addr", "add", address, "dev", interface, *nodad)
    run("ip", "-n", namespace, "link", "set", interface, "up")
    link = json.loads(run("ip", "-j", "-n", namespace, "link", "show", interface))
    return Wire(network, interface, port, bytes.fromhex(link[0]["address"].replace(":", "")))


def _node(lab: str, switch: str, name: str, number: int) -> Node:
    namespace = add_namespace(lab, name)
    bind_anywhere(namespace)
    lan4, lan6 = IPv4Address(f"192.0.2.{number}"), IPv6Address(f"2001:db8::{number}")
    mgmt = IPv4Address(f"198.51.100.{number}")
    lan = connect(switch, "lan", f"lan-{name}", namespace, addresses=(f"{lan4}/24", f"{lan6}/64"))
    port = connect(switch, "mgmt", f"mgmt-{name}", namespace, addresses=(f"{mgmt}/24",)).port
    return Node(name, namespace, mgmt, lan4, lan6, lan.mac, (lan,), port)


def bind_anywhere(namespace: str) -> None:
    """Let services bind the virtual address whether it is there or not, as HAProxy's hosts are set up."""
    for family in ("ipv4", "ipv6"):
        sysctl(namespace, f"net.{family}.ip_nonlocal_bind", 1)


def _arbiter(lab: str, switch: str, name: str, number: int) -> Node:
    return add_arbiter(lab, switch, name, IPv4Address(f"198.51.100.{number}"))


def add_arbiter(lab: str, switch: str, name: str, mgmt: IPv4Address) -> Node:
    """Make a machine for a member of the arbiter, on the mgmt network alone."""
    namespace = add_namespace(lab, name)
    wire = connect(switch, "mgmt", f"mgmt-{name}", namespace, addresses=(f"{mgmt}/24",))
    return Node(name, namespace, mgmt, mgmt_port=wire.port)


def _client(lab: str, switch: str) -> Node:
    namespace = add_namespace(lab, "client")
    lan = connect(switch, "lan", "lan-client", namespace, addresses=(f"{CLIENT4}/24", f"{CLIENT6}/64"))
    return Node("client", namespace, None, CLIENT4, CLIENT6, lan.mac, (lan,))


def register(prefix: str, roles: Sequence[str]) -> tuple[str, Path]:
    """Choose a lab's name and make its directory; record what ``remove`` will have to remove."""
    name = f"{prefix}{secrets.token_hex(2)}"
    workdir = Path(tempfile.mkdtemp(prefix=f"haagent-lab-{name}-"))
    REGISTRY.mkdir(mode=0o755, exist_ok=True)
    record = {"namespaces": [f"{name}-{role}" for role in roles], "workdir": str(workdir), "pid": os.getpid()}
    (REGISTRY / f"{name}.json").write_text(json.dumps(record))
    return name, workdir


def registered() -> tuple[str, ...]:
    """Return the names of all labs that were built and not removed, whoever built them."""
    return tuple(sorted(path.stem for path in REGISTRY.glob("*.json")))


def in_use(name: str) -> bool:
    """Say whether the process that built lab ``name`` is still alive."""
    try:
        return Path(f"/proc/{json.loads((REGISTRY / f'{name}.json').read_text())['pid']}").exists()
    except FileNotFoundError:
        return False


def remove(name: str) -> None:
    """Remove lab ``name`` by its record: processes, namespaces, files. Removing what is gone is no error."""
    path = REGISTRY / f"{name}.json"
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return
    namespaces = [n for n in record["namespaces"] if Path(NAMESPACE_DIRECTORY, n).exists()]
    _end_processes(namespaces)
    for namespace in namespaces:
        run("ip", "netns", "delete", namespace)
    shutil.rmtree(record["workdir"], ignore_errors=True)
    path.unlink(missing_ok=True)


def _end_processes(namespaces: list[str], patience: float = 2.0) -> None:
    """Kill what runs inside the lab's own namespaces, and wait until it is gone."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        alive = [pid for namespace in namespaces for pid in processes_in(namespace) if pid != os.getpid()]
        if not alive:
            return
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
