"""Faults that take more than a node's name to make: aimed at what a rehearsal knows of its moment.

``Aim`` is the stage and the nodes of the moment. Every other function here makes one fault from an aim.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

from haagent.config.model import VrrpInstance
from haagent.control.client import request
from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.errors import ControlError
from haagent.lab import faults, host_faults
from haagent.lab.daemons import Haagent
from haagent.lab.faults import Fault
from haagent.lab.namespaces import LabError
from haagent.lab.nemesis import ON_ARBITER, ON_NODES
from haagent.lab.process_faults import Action, ColdStart, Staged
from haagent.lab.rehearsal.blueprint import Watched
from haagent.lab.rehearsal.stage import Stage
from haagent.lab.topology import Node

At = Literal["owner", "other", "arbiter"]
FLOOD: Duration = 2 * MILLISECOND
HIGHEST = 254


@dataclass(frozen=True, slots=True)
class Aim:
    """A stage and the nodes of the moment: who owns the first instance, and another one."""

    stage: Stage
    owner: str
    other: str

    @property
    def watched(self) -> Watched:
        """The instance that is aimed at: the first."""
        return self.stage.watched[0]

    @property
    def instance(self) -> VrrpInstance:
        """The aimed instance as the owner's configuration has it."""
        return next(one for one in self._instances() if one.name == self.watched.instance)

    def node(self, name: str) -> Node:
        """Return a node of the network."""
        return self.stage.topology.node(name)

    def interface(self, name: str) -> str:
        """Return what a node calls the aimed instance's interface. Raises LabError."""
        wire = self.node(name).wire(self.watched.watch.network)
        if wire is None:
            raise LabError(f"{name} has no wire in {self.watched.watch.network}")
        return wire.interface

    def address(self) -> str:
        """Return the aimed instance's first address as the configuration writes it."""
        first = self.watched.watch.addresses[0]
        every = (
            str(a) for one in self._instances() for a in (*one.addresses, *one.excluded) if a.address == first
        )
        return next(every, f"{first}/{first.max_prefixlen}")

    def _instances(self) -> Sequence[VrrpInstance]:
        machine = self.stage.machines.get(self.owner) or next(iter(self.stage.machines.values()))
        return machine.source.configuration.instances


Make = Callable[[Aim], Fault]


def at(where: At, fault: str) -> Make:
    """Return what makes one of the nemesis's faults at the owner, another node or the arbiter."""

    def make(aim: Aim) -> Fault:
        if where == "arbiter":
            if aim.stage.servers is None:
                raise LabError(f"{fault}: there is no arbiter")
            return ON_ARBITER[fault](aim.stage.servers)
        return ON_NODES[fault](aim.stage, aim.owner if where == "owner" else aim.other)

    return make


def staged(name: str, says: str, *steps: tuple[Make, Duration]) -> Make:
    """Return what makes faults one after the other, with pauses."""

    def make(aim: Aim) -> Fault:
        def later(step: Make) -> Callable[[], Fault]:
            return lambda: step(aim)

        return Staged(name, says, *((later(step), pause) for step, pause in steps))

    return make


def after_arbiter(name: str, says: str, then: Make) -> Make:
    """Return what stops the whole arbiter, and two seconds later something else."""
    return staged(
        name,
        f"the arbiter stopped, then {says}",
        (at("arbiter", "freeze-arbiter-all"), 2 * SECOND),
        (then, 0),
    )


def scripts(name: str, code: str, says: str, *, everywhere: bool = False) -> Make:
    """Return what makes the tracked scripts of the owner (or of every node) exit with ``code``."""

    def make(aim: Aim) -> Fault:
        nodes = list(aim.stage.machines) if everywhere else [aim.owner]

        def put(text: str) -> None:
            for node in nodes:
                for script in tracked_scripts(aim.stage):
                    aim.stage.stubs[node].exit_with(script, text)

        return Action(name, "+".join(nodes), says, lambda: put(code), lambda: put("0"))

    return make


def tracked_scripts(stage: Stage) -> list[str]:
    """Return the scripts that the first instance or its group tracks, on any node."""
    first = stage.watched[0]
    found = [
        track.name
        for machine in stage.machines.values()
        for subject in machine.source.configuration.subjects
        if subject.name in (first.instance, first.claim)
        for track in subject.track_scripts
    ]
    return list(dict.fromkeys(found))


def foreign(name: str, priority: int | None, *, flood: bool = False) -> Make:
    """Return what makes a foreign router; ``priority`` None: the owner's own. A ``flood`` is fast and damaged."""

    def make(aim: Aim) -> Fault:
        watch, instance = aim.watched.watch, aim.instance
        wire = aim.stage.topology.client.wire(watch.network)
        if wire is None:
            raise LabError(f"the client has no wire in {watch.network}")
        four = tuple(one.address for one in instance.addresses if isinstance(one.address, IPv4Address))
        sent = min(instance.priority, HIGHEST) if priority is None else priority
        rogue = host_faults.Rogue(
            instance.vrid, instance.version, sent, instance.advert_interval, four, instance.auth_pass, flood
        )
        every = FLOOD if flood else instance.advert_interval
        return host_faults.ForeignRouter(
            name, aim.stage.topology, wire, rogue, source=watch.client4, every=every
        )

    return make


def switchover(aim: Aim) -> Fault:
    """Make an operator's `haagent switchover` on the owner."""
    return Action(
        "switchover",
        aim.owner,
        "haagent switchover: handed over on command",
        lambda: ask(aim, aim.owner, "switchover", claim=aim.watched.claim, to=None, force=False),
    )


def paused(aim: Aim) -> Fault:
    """Make an operator's `haagent pause` on every node, and `haagent resume` when it heals."""

    def pause() -> None:
        for name in aim.stage.machines:
            ask(aim, name, "pause")

    def resume() -> None:
        for name in aim.stage.machines:
            with contextlib.suppress(LabError):  # one that was restarted is not paused, and may not be up yet
                ask(aim, name, "resume")

    return Action("pause", "all nodes", "haagent pause", pause, resume)


def ask(aim: Aim, node: str, command: str, **arguments: Any) -> None:
    """Ask a node's agent as an operator would. Raises LabError with its answer."""
    daemon = aim.stage.daemons[node]
    if not isinstance(daemon, Haagent):
        raise LabError(f"{command}: {node} does not run haagent")
    try:
        request(str(daemon.socket), command, **arguments)
    except ControlError as error:
        raise LabError(f"{command} on {node}: {error}") from error


def delete_address(aim: Aim) -> Fault:
    """Make somebody remove the virtual address from the owner."""
    return faults.DeleteAddress(aim.node(aim.owner), aim.address(), aim.interface(aim.owner))


def add_address(aim: Aim) -> Fault:
    """Make somebody add the virtual address on another node."""
    return host_faults.AddAddress(aim.node(aim.other), aim.address(), aim.interface(aim.other))


def no_announcements(aim: Aim) -> Fault:
    """Make gratuitous ARP and NA of the aimed addresses disappear."""
    return host_faults.no_announcements(aim.stage.topology, aim.watched.watch.addresses)


def ring(aim: Aim) -> Fault:
    """Make every node hear one other only."""
    return host_faults.ring(aim.stage.topology)


def cold_start(aim: Aim) -> Fault:
    """Make all nodes start in the same instant."""
    return ColdStart(list(aim.stage.daemons.values()))
