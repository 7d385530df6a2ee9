"""The node's VRRP sockets: what comes in becomes events, ``send`` puts adverts on the wire.

Promises: any number of instances share one receiving socket per family; changing one instance does not disturb
the sockets of the others. Must be told of every ``LinkChanged`` and ``PrimaryAddressChanged``: it does not watch.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from haagent.config.model import VrrpInstance
from haagent.core.events import IPAddress
from haagent.effects.endpoint import Endpoint
from haagent.effects.interfaces import index_of
from haagent.effects.raw import Family, Membership, Memberships
from haagent.effects.receiver import Deliver, Receiver
from haagent.effects.sender import Sender
from haagent.errors import EffectError


class VrrpSockets:
    """All VRRP traffic of one node, in the network namespace of the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        self._loop, self._deliver = loop, deliver
        self._receivers: dict[Family, Receiver] = {}
        self._memberships = Memberships()
        self._sender = Sender()
        self._endpoints: dict[str, Endpoint] = {}
        self._pending: asyncio.Handle | None = None

    def reconfigure(self, instances: Iterable[VrrpInstance]) -> None:
        """Serve exactly these instances. A source learned earlier is kept. Raises EffectError."""
        endpoints = {}
        for instance in instances:
            before = self._endpoints.get(instance.name)
            kept = before is not None and (before.instance.interface, before.instance.family) == (
                instance.interface,
                instance.family,
            )
            learned = before.source if before is not None and kept else None
            source = instance.source or learned
            endpoint = _endpoint(instance, source)
            endpoints[instance.name] = before if before is not None and before == endpoint else endpoint
        self._endpoints = endpoints
        self._join()
        self._serve()

    def use_source(self, instance: str, address: IPAddress | None) -> None:
        """Send from ``address`` (a ``PrimaryAddressChanged``), unless the configuration names a source.

        Takes effect with the next ``send``, or at the latest before the loop looks at its sockets again: at start
        this is called for every instance in a row.
        """
        endpoint = self._endpoints.get(instance)
        if endpoint is None or endpoint.instance.source is not None or endpoint.source == address:
            return
        self._endpoints[instance] = replace(endpoint, source=address)
        if self._pending is None:
            self._pending = self._loop.call_soon(self._serve)

    def interface_changed(self, interface: str) -> None:
        """Look the interface up again (a ``LinkChanged``): it may have come back as another one."""
        changed = {
            name: now
            for name, endpoint in self._endpoints.items()
            if interface in (endpoint.instance.interface, _virtual(endpoint.instance))
            and (now := _endpoint(endpoint.instance, endpoint.source)) != endpoint
        }
        self._endpoints |= changed
        if changed:
            self._join()
            self._serve()

    def send(self, instance: str, priority: int) -> EffectError | None:
        """Send one advert now; return the kernel's refusal, or None. See ``Sender.send``."""
        if self._pending is not None:
            self._serve()
        return self._sender.send(instance, priority)

    @property
    def counters(self) -> Counter[str]:
        """Packets by fate: ``accepted``, ``sent``, discards by reason, refusals by errno name."""
        total: Counter[str] = Counter(self._sender.counters)
        for receiver in self._receivers.values():
            total.update(receiver.counters)
        return total

    @property
    def fates(self) -> Counter[tuple[str, str]]:
        """Packets by instance and fate: ``accepted`` (of these ``priority-zero``), discards, ``sent``, ``sent-zero``."""
        total: Counter[tuple[str, str]] = Counter(self._sender.fates)
        for receiver in self._receivers.values():
            total.update(receiver.fates)
        return total

    @property
    def unknown_vrids(self) -> Counter[tuple[int, int]]:
        """Packets by (interface index, VRID) that no instance is configured for; at most 1024 keys a family."""
        total: Counter[tuple[int, int]] = Counter()
        for receiver in self._receivers.values():
            total.update(receiver.unknown_vrids)
        return total

    async def aclose(self) -> None:
        """Close every socket and leave every group. Idempotent."""
        self._settle()
        for receiver in self._receivers.values():
            receiver.close()
        self._receivers.clear()
        self._memberships.close()
        self._sender.close()

    def _join(self) -> None:
        self._memberships.hold(
            {
                Membership(endpoint.group, ifindex)
                for endpoint in self._endpoints.values()
                for ifindex in (endpoint.ifindex, endpoint.vmac_ifindex)
                if endpoint.group is not None and ifindex
            }
        )

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _serve(self) -> None:
        self._settle()
        families: dict[Family, list[Endpoint]] = {}
        for endpoint in self._endpoints.values():
            families.setdefault(endpoint.instance.family, []).append(endpoint)
        for family in self._receivers.keys() - families.keys():
            self._receivers.pop(family).close()
        for family, endpoints in families.items():
            if family not in self._receivers:
                self._receivers[family] = Receiver(self._loop, family, self._deliver)
            self._receivers[family].listen_for(endpoints)
        self._sender.speak_for(self._endpoints.values())


def _endpoint(instance: VrrpInstance, source: IPAddress | None) -> Endpoint:
    return Endpoint(instance, index_of(instance.interface), source, index_of(_virtual(instance)))


def _virtual(instance: VrrpInstance) -> str:
    """Return the virtual MAC interface that adverts leave by, "" if they leave by the interface itself."""
    return instance.vmac.name if instance.vmac is not None and not instance.xmit_base else ""
