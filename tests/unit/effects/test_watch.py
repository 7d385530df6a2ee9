"""What the watch tells of links, and what becomes of addresses that went with one, without a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from haagent.config.model import LinkDelay
from haagent.config.network_model import VirtualAddress
from haagent.core.events import AddressVanished, LinkChanged
from haagent.core.units import SECOND
from haagent.effects import addresses as addresses_module
from haagent.effects.addresses import Addresses, _Installed
from haagent.effects.interfaces import IFF_LOWER_UP, IFF_RUNNING, IFF_UP
from haagent.effects.link_delays import LinkDelays
from haagent.effects.watch import NetworkWatch

UP = IFF_UP | IFF_RUNNING | IFF_LOWER_UP
VIP = VirtualAddress(ip_address("fd00::9"), 64, "eth0")


class Watched:
    """A watch on eth0, and everything it told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        installed = SimpleNamespace(interface_up=lambda name: self.told.append(f"{name} is up"))
        self.watch = NetworkWatch(self.told.append, cast("Any", installed))
        self.watch.reconfigure((), ["eth0"])

    def links(self, **indexes: int) -> list[object]:
        """Let everything be read anew: these interfaces, up, with these indexes; return what is told of that."""
        self.told.clear()
        self.watch._links.clear()
        for name, index in indexes.items():
            message = {"event": "RTM_NEWLINK", "family": 0, "index": index, "flags": UP, "ifname": name}
            self.watch._apply(message)
        self.watch._tell()
        return list(self.told)


def test_a_link_is_told_of_when_it_changes() -> None:
    watched = Watched()
    assert watched.links(eth0=7) == [LinkChanged("eth0", up=True), "eth0 is up"]
    assert watched.links(eth0=7) == []
    assert watched.links() == [LinkChanged("eth0", up=False)]
    assert watched.links() == []


def test_an_interface_made_anew_while_nobody_listened_has_been_down() -> None:
    watched = Watched()
    watched.links(eth0=7)
    down_and_up = [LinkChanged("eth0", up=False), LinkChanged("eth0", up=True)]
    assert watched.links(eth0=9) == [*down_and_up, "eth0 is up"]
    assert watched.links(eth0=9) == []


async def test_a_change_that_was_taken_back_in_time_tells_the_old_state_once_more() -> None:
    told: list[object] = []
    delays = LinkDelays(told.append, {"eth0": LinkDelay("eth0", up=SECOND, down=SECOND)})
    for up in (True, False, True, True):
        delays.take(LinkChanged("eth0", up=up))
    delays.close()
    assert told == [LinkChanged("eth0", up=True)] * 2  # the gate and the sockets look at the interface again


# -- addresses


class Host:
    """Addresses of which one is installed on eth0, whose index and flags are what they are told to be."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.index, self.flags = 7, UP
        self.addresses = Addresses(
            asyncio.get_running_loop(), self.told.append, cast("Any", SimpleNamespace())
        )
        self.addresses._installed[7, VIP.address] = _Installed("VI_1", VIP, 3, b"", 0.0)

    async def after_a_turn(self) -> list[object]:
        await asyncio.sleep(0)
        return list(self.told)


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    host = Host()
    monkeypatch.setattr(addresses_module, "index_of", lambda _name: host.index)
    monkeypatch.setattr(addresses_module, "flags_of", lambda _socket, _name: host.flags)
    yield host
    host.addresses._requests.close()


async def test_an_address_that_went_with_its_interface_vanished_if_nobody_removed_it_meanwhile(host) -> None:
    host.flags = 0
    host.addresses.deleted(7, VIP.address)
    assert await host.after_a_turn() == []
    host.flags = UP
    host.addresses.interface_up("eth1")
    assert await host.after_a_turn() == []
    host.addresses.interface_up("eth0")
    host.addresses.interface_up("eth0")
    assert await host.after_a_turn() == [AddressVanished("VI_1", "fd00::9")]


async def test_an_address_of_an_interface_made_anew_vanished_when_that_is_up(host) -> None:
    host.index = 9
    host.addresses.reconcile(frozenset())
    assert await host.after_a_turn() == []
    host.addresses.interface_up("eth0")
    assert await host.after_a_turn() == [AddressVanished("VI_1", "fd00::9")]


async def test_an_address_that_is_to_be_off_does_not_vanish(host, monkeypatch) -> None:
    monkeypatch.setattr(host.addresses._requests, "execute", lambda requests: [0] * len(requests))
    host.addresses._macs = cast("Any", SimpleNamespace(lower=lambda _instance: None))
    host.flags = 0
    host.addresses.deleted(7, VIP.address)
    host.addresses.remove("VI_1")
    host.addresses.interface_up("eth0")
    assert not [event for event in await host.after_a_turn() if isinstance(event, AddressVanished)]
