"""The networks between hosts: one for VRRP and announcements, one for the peers' messages. Cuts are one-way."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from haagent.core.events import AdvertisementReceived, Event, ForeignAnnouncement, PeerHeard
from haagent.core.units import SECOND
from tests.simulation.chance import Chance
from tests.simulation.layouts import thing_of
from tests.simulation.plan import Network

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World


class _Wire:
    """Carries events from host to host, with the network's loss, delay, doubling and cuts."""

    def __init__(self, world: World, manner: Network, chance: Chance) -> None:
        self.world, self.manner, self._chance = world, manner, chance
        self.cuts: dict[tuple[str, str], int] = {}
        self.bad = 0

    def carry(self, sender: Host, receiver: Host, event: Event) -> None:
        manner, chance = self.manner, self._chance
        loss = 0.4 if self.bad else manner.loss
        if self.cuts.get((sender.name, receiver.name)) or (loss and chance.happens(loss)):
            return
        delay = chance.between(manner.least, manner.most)
        if (manner.late or self.bad) and chance.happens(max(manner.late, 0.1 if self.bad else 0)):
            delay += chance.below(SECOND // 2)
        self.world.after(delay, receiver.deliver, event)
        if manner.double and chance.happens(manner.double):
            self.world.after(delay + chance.below(SECOND // 5), receiver.deliver, event)

    def cut(self, sender: str, receiver: str, by: int) -> None:
        self.cuts[sender, receiver] = max(0, self.cuts.get((sender, receiver), 0) + by)


class Lan(_Wire):
    """The segment of the virtual addresses, with a switch that learns from gratuitous ARP."""

    def advertise(self, sender: Host, instance: str, priority: int, source: IPv4Address) -> None:
        """Send an advertisement if the gate lets it pass; priority 0 always passes."""
        thing = thing_of(instance)
        if not sender.link or (priority and not sender.kernel.answers(thing, sender.boot())):
            return
        self.world.checks.spoke(sender, thing, priority)
        event = AdvertisementReceived(thing, source, priority, sender.config.advert, ())
        self.broadcast(sender, event)

    def announce(self, sender: Host, instance: str) -> None:
        """Send gratuitous ARP if the gate lets it pass: the switch learns, and other agents hear it."""
        thing = thing_of(instance)
        if not sender.link or not sender.kernel.answers(thing, sender.boot()):
            return
        self.world.checks.spoke(sender, thing, 1)
        self.broadcast(sender, ForeignAnnouncement(thing, "192.0.2.1", f"02:00:00:00:00:{sender.index:02x}"))

    def broadcast(self, sender: Host, event: AdvertisementReceived | ForeignAnnouncement) -> None:
        """Let every other host hear of a thing, under the name that the thing has there."""
        for receiver in self.world.hosts:
            if receiver is not sender and receiver.link and receiver.node is not None:
                name = receiver.names.get(event.instance, event.instance)
                heard = event if name == event.instance else replace(event, instance=name)
                self.carry(sender, receiver, heard)

    def intrude(self, instance: str, priority: int) -> None:
        """Let a router that is none of ours advertise, as a stock keepalived with the same VRID would."""
        thing = thing_of(instance)
        for receiver in self.world.hosts:
            name = receiver.names.get(thing, thing)
            receiver.deliver(AdvertisementReceived(name, IPv4Address("10.0.0.99"), priority, SECOND, ()))


class Peers(_Wire):
    """The peers' own channel: authenticated, so nothing is invented on it; sent over one network here."""

    def send(self, sender: Host, peer: str, body: object) -> None:
        for receiver in self.world.hosts:
            if receiver.name == peer:
                self.carry(sender, receiver, PeerHeard(sender.name, body))
