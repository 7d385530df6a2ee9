"""Puts the virtual addresses of instances on their interfaces, and takes them off.

Promises: every address goes on with a lifetime and is renewed only while ``refresh`` is called, so that it
vanishes by itself if we do not come back. Operations happen in the order of the calls, each is complete when
its call returns, and each answers with one event, delivered from the event loop afterwards: ``AddressesInstalled``,
``AddressesRemoved`` or ``EffectFailed``. When addresses may be installed is decided elsewhere.

Losing an address. ``AddressVanished`` means: an address we had installed and had not been asked to remove is
gone while its interface is there and up: somebody deleted it, its lifetime ran out, or it was a secondary of a
deleted primary. An address that went with its interface (IPv6 addresses go when it is set down) is no such
event; ``LinkChanged`` tells that story. If nobody asked to remove it until the interface is up again (that story was
too short to be told, see ``link_delays``), it vanished. Addresses marked ``no_track`` are forgotten silently.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TypeAlias

from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.events import (
    AddressesInstalled,
    AddressesRemoved,
    AddressVanished,
    EffectFailed,
    IPAddress,
)
from haagent.effects.interfaces import IFF_UP, flags_of, index_of
from haagent.effects.netlink import Request, RequestSocket, add_address, delete_address, explain
from haagent.effects.virtual_macs import VirtualMacs
from haagent.errors import EffectError

AddressEvent: TypeAlias = AddressesInstalled | AddressesRemoved | AddressVanished | EffectFailed
Key: TypeAlias = tuple[int, IPAddress]

# What deleting an address that is not there, or from an interface that is not there, answers.
_ABSENT = frozenset((0, errno.EADDRNOTAVAIL, errno.ENODEV))
_SLICE = 32  # addresses renewed at a stretch


@dataclass(frozen=True, slots=True)
class _Installed:
    instance: str
    virtual: VirtualAddress
    lifetime: int
    request: Request
    since: float  # when it was put there, on the loop's clock


class Addresses:
    """The virtual addresses of one node. Lifetimes are whole seconds: ceil(lease) + 1 leaves time to renew.

    A ``preferred_lft`` counts from the moment an address is put there; renewing does not begin it again.

    ``virtual_macs`` are the interfaces some of them need; they are up exactly while their addresses may be there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[AddressEvent], object],
        virtual_macs: VirtualMacs | None = None,
    ) -> None:
        """Raises EffectError if the kernel refuses a netlink socket."""
        self._loop, self._deliver = loop, deliver
        self._macs = virtual_macs or VirtualMacs()
        self._requests = RequestSocket()
        self._configured: dict[str, tuple[VirtualAddress, ...]] = {}
        self._installed: dict[Key, _Installed] = {}
        self._own_deletions: Counter[Key] = Counter()
        self._gone: dict[str, VirtualAddress] = {}  # with its interface: one address of each instance
        self._renewing: list[Key] = []
        self._next_slice: asyncio.Handle | None = None

    def reconfigure(self, instances: Iterable[VrrpInstance]) -> None:
        """Know exactly these instances. Installed addresses that are no longer configured are removed now.

        Addresses that are new come with the instance's next ``install``. Raises EffectError.
        """
        instances = tuple(instances)
        self._configured = {
            instance.name: (*instance.addresses, *instance.excluded) for instance in instances
        }
        self._macs.reconfigure(instances)
        stale = [
            (key[0], entry.virtual)
            for key, entry in self._installed.items()
            if entry.virtual not in self._configured.get(entry.instance, ())
        ]
        self._delete(stale)

    def install(self, instance: str, lifetime: int) -> None:
        """Put every address of the instance on its interface for ``lifetime`` seconds, or renew it.

        If one is refused the others stay; ``remove`` takes off whatever there is.
        """
        try:
            self._macs.lift(instance)
            self._install(instance, lifetime)
        except EffectError as error:
            self._answer(EffectFailed(instance, "InstallAddresses", str(error)))
        else:
            self._gone.pop(instance, None)
            self._answer(AddressesInstalled(instance))

    def remove(self, instance: str) -> None:
        """Take every address of the instance off its interface, configured or installed; fine if there are none."""
        here = [
            (key[0], entry.virtual) for key, entry in self._installed.items() if entry.instance == instance
        ]
        here += [
            (ifindex, virtual)
            for virtual in self._configured.get(instance, ())
            if (ifindex := index_of(virtual.device)) and (ifindex, virtual) not in here
        ]
        self._gone.pop(instance, None)
        try:
            self._delete(here)
            self._macs.lower(instance)
        except EffectError as error:
            self._answer(EffectFailed(instance, "RemoveAddresses", str(error)))
        else:
            self._answer(AddressesRemoved(instance))

    def refresh(self, lifetime: int) -> None:
        """Give every installed address ``lifetime`` more seconds, from now. One that cannot be renewed vanished.

        Goes on between other work of the event loop if there are many: with hundreds of IPv6 addresses Linux
        needs a tenth of a millisecond for each.
        """
        self._renewing = list(self._installed)
        self._renew(lifetime)

    def sweep(self) -> tuple[str, ...]:
        """Remove what an earlier run left: configured addresses found on their interfaces; return them.

        As keepalived does, any address equal in address, prefix length and interface counts. Raises EffectError.
        """
        everything = [
            (ifindex, virtual)
            for virtuals in self._configured.values()
            for virtual in virtuals
            if (ifindex := index_of(virtual.device))
        ]
        codes = self._requests.execute([delete_address(*place) for place in everything])
        found = [place for place, code in zip(everything, codes, strict=True) if code == 0]
        self._own_deletions.update((ifindex, virtual.address) for ifindex, virtual in found)
        return tuple(f"{virtual} on {virtual.device}" for _, virtual in found)

    def deleted(self, ifindex: int, address: IPAddress) -> None:
        """Take note that the kernel reported the deletion of an address, by whomever."""
        key = (ifindex, address)
        if self._own_deletions[key] > 0:
            self._own_deletions[key] -= 1
            return
        del self._own_deletions[key]
        self._vanished(key)

    def interface_down(self, interface: str) -> None:
        """Take note that an interface went down: if it is a virtual MAC's that should be up, its addresses are gone."""
        instance = self._macs.lost(interface)
        gone = [key for key, entry in self._installed.items() if entry.instance == instance]
        entries = [self._installed.pop(key) for key in gone if instance is not None]
        if instance is not None and entries:
            self._answer(AddressVanished(instance, str(entries[0].virtual.address)))

    def interface_up(self, interface: str) -> None:
        """Take note that an interface is up, maybe another one of that name: what went with the old one vanished."""
        back = [name for name, virtual in self._gone.items() if virtual.device == interface]
        for instance in back:
            self._answer(AddressVanished(instance, str(self._gone.pop(instance).address)))

    def remove_interfaces(self) -> None:
        """Delete the virtual MAC interfaces, after the addresses are gone. Raises EffectError."""
        self._macs.remove()

    def reports_lost(self) -> None:
        """Take note that deletions so far will not be reported any more (the watch starts afresh)."""
        self._own_deletions.clear()

    def reconcile(self, present: AbstractSet[Key]) -> None:
        """Take note of all addresses there are."""
        for key in self._installed.keys() - present:
            self._vanished(key)

    async def aclose(self) -> None:
        """Close the socket; addresses stay until removed or their lifetimes end. Idempotent."""
        if self._next_slice is not None:
            self._next_slice.cancel()
        self._requests.close()
        self._macs.close()

    def _renew(self, lifetime: int) -> None:
        if self._next_slice is not None:
            self._next_slice.cancel()
        keys = [key for key in self._renewing[:_SLICE] if key in self._installed]
        self._renewing = self._renewing[_SLICE:]
        self._next_slice = self._loop.call_soon(self._renew, lifetime) if self._renewing else None
        try:
            codes = self._requests.execute([self._renewal(key, lifetime) for key in keys])
        except EffectError as error:
            for instance in {self._installed[key].instance for key in keys}:
                self._answer(EffectFailed(instance, "InstallAddresses", str(error)))
            return
        for key, code in zip(keys, codes, strict=True):
            if code:
                self._vanished(key)

    def _renewal(self, key: Key, lifetime: int) -> Request:
        """Return the request that renews an installed address; the same bytes as long as its lifetimes are the same."""
        entry = self._installed[key]
        if entry.virtual.preferred_lifetime:
            left = entry.virtual.preferred_lifetime - int(self._loop.time() - entry.since)
            return add_address(key[0], replace(entry.virtual, preferred_lifetime=max(0, left)), lifetime)
        if entry.lifetime != lifetime:
            request = add_address(key[0], entry.virtual, lifetime)
            entry = replace(entry, lifetime=lifetime, request=request)
            self._installed[key] = entry
        return entry.request

    def _answer(self, event: AddressEvent) -> None:
        self._loop.call_soon(self._deliver, event)

    def _install(self, instance: str, lifetime: int) -> None:
        virtuals = self._configured.get(instance)
        if virtuals is None:
            raise EffectError("there is no such instance")
        keys: list[Key] = []
        for virtual in virtuals:
            ifindex = index_of(virtual.device)
            if not ifindex:
                raise EffectError(f"{virtual}: interface {virtual.device} does not exist")
            keys.append((ifindex, virtual.address))
        requests = [
            add_address(key[0], virtual, lifetime) for key, virtual in zip(keys, virtuals, strict=True)
        ]
        codes = self._requests.execute(requests)
        refused = []
        for key, virtual, request, code in zip(keys, virtuals, requests, codes, strict=True):
            if code == 0:
                known = self._installed.get(key)
                since = self._loop.time() if known is None else known.since
                self._installed[key] = _Installed(instance, virtual, lifetime, request, since)
            else:
                refused.append(f"{virtual} on {virtual.device}: {explain(code)}")
        if refused:
            raise EffectError("; ".join(refused))

    def _delete(self, places: list[tuple[int, VirtualAddress]]) -> None:
        codes = self._requests.execute([delete_address(*place) for place in places])
        refused = []
        for (ifindex, virtual), code in zip(places, codes, strict=True):
            key = (ifindex, virtual.address)
            if code not in _ABSENT:
                refused.append(f"{virtual} on {virtual.device}: {explain(code)}")
                continue
            self._installed.pop(key, None)
            if code == 0:
                self._own_deletions[key] += 1
        if refused:
            raise EffectError("; ".join(refused))

    def _vanished(self, key: Key) -> None:
        entry = self._installed.pop(key, None)
        if entry is None or entry.virtual.no_track:
            return
        device = entry.virtual.device
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            stands = index_of(device) == key[0] and flags_of(sock, device) & IFF_UP
        if stands:
            self._answer(AddressVanished(entry.instance, str(entry.virtual.address)))
        else:
            self._gone[entry.instance] = entry.virtual
