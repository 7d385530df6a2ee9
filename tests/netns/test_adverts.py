"""VRRP sockets on a real wire: what is delivered, what is dropped, what is sent."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from wire import FAR, FAR_MAC, NEAR, Wire, inside, needs_namespaces, run, until, wire

from haagent.config.model import Unicast, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.events import AdvertisementReceived, PacketDiscarded
from haagent.core.packet import Packet, decode, encode, split_ipv4
from haagent.core.units import SECOND
from haagent.effects.endpoint import Endpoint
from haagent.effects.interfaces import index_of
from haagent.effects.sockets import VrrpSockets

pytestmark = needs_namespaces

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "vrrp-vectors"
NEAR_LINK_LOCAL = IPv6Address("fe80::cf:ff:fe00:a")
V4 = (VirtualAddress(IPv4Address("192.0.2.1"), 24, "eth0"),)
V6 = tuple(VirtualAddress(IPv6Address(a), 64, "eth0") for a in ("fe80::cf:1", "2001:db8:cf::1"))
V3 = VrrpInstance("VI", "eth0", 51, V4, version=3, priority=200)
PROFILES = {
    "v2": replace(V3, version=2),
    "v2pass": replace(V3, version=2, auth_pass=b"s3cr3t"),
    "v3": V3,
    "v6": replace(V3, family=6, addresses=V6),
    "u3": replace(V3, unicast=Unicast((IPv4Address(FAR),)), source=IPv4Address(NEAR)),
}


@pytest.fixture
def pair() -> Iterator[Wire]:
    with wire() as both:
        yield both


@contextmanager
def opened(*instances: VrrpInstance) -> Iterator[tuple[VrrpSockets, list[Any]]]:
    events: list[Any] = []
    sockets = VrrpSockets(asyncio.get_running_loop(), events.append)
    try:
        sockets.reconfigure(instances)
        for instance in instances:
            sockets.use_source(instance.name, IPv4Address(NEAR) if instance.family == 4 else NEAR_LINK_LOCAL)
        yield sockets, events
    finally:
        coroutine = sockets.aclose()
        with pytest.raises(StopIteration):
            coroutine.send(None)


def frame(instance: VrrpInstance, priority: int, *, ttl: int = 255, ident: int = 0) -> bytes:
    """An advert of the far router as an Ethernet frame (IPv4)."""
    source = IPv4Address(FAR)
    destination = IPv4Address(NEAR) if instance.unicast else IPv4Address("224.0.0.18")
    payload = encode(Endpoint(instance, 1, source).packet(priority), source=source, destination=destination)
    head = bytearray.fromhex("45c00000000000000070 0000")
    head[2:4] = (20 + len(payload)).to_bytes(2)
    head[4:6] = ident.to_bytes(2)
    head[8] = ttl
    head += source.packed + destination.packed
    total = sum(int.from_bytes(head[i : i + 2]) for i in range(0, 20, 2))
    head[10:12] = (0xFFFF - (total % 0xFFFF or 0xFFFF)).to_bytes(2)
    mac = "02cf0000000a" if instance.unicast else "01005e000012"
    return bytes.fromhex(mac) + bytes.fromhex(FAR_MAC.replace(":", "")) + b"\x08\x00" + bytes(head) + payload


def frame6(instance: VrrpInstance, priority: int) -> bytes:
    source, destination = IPv6Address("fe80::cf:ff:fe00:b"), IPv6Address("ff02::12")
    payload = encode(Endpoint(instance, 1, source).packet(priority), source=source, destination=destination)
    head = bytes.fromhex("6c000000") + len(payload).to_bytes(2) + bytes((112, 255))
    ethernet = bytes.fromhex("333300000012") + bytes.fromhex(FAR_MAC.replace(":", "")) + b"\x86\xdd"
    return ethernet + head + source.packed + destination.packed + payload


def sentinel(instance: VrrpInstance) -> bytes:
    """A valid advert no seed resembles: when it arrives, everything sent before it has been judged."""
    return frame6(instance, 7) if instance.family == 6 else frame(instance, 7)


def is_sentinel(event: Any) -> bool:
    return isinstance(event, AdvertisementReceived) and event.priority == 7


ALLOWED = {
    "drop": {False},
    "accept": {True},
    "accept-logged": {True},
    "accept-if-9568": {True},
    "accept-extension": {True},
    "accept-or-mismatch": {True, False},
    "policy": {True, False},
}
# Where the RFCs are silent we decided once. fz-109 (a global IPv6 address listed first) is dropped in strict mode only,
# because keepalived can send such lists (RX-13).
POLICY = {"fz-109": True, "fz-128": False, "fz-133": False, "fz-135": False}


@pytest.mark.parametrize("profile", PROFILES)
async def test_hostile_packets_get_the_listed_verdict(pair: Wire, profile: str) -> None:
    path = VECTORS / "fuzz-seeds.jsonl"
    if not path.exists():
        pytest.skip("the VRRP vectors are not here")
    seeds = [json.loads(line) for line in path.read_text().splitlines()]
    instance = PROFILES[profile]
    wrong = []
    with pair.far_socket() as far, opened(instance) as (_, events):
        for seed in (seed for seed in seeds if seed["profile"] == profile):
            events.clear()
            far.send(bytes.fromhex(seed["frame_hex"]).ljust(60, b"\0"))
            far.send(sentinel(instance))
            await until(lambda: any(map(is_sentinel, events)))
            verdict = any(isinstance(e, AdvertisementReceived) and not is_sentinel(e) for e in events)
            allowed = {POLICY[seed["id"]]} if seed["id"] in POLICY else ALLOWED[seed["expect"]]
            if verdict not in allowed:
                wrong.append((seed["id"], seed["name"], seed["expect"], verdict))
    assert not wrong


async def test_a_repeated_advert_is_the_very_same_event(pair: Wire) -> None:
    with pair.far_socket() as far, opened(V3) as (sockets, events):
        for ident in range(5):  # what keepalived counts up is no difference
            far.send(frame(V3, 100, ident=ident))
        await until(lambda: len(events) == 5)
        assert all(event is events[0] for event in events)
        assert events[0] == AdvertisementReceived(
            "VI", IPv4Address(FAR), 100, SECOND, (IPv4Address("192.0.2.1"),)
        )
        assert sockets.counters["accepted"] == 5


async def test_a_remembered_advert_is_still_checked(pair: Wire) -> None:
    with pair.far_socket() as far, opened(V3) as (sockets, events):
        far.send(frame(V3, 100))
        far.send(frame(V3, 100, ttl=254))
        far.send(frame(V3, 100))
        await until(lambda: sockets.counters["accepted"] == 2)
        assert sockets.counters["ttl"] == 1
        assert PacketDiscarded("VI", FAR, "ttl") in events
        sockets.reconfigure([replace(V3, version=2)])  # the same packet means something else now
        far.send(frame(V3, 100))
        await until(lambda: sockets.counters["version"] == 1)


async def test_a_flood_of_bad_packets_is_counted_and_told_rarely(pair: Wire) -> None:
    with pair.far_socket() as far, opened(V3) as (sockets, events):
        for _ in range(1000):
            far.send(frame(V3, 100, ttl=1))
        await until(lambda: sockets.counters["ttl"] == 1000)
        assert len(events) == 1


async def test_unknown_vrids_cost_bounded_memory(pair: Wire) -> None:
    with pair.far_socket() as far, opened(V3) as (sockets, events):
        for vrid in range(1, 256):
            far.send(frame(replace(V3, vrid=vrid), 100))
        await until(lambda: sockets.counters["vrid"] == 254)
        assert sockets.unknown_vrids[index_of("eth0"), 52] == 1
        assert len(events) == 1  # our own VRID


def received(far: socket.socket) -> tuple[bytes, bytes]:
    """Return Ethernet source and IP datagram of the next VRRP packet at the far end."""
    while True:
        data = far.recv(4096)
        if data[12:14] == b"\x08\x00" and data[23] == 112:
            return data[6:12], data[14:]
        if data[12:14] == b"\x86\xdd" and data[20] == 112:
            return data[6:12], data[14:]


async def test_ipv4_adverts_are_what_the_rfc_says(pair: Wire) -> None:
    with pair.far_socket(0x0800) as far, opened(V3) as (sockets, _):
        assert sockets.send("VI", 200) is None
        mac, datagram = received(far)
        split = split_ipv4(datagram)
        assert mac == bytes.fromhex("02cf0000000a")
        assert (split.source, split.destination, split.ttl) == (
            IPv4Address(NEAR),
            IPv4Address("224.0.0.18"),
            255,
        )
        assert datagram[1] == 0xC0
        verdict = decode(
            split.payload,
            family=4,
            source=split.source,
            destination=split.destination,
            ttl=255,
            expectations=Endpoint(V3, 1, IPv4Address(FAR)).expectations(),
        )
        assert verdict == Packet(3, 51, 200, SECOND, (IPv4Address("192.0.2.1"),))


async def test_adverts_equal_keepaliveds(pair: Wire) -> None:
    path = VECTORS / "golden-keepalived.jsonl"
    if not path.exists():
        pytest.skip("the VRRP vectors are not here")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    checked = 0
    for profile, scenario in (("v2", "v2-noauth-default-garp"), ("v6", "v3-ipv6-ll+global")):
        instance = PROFILES[profile]
        adverts = [r for r in rows if r["scenario"] == scenario and r["kind"] == "vrrp-advert"]
        for row in adverts[:2]:
            vrrp = row["vrrp"]
            addresses = tuple(VirtualAddress(ip_address(a), 24, "eth0") for a in vrrp["addresses"])
            golden = replace(instance, vrid=vrrp["vrid"], addresses=addresses)
            with (
                pair.far_socket(0x0800 if instance.family == 4 else 0x86DD) as far,
                opened(golden) as (sockets, _),
            ):
                assert sockets.send("VI", vrrp["priority"]) is None
                _, datagram = received(far)
                expected = bytes.fromhex(row["ip_hex"])
                if instance.family == 4:  # all but id and header checksum
                    datagram, expected = (d[:4] + d[6:10] + d[12:] for d in (datagram, expected))
                else:  # all but the flow label, which the kernel chooses
                    datagram, expected = (d[:1] + bytes((d[1] & 0xF0,)) + d[4:] for d in (datagram, expected))
                assert datagram == expected
                checked += 1
    assert checked == 4


async def test_unicast_reaches_every_peer_with_its_own_checksum(pair: Wire) -> None:
    with inside(pair.far):
        run("ip", "addr", "add", "192.0.2.253/24", "dev", "eth0")
    peers = (IPv4Address(FAR), IPv4Address("192.0.2.253"))
    instance = replace(PROFILES["u3"], unicast=Unicast(peers, ttl=77))
    with pair.far_socket(0x0800) as far, opened(instance) as (sockets, _):
        assert sockets.send("VI", 200) is None
        splits = [split_ipv4(received(far)[1]) for _ in peers]
        assert {s.destination for s in splits} == set(peers)
        assert {s.ttl for s in splits} == {77}
        assert len({s.payload for s in splits}) == 2


async def test_a_unicast_advert_may_come_in_over_any_interface(pair: Wire) -> None:
    with pair.far_socket() as far, opened(replace(PROFILES["u3"], interface="lo")) as (_, events):
        far.send(frame(PROFILES["u3"], 100))
        await until(lambda: any(isinstance(e, AdvertisementReceived) for e in events))


async def test_ipv6_unicast(pair: Wire) -> None:
    peer, own = IPv6Address("2001:db8:cf::252"), IPv6Address("2001:db8:cf::251")
    instance = replace(PROFILES["v6"], unicast=Unicast((peer,)), source=own)
    with pair.far_socket(0x86DD) as far, opened(instance) as (sockets, _):
        assert sockets.send("VI", 200) is None
        _, datagram = received(far)
        assert (datagram[7], datagram[8:24], datagram[24:40]) == (255, own.packed, peer.packed)


async def test_a_closed_gate_is_a_value(pair: Wire) -> None:
    chain = 'chain o { type filter hook egress device "eth0" priority 0; ip protocol 112 drop; }'
    rules = f"table netdev gate {{ {chain}; }}"
    run("nft", rules)
    with opened(V3) as (sockets, _):
        refusal = sockets.send("VI", 200)
        assert "ENOBUFS" in sockets.counters
        assert "No buffer space" in str(refusal)
        run("nft", "flush", "ruleset")
        assert sockets.send("VI", 200) is None


async def test_refusals_name_their_cause(pair: Wire) -> None:
    elsewhere = replace(V3, name="X", interface="eth9", vrid=9)
    with opened(V3, elsewhere) as (sockets, _):
        sockets.use_source("VI", None)
        assert "no usable IPv4 address" in str(sockets.send("VI", 1))
        assert "eth9 does not exist" in str(sockets.send("X", 1))
        assert "no such instance" in str(sockets.send("Y", 1))
        sockets.use_source("VI", IPv4Address("198.51.100.1"))
        assert "cannot send an advert of VI to 224.0.0.18" in str(sockets.send("VI", 1))


async def test_an_interface_that_comes_back_is_served_again(pair: Wire) -> None:
    with opened(V3) as (sockets, events):
        run("ip", "link", "del", "eth0")
        sockets.interface_changed("eth0")
        assert "does not exist" in str(sockets.send("VI", 1))
        run(*f"ip link add eth0 type veth peer name eth0 netns {pair.far}".split())
        run("ip", "link", "set", "eth0", "up")
        run("ip", "addr", "add", f"{NEAR}/24", "dev", "eth0")
        with inside(pair.far):
            run("ip", "link", "set", "eth0", "up")
        sockets.interface_changed("eth0")
        assert sockets.send("VI", 1) is None
        with pair.far_socket() as far:
            far.send(frame(V3, 100))
            await until(lambda: events)


async def test_more_interfaces_than_one_socket_may_join_on(pair: Wire) -> None:
    instances = [replace(V3, name=f"VI{n}", interface=f"mv{n}", vrid=n + 1) for n in range(24)]
    commands = [
        line
        for i in instances
        for line in (f"link add link eth0 {i.interface} type macvlan", f"link set {i.interface} up")
    ]
    run("ip", "-batch", "-", stdin="\n".join(commands))
    with opened(*instances) as (_, events), pair.far_socket() as far:
        for instance in instances:
            far.send(frame(instance, 100))
        await until(lambda: {e.instance for e in events} == {i.name for i in instances})


async def test_reconfiguring_keeps_the_sockets(pair: Wire) -> None:
    with opened(V3) as (sockets, events), pair.far_socket() as far:
        before = {f: r._socket.fileno() for f, r in sockets._receivers.items()}
        sockets.reconfigure([V3, replace(PROFILES["v6"], name="six")])
        assert sockets._receivers[4]._socket.fileno() == before[4]
        assert sockets.send("VI", 200) is None  # the learned source is kept
        sockets.reconfigure([V3])
        assert set(sockets._receivers) == {4}
        far.send(frame(V3, 100))
        await until(lambda: events)
