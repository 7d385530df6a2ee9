"""Announcements on a real wire: what neighbours learn, and what we hear of others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from wire import FAR_MAC, NEAR_MAC, Wire, inside, needs_namespaces, run, until, wire

from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.events import ForeignAnnouncement
from haagent.core.frames import gratuitous_arp, neighbor_advertisement
from haagent.effects.announcements import AnnouncementListener, Announcer

pytestmark = needs_namespaces

VIP4, VIP6, EXTRA = IPv4Address("192.0.2.1"), IPv6Address("2001:db8:cf::1"), IPv4Address("192.0.2.2")
INSTANCE = VrrpInstance(
    "VI",
    "eth0",
    51,
    (VirtualAddress(VIP4, 24, "eth0"),),
    excluded=(VirtualAddress(VIP6, 64, "eth0"), VirtualAddress(EXTRA, 24, "eth0")),
)
ALL = (*INSTANCE.addresses, *INSTANCE.excluded)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


@pytest.fixture
def pair() -> Iterator[Wire]:
    with wire() as both:
        yield both


@contextmanager
def listening(*instances: VrrpInstance) -> Iterator[tuple[AnnouncementListener, list[Any]]]:
    events: list[Any] = []
    listener = AnnouncementListener(asyncio.get_running_loop(), events.append)
    try:
        listener.reconfigure(instances)
        yield listener, events
    finally:
        listener.close()


@contextmanager
def announcing() -> Iterator[Announcer]:
    announcer = Announcer()
    try:
        yield announcer
    finally:
        announcer.close()


def test_one_round_is_one_frame_per_address(pair: Wire) -> None:
    near = mac_bytes(NEAR_MAC)
    with announcing() as announcer, pair.far_socket(0x0806) as arp, pair.far_socket(0x86DD) as ipv6:
        assert announcer.announce(ALL) is None
        assert [arp.recv(128)[:42] for _ in range(2)] == [gratuitous_arp(a, near) for a in (VIP4, EXTRA)]
        frames = iter(lambda: ipv6.recv(256), b"")
        assert next(f for f in frames if f[54] == 136) == neighbor_advertisement(VIP6, near, router=False)


def test_the_router_flag_follows_forwarding(pair: Wire) -> None:
    with open("/proc/sys/net/ipv6/conf/eth0/forwarding", "w", encoding="ascii") as file:
        file.write("1")
    with announcing() as announcer, pair.far_socket(0x86DD) as ipv6:
        assert announcer.announce(ALL) is None
        frames = iter(lambda: ipv6.recv(256), b"")
        assert next(f for f in frames if f[54] == 136 and f[62:78] == VIP6.packed)[58] & 0x80


def test_neighbours_learn(pair: Wire) -> None:
    with inside(pair.far):
        for address in (VIP4, VIP6):
            run(*f"ip neigh add {address} lladdr 02:00:00:00:00:99 dev eth0 nud stale".split())
    with announcing() as announcer:
        assert announcer.announce(ALL) is None
    with inside(pair.far):
        table = run("ip", "neigh", "show", "dev", "eth0")
    assert f"{VIP4} lladdr {NEAR_MAC}" in table
    assert f"{VIP6} lladdr {NEAR_MAC}" in table


def test_interfaces_without_arp_are_skipped_and_missing_ones_refused(pair: Wire) -> None:
    with announcing() as announcer, pair.far_socket(0x0806) as arp:
        run("ip", "link", "set", "eth0", "arp", "off")
        assert announcer.announce(INSTANCE.excluded) is None
        run("ip", "link", "set", "eth0", "arp", "on")
        elsewhere = VirtualAddress(IPv4Address("192.0.2.77"), 24, "eth9")
        refusal = announcer.announce((elsewhere, *ALL))
        assert "192.0.2.77/24 on eth9: there is no such interface" in str(refusal)
        assert arp.recv(128)[28:32] == VIP4.packed  # the first frame at all, and not kept back by the refusal


def test_a_closed_gate_is_a_value(pair: Wire) -> None:
    run("nft", 'table netdev gate { chain o { type filter hook egress device "eth0" priority 0; drop; }; }')
    with announcing() as announcer:
        assert "No buffer space" in str(announcer.announce(ALL))


async def test_foreign_announcements_are_heard_and_told_once_a_second(pair: Wire) -> None:
    far = mac_bytes(FAR_MAC)
    with listening(INSTANCE) as (listener, events), pair.far_socket() as wire_end:
        for _ in range(20):
            wire_end.send(gratuitous_arp(VIP4, far))
            wire_end.send(neighbor_advertisement(VIP6, far, router=True))
        await until(lambda: listener.heard == 40)
        assert sorted(events, key=str) == sorted(
            (ForeignAnnouncement("VI", str(a), FAR_MAC) for a in (VIP4, VIP6)), key=str
        )


async def test_what_does_not_concern_us_does_not_even_wake_us(
    pair: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[bytes] = []
    hear = AnnouncementListener._hear
    monkeypatch.setattr(
        AnnouncementListener, "_hear", lambda *a: (woken.append(a[2]), hear(*a)), raising=True
    )
    far, near = mac_bytes(FAR_MAC), mac_bytes(NEAR_MAC)
    with listening(INSTANCE) as (_, events), pair.far_socket() as wire_end, announcing() as announcer:
        announcer.announce(ALL)  # our own, on the way out
        wire_end.send(gratuitous_arp(IPv4Address("192.0.2.9"), far))  # another address
        wire_end.send(b"\x02" * 6 + gratuitous_arp(VIP4, far)[6:])  # to another host
        request = bytearray(gratuitous_arp(IPv4Address("192.0.2.9"), far))
        request[38:42] = VIP4.packed  # asks for our address, does not claim it
        wire_end.send(bytes(request))
        wire_end.send(gratuitous_arp(EXTRA, near))  # our own, reflected
        wire_end.send(gratuitous_arp(VIP4, far))
        await until(lambda: events)
        assert events == [ForeignAnnouncement("VI", str(VIP4), FAR_MAC)]
        assert woken == [gratuitous_arp(EXTRA, near), gratuitous_arp(VIP4, far)]


async def test_reconfigure_changes_what_is_heard(pair: Wire) -> None:
    far = mac_bytes(FAR_MAC)
    with listening(INSTANCE) as (_, events), pair.far_socket() as wire_end:
        only = replace(INSTANCE, name="new", addresses=INSTANCE.excluded[1:], excluded=())
        thousands = tuple(
            VirtualAddress(IPv4Address(int(IPv4Address("10.0.0.0")) + n), 32, "eth0") for n in range(3000)
        )
        for instance in (only, replace(only, addresses=only.addresses + thousands)):
            events.clear()
            listener_instances = [instance]
            _.reconfigure(listener_instances)
            _._throttle._admitted.clear()
            wire_end.send(gratuitous_arp(VIP4, far))
            wire_end.send(gratuitous_arp(EXTRA, far))
            await until(lambda: events)
            assert events == [ForeignAnnouncement("new", str(EXTRA), FAR_MAC)]
