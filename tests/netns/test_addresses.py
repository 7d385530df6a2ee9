"""Addresses and links in a real kernel."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from pyroute2 import AsyncIPRoute
from wire import NEAR, Wire, inside, needs_namespaces, run, until, wire

from haagent.config.model import Unicast, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.events import (
    AddressesInstalled,
    AddressesRemoved,
    AddressVanished,
    EffectFailed,
    LinkChanged,
    PrimaryAddressChanged,
)
from haagent.effects.addresses import Addresses
from haagent.effects.interfaces import host_identity, index_of
from haagent.effects.netlink import ADDRESS_PROTOCOL
from haagent.effects.watch import NetworkWatch

pytestmark = needs_namespaces

LINK_LOCAL = IPv6Address("fe80::cf:ff:fe00:a")
VIP4 = VirtualAddress(IPv4Address("192.0.2.1"), 32, "eth0", label="eth0:vip")
VIP6 = VirtualAddress(IPv6Address("2001:db8:cf::1"), 128, "eth0", preferred_lifetime=0)
INSTANCE = VrrpInstance("VI", "eth0", 51, (VIP4,), excluded=(VIP6,), version=3)
SIX = replace(INSTANCE, name="VI6", family=6, vrid=52, addresses=(), excluded=())


@dataclass
class Host:
    addresses: Addresses
    watch: NetworkWatch
    events: list[Any]

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@pytest.fixture
def pair() -> Iterator[Wire]:
    with wire() as both:
        yield both


@asynccontextmanager
async def host(*instances: VrrpInstance) -> AsyncIterator[Host]:
    events: list[Any] = []
    files = len(os.listdir("/proc/self/fd"))
    addresses = Addresses(asyncio.get_running_loop(), events.append)
    watch = NetworkWatch(events.append, addresses)
    defects: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))
    try:
        addresses.reconfigure(instances)
        watch.reconfigure(instances)
        await watch.start()
        yield Host(addresses, watch, events)
    finally:
        await watch.aclose()
        await addresses.aclose()
        await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == files
    assert len(asyncio.all_tasks()) == 1
    assert not defects


def knows_address_protocols() -> bool:
    return tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 18)


def on_eth0() -> dict[str, Any]:
    listing = json.loads(run("ip", "-j", "-d", "addr", "show", "dev", "eth0"))
    return {entry["local"]: entry for entry in listing[0]["addr_info"] if entry}


async def test_install_and_remove(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 7)
        there = on_eth0()
        for address in ("192.0.2.1", "2001:db8:cf::1"):
            assert 5 <= there[address]["valid_life_time"] <= 7
        assert there["192.0.2.1"]["label"] == "eth0:vip"
        assert there["2001:db8:cf::1"]["nodad"] is True
        assert there["2001:db8:cf::1"]["preferred_life_time"] == 0
        h.addresses.remove("VI")
        assert not {"192.0.2.1", "2001:db8:cf::1"} & on_eth0().keys()
        h.addresses.remove("VI")
        await asyncio.sleep(0.05)
        answers = h.of(AddressesInstalled, AddressesRemoved, AddressVanished, EffectFailed)
        assert answers == [AddressesInstalled("VI"), AddressesRemoved("VI"), AddressesRemoved("VI")]


async def test_options_reach_the_kernel(pair: Wire) -> None:
    virtual = VirtualAddress(
        IPv4Address("10.9.0.1"), 24, "eth0", scope="site", broadcast="+", preferred_lifetime=3
    )
    peer = VirtualAddress(IPv4Address("10.8.0.1"), 32, "eth0", peer="10.8.0.2")
    async with host(replace(INSTANCE, addresses=(virtual, peer), excluded=())) as h:
        h.addresses.install("VI", 9)
        there = on_eth0()
        assert there["10.9.0.1"]["scope"] == "site"
        assert there["10.9.0.1"]["broadcast"] == "10.9.0.255"
        assert there["10.9.0.1"]["preferred_life_time"] <= 3
        assert there["10.8.0.1"]["address"] == "10.8.0.2"


async def test_a_preferred_lifetime_runs_out_although_the_address_is_renewed(pair: Wire) -> None:
    six = replace(VIP6, prefix_length=64, preferred_lifetime=2, flags=("home", "mngtmpaddr", "noprefixroute"))
    async with host(replace(INSTANCE, excluded=(six,))) as h:
        h.addresses.install("VI", 3)
        there = on_eth0()["2001:db8:cf::1"]
        assert there["preferred_life_time"] > 0
        assert there.get("mngtmpaddr") and there.get("noprefixroute")
        for _ in range(5):
            await asyncio.sleep(0.5)
            h.addresses.refresh(3)
        there = on_eth0()["2001:db8:cf::1"]
        assert there.get("deprecated") is True
        assert there["valid_life_time"] >= 2


async def test_lifetimes_are_renewed_and_end_by_themselves(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 1)
        for _ in range(6):
            await asyncio.sleep(0.3)
            h.addresses.refresh(1)
        assert {"192.0.2.1", "2001:db8:cf::1"} <= on_eth0().keys()
        assert not h.of(AddressVanished)
        await until(lambda: len(h.of(AddressVanished)) == 2, seconds=4)  # nobody renews any more
        assert not {"192.0.2.1", "2001:db8:cf::1"} & on_eth0().keys()


async def test_a_deletion_by_somebody_else_is_told(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 60)
        run("ip", "addr", "del", "192.0.2.1/32", "dev", "eth0")
        run("ip", "addr", "del", "2001:db8:cf::1/128", "dev", "eth0")
        await until(lambda: len(h.of(AddressVanished)) == 2)
        assert h.of(AddressVanished) == [
            AddressVanished("VI", "192.0.2.1"),
            AddressVanished("VI", "2001:db8:cf::1"),
        ]
        h.addresses.refresh(60)
        assert "192.0.2.1" not in on_eth0()  # renewing does not put back what is known to be gone


async def test_our_own_deletions_are_not(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        for _ in range(20):  # the notification of each removal arrives when the address is back already
            h.addresses.install("VI", 60)
            h.addresses.remove("VI")
        h.addresses.install("VI", 60)
        await asyncio.sleep(0.2)
        assert not h.of(AddressVanished)
        run("ip", "addr", "del", "192.0.2.1/32", "dev", "eth0")
        await until(lambda: h.of(AddressVanished))


async def test_addresses_that_go_with_their_interface_are_not(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 60)
        run("ip", "link", "set", "eth0", "down")
        await until(lambda: LinkChanged("eth0", up=False) in h.events)
        run("ip", "link", "set", "eth0", "up")
        h.addresses.install("VI", 60)
        run("ip", "link", "del", "eth0")
        await until(lambda: len(h.of(LinkChanged)) >= 3)
        h.addresses.refresh(60)
        await asyncio.sleep(0.05)
        assert not h.of(AddressVanished, EffectFailed)
        h.addresses.install("VI", 60)
        h.addresses.remove("VI")
        await asyncio.sleep(0)
        assert h.of(EffectFailed)[0].error == "192.0.2.1/32: interface eth0 does not exist"
        assert h.events[-1] == AddressesRemoved("VI")


async def test_left_overs_are_swept(pair: Wire) -> None:
    run("ip", "addr", "add", "192.0.2.1/32", "dev", "eth0")
    async with host(INSTANCE) as h:
        assert h.addresses.sweep() == ("192.0.2.1/32 on eth0",)
        assert h.addresses.sweep() == ()
        assert set(on_eth0()) >= {NEAR, "2001:db8:cf::251"}
        h.addresses.install("VI", 60)  # the notification of the sweep is still on its way
        await asyncio.sleep(0.1)
        assert not h.of(AddressVanished)


async def test_reconfiguring_removes_what_is_no_longer_configured(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 60)
        h.addresses.reconfigure([replace(INSTANCE, excluded=())])
        assert "192.0.2.1" in on_eth0()
        assert "2001:db8:cf::1" not in on_eth0()
        h.addresses.reconfigure([])
        assert "192.0.2.1" not in on_eth0()


async def test_links_and_primaries_are_told_once_and_when_they_change(pair: Wire) -> None:
    async with host(INSTANCE, SIX) as h:
        assert h.events == [
            LinkChanged("eth0", up=True),
            PrimaryAddressChanged("VI", IPv4Address(NEAR)),
            PrimaryAddressChanged("VI6", LINK_LOCAL),
        ]
        h.events.clear()
        with inside(pair.far):
            run("ip", "link", "set", "eth0", "down")  # no carrier on our side
        await until(lambda: LinkChanged("eth0", up=False) in h.events)
        with inside(pair.far):
            run("ip", "link", "set", "eth0", "up")
        await until(lambda: LinkChanged("eth0", up=True) in h.events)
        h.addresses.install("VI", 60)
        run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
        run("ip", "addr", "del", f"{NEAR}/24", "dev", "eth0")
        await until(lambda: PrimaryAddressChanged("VI", None) in h.events)  # deleted with its secondary
        run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
        await until(lambda: PrimaryAddressChanged("VI", IPv4Address("192.0.2.9")) in h.events)


async def test_sources(pair: Wire) -> None:
    peers = Unicast((IPv6Address("2001:db8:cf::252"),))
    configured = replace(INSTANCE, source=IPv4Address("198.51.100.7"))
    absent = replace(INSTANCE, name="absent", interface="eth9", addresses=(), excluded=())
    async with host(configured, replace(SIX, unicast=peers), absent) as h:
        assert h.of(PrimaryAddressChanged) == [
            PrimaryAddressChanged("VI", IPv4Address("198.51.100.7")),
            PrimaryAddressChanged("VI6", IPv6Address("2001:db8:cf::251")),
            PrimaryAddressChanged("absent", None),
        ]
        assert LinkChanged("eth9", up=False) in h.events
        assert h.watch.primary_address(index_of("eth0"), 4) == IPv4Address(NEAR)
        assert not h.watch.link_up("eth9")


async def test_a_virtual_address_is_never_a_source(pair: Wire) -> None:
    run("ip", "addr", "flush", "dev", "eth0", "scope", "global")
    run(
        "ip", "addr", "add", "192.0.2.1/32", "dev", "eth0"
    )  # a left-over of keepalived, say: without our mark
    async with host(INSTANCE) as h:
        assert h.of(PrimaryAddressChanged) == [PrimaryAddressChanged("VI", None)]
        run("ip", "addr", "add", "192.0.2.200/24", "dev", "eth0")
        await until(lambda: PrimaryAddressChanged("VI", IPv4Address("192.0.2.200")) in h.events)


async def test_a_port_that_leaves_its_bridge_still_exists(pair: Wire) -> None:
    run("ip", "link", "add", "br0", "type", "bridge")
    async with host(INSTANCE) as h:
        run("ip", "link", "set", "eth0", "master", "br0")
        run("ip", "link", "set", "eth0", "nomaster")
        await asyncio.sleep(0.1)
        assert h.of(LinkChanged) == [LinkChanged("eth0", up=True)]


async def test_lost_notifications_are_made_up_for(pair: Wire) -> None:
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 60)
        churn = "\n".join(
            f"addr {verb} 10.{n // 200}.{n % 200}.1/32 dev eth0"
            for n in range(4000)
            for verb in ("add", "del")
        )
        gone = f"addr del 192.0.2.1/32 dev eth0\naddr del {NEAR}/24 dev eth0\n"
        run("ip", "-batch", "-", stdin=f"{churn}\n{gone}")  # the loop does not run meanwhile
        await until(lambda: h.watch.resyncs, seconds=10)
        await until(lambda: AddressVanished("VI", "192.0.2.1") in h.events)
        assert PrimaryAddressChanged("VI", None) in h.events
        run("ip", "addr", "add", f"{NEAR}/24", "dev", "eth0")  # and the new watch works
        await until(lambda: h.events[-1] == PrimaryAddressChanged("VI", IPv4Address(NEAR)))


async def test_our_addresses_carry_our_mark(pair: Wire) -> None:
    if not knows_address_protocols():
        pytest.skip("address protocols came with Linux 5.18")
    async with host(INSTANCE) as h, AsyncIPRoute() as kernel:
        h.addresses.install("VI", 60)
        marks = {
            message.get("address"): message.get_attr("IFA_PROTO")
            async for message in await kernel.addr("dump")
        }
        assert marks["192.0.2.1"] == marks["2001:db8:cf::1"] == ADDRESS_PROTOCOL != marks[NEAR]


async def test_renewing_does_not_wake_the_watch(pair: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    if not knows_address_protocols():
        pytest.skip("address protocols came with Linux 5.18")
    seen: list[Any] = []
    apply = NetworkWatch._apply
    async with host(INSTANCE) as h:
        h.addresses.install("VI", 60)
        await asyncio.sleep(0.05)
        monkeypatch.setattr(NetworkWatch, "_apply", lambda self, m: (seen.append(m), apply(self, m)))
        for _ in range(50):
            h.addresses.refresh(60)
        run("ip", "addr", "add", "10.1.1.1/32", "dev", "eth0")
        await until(lambda: seen)
        await asyncio.sleep(0.05)
        assert [m.get("local") for m in seen] == ["10.1.1.1"]


async def test_many_addresses_are_renewed_in_slices(pair: Wire) -> None:
    base = int(IPv4Address("10.0.0.1"))
    many = tuple(VirtualAddress(IPv4Address(base + n), 32, "eth0") for n in range(100))
    async with host(replace(INSTANCE, addresses=many, excluded=())) as h:
        h.addresses.install("VI", 60)
        h.addresses.refresh(500)
        h.addresses.refresh(1000)  # the later call wins, for all of them
        for _ in range(5):
            await asyncio.sleep(0)
        there = on_eth0()
        assert all(there[str(v.address)]["valid_life_time"] > 900 for v in many)
        h.addresses.refresh(2000)
        h.addresses.remove("VI")  # what is removed meanwhile is not brought back by a later slice
        for _ in range(5):
            await asyncio.sleep(0)
        assert not {str(v.address) for v in many} & on_eth0().keys()


async def test_a_watch_that_dies_says_so(pair: Wire) -> None:
    reported: list[Any] = []
    async with host(INSTANCE) as h:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

        def broken(_: object) -> None:
            raise RuntimeError("a reader of events with a defect")

        h.watch._deliver = broken
        run("ip", "link", "set", "eth0", "down")
        await until(lambda: reported)
        assert "the network watch died" in reported[0]["message"]


def test_the_host_is_its_boot_and_network_namespace(pair: Wire) -> None:
    near = host_identity()
    with inside(pair.far):
        far = host_identity()
    assert near.split("/")[0] == far.split("/")[0]
    assert near == host_identity() != far
