"""A blueprint as namespaces: one per node, with the interfaces its file names, one bridge per network.

Promises what ``topology.build`` promises: a record before the first namespace, everything gone after ``destroy``.
"""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

from haagent.lab.namespaces import LabError, run, sysctl
from haagent.lab.rehearsal.blueprint import Blueprint, Card, Machine
from haagent.lab.topology import (
    Node,
    Topology,
    Wire,
    add_arbiter,
    add_namespace,
    add_switch,
    bind_anywhere,
    connect,
    register,
    remove,
)

PREFIX = "hrh"
MGMT = "mgmt"


def wire(blueprint: Blueprint, arbiters: int) -> Topology:
    """Build the network of ``blueprint`` with ``arbiters`` machines for the arbiter's members."""
    arbiter_names = [f"arb{number}" for number in range(1, arbiters + 1)]
    roles = ["switch", "client", *(machine.name for machine in blueprint.machines), *arbiter_names]
    lab, workdir = register(PREFIX, roles)
    try:
        switch = add_switch(lab, (MGMT, *(network.name for network in blueprint.networks)))
        nodes = tuple(
            _node(lab, switch, number, machine) for number, machine in enumerate(blueprint.machines, 1)
        )
        client = _client(lab, switch, blueprint)
        members = tuple(
            add_arbiter(lab, switch, name, blueprint.mgmt[20 + number])
            for number, name in enumerate(arbiter_names, 1)
        )
        return Topology(lab, workdir, switch, client, nodes, members)
    except BaseException:
        remove(lab)
        raise


def _node(lab: str, switch: str, number: int, machine: Machine) -> Node:
    namespace = add_namespace(lab, machine.name)
    bind_anywhere(namespace)
    # an interface that is set down and up again has its IPv6 addresses back, as a network manager would see to it
    sysctl(namespace, "net.ipv6.conf.default.keep_addr_on_down", 1)
    sysctl(namespace, "net.ipv6.conf.all.keep_addr_on_down", 1)
    wires = tuple(_card(switch, namespace, f"{card.network}-{number}", card) for card in machine.cards)
    taken = {card.interface for card in machine.cards}
    mgmt = next(name for name in (MGMT, "labmgmt", "labmgmt2") if name not in taken)
    port = f"mgmt-{number}"
    connect(switch, MGMT, port, namespace, interface=mgmt, addresses=machine.mgmt)
    own = IPv4Address(machine.mgmt[0].partition("/")[0])
    lan4 = machine.first4()
    return Node(machine.name, namespace, own, lan4, mac=wires[0].mac, lans=wires, mgmt_port=port)


def _card(switch: str, namespace: str, port: str, card: Card) -> Wire:
    try:
        return connect(
            switch, card.network, port, namespace, interface=card.interface, addresses=card.addresses
        )
    except LabError as error:
        raise LabError(f"interface {card.interface} cannot be rebuilt: {error}") from error


def _client(lab: str, switch: str, blueprint: Blueprint) -> Node:
    namespace = add_namespace(lab, "client")
    wires = []
    for network in blueprint.networks:
        made = connect(
            switch,
            network.name,
            f"{network.name}-c",
            namespace,
            interface=network.name,
            addresses=network.client,
        )
        for route in network.routes:
            with contextlib.suppress(LabError):  # the same address in two networks: the first one has it
                run("ip", "-n", namespace, "route", "add", route, "dev", network.name)
        wires.append(made)
    return Node("client", namespace, None, mac=wires[0].mac, lans=tuple(wires))
