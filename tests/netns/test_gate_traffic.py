"""Every class of traffic, on the real kernel: stopped while closed, passing while open, never stopped if not ours."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from gate_lab import (
    A4,
    A6,
    B4,
    B6,
    LINK_LOCAL,
    MAC_A,
    MAC_B,
    OTHER_VRID,
    VIP4,
    VIP6,
    Wire,
    advert,
    announcement,
    arp,
    arrives,
    ether,
    guard,
    heard,
    inside,
    ipv4,
    ipv6,
    run,
    solicitation,
)

from haagent.core.units import SECOND
from haagent.effects.gate import boot_now
from haagent.effects.gate.bpf_attach import Mechanism
from haagent.effects.gate.bpf_gate import BpfGate
from haagent.effects.gate.nft_gate import NftablesGate

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")]

TIERS = {
    "bpf-tcx": lambda guards: BpfGate(guards, keep=False, mechanism=Mechanism.TCX),
    "bpf-clsact": lambda guards: BpfGate(guards, keep=False, mechanism=Mechanism.CLSACT),
    "nftables": lambda guards: NftablesGate(guards, keep=False),
}


class Gated:
    """A gate on g0 of namespace a, and raw sockets at both ends of the wire."""

    def __init__(self, wire: Wire, tier: str, *, unicast: bool = False) -> None:
        self.wire = wire
        with inside(wire.a):
            self.gate = TIERS[tier]([guard(unicast=unicast)])
        self.here, self.there = wire.raw(wire.a), wire.raw(wire.b)

    def open(self) -> None:
        with inside(self.wire.a):
            self.gate.extend(boot_now() + 30 * SECOND)
            self.gate.open("web", 1)

    def sends(self, frame: bytes) -> bool:
        return arrives(frame, self.here, self.there)

    def answers(self, question: bytes, wanted: object) -> bool:
        self.there.send(question)
        return heard(self.there, wanted) is not None

    def finish(self) -> None:
        with inside(self.wire.a):
            self.gate.remove()
        self.here.close()
        self.there.close()


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    built = Wire("hag-t")
    try:
        built.build()
        built.hold_addresses()
        yield built
    finally:
        built.destroy()


@pytest.fixture(params=TIERS)
def gated(wire: Wire, request: pytest.FixtureRequest) -> Iterator[Gated]:
    made = Gated(wire, request.param)
    yield made
    made.finish()


def _arp_reply(got: bytes) -> bool:
    return got[12:14] == b"\x08\x06" and got[20:22] == b"\0\2" and got[6:12] == MAC_A


def _neighbour_reply(target: str) -> object:
    packed = socket.inet_pton(socket.AF_INET6, target)
    return lambda got: (
        got[12:14] == b"\x86\xdd" and got[54:55] == b"\x88" and got[62:78] == packed and got[6:12] == MAC_A
    )


OWN_OUTGOING = {
    "ipv4": ether(ipv4(VIP4, B4, 17, bytes(8)), 0x0800, MAC_B),
    "ipv4 with options": ether(ipv4(VIP4, B4, 17, bytes(8), options=b"\1\1\1\1"), 0x0800, MAC_B),
    "ipv6": ether(ipv6(VIP6, B6, 17, bytes(8)), 0x86DD, MAC_B),
    "ipv6 link-local": ether(ipv6(LINK_LOCAL, B6, 17, bytes(8)), 0x86DD, MAC_B),
    "gratuitous arp": arp(VIP4, VIP4),
    "gratuitous arp reply": arp(VIP4, VIP4, op=2),
    "arp reply": arp(VIP4, B4, op=2, destination=MAC_B),
    "na from the address": announcement(VIP6, VIP6, MAC_A),
    "na from another address": announcement(A6, VIP6, MAC_A),
    "na for the link-local": announcement(A6, LINK_LOCAL, MAC_A),
    "advert": advert(100),
    "advert v6": advert(1, family=6),
    "advert of an owner": advert(255, source=VIP4),
}

FOREIGN_OUTGOING = {
    "ipv4": ether(ipv4(A4, B4, 17, bytes(8)), 0x0800, MAC_B),
    "to the address on the peer": ether(ipv4(A4, VIP4, 17, bytes(8)), 0x0800, MAC_B),
    "to the v6 address on the peer": ether(ipv6(A6, VIP6, 17, bytes(8)), 0x86DD, MAC_B),
    "arp for the address": arp(A4, VIP4),
    "solicitation for the address": solicitation(A6, VIP6, MAC_A),
    "na of our own": announcement(A6, A6, MAC_A),
    "another VRID": advert(100, vrid=OTHER_VRID),
    "another VRID v6": advert(100, vrid=OTHER_VRID, family=6),
    "our VRID to somebody else": advert(100, destination=B4),
    "resignation": advert(0),
    "resignation v6": advert(0, family=6),
    "resignation of an owner": advert(0, source=VIP4),
    "ipv4 cut short": ether(ipv4(VIP4, B4, 17, b"")[:15], 0x0800, MAC_B),
    "ipv6 cut short": ether(ipv6(VIP6, B6, 17, b"")[:23], 0x86DD, MAC_B),
    "unknown ethertype": ether(bytes(46), 0x88B5, MAC_B),
}


@pytest.mark.parametrize("name", OWN_OUTGOING)
def test_own_traffic_leaves_only_while_open(gated: Gated, name: str) -> None:
    assert not gated.sends(OWN_OUTGOING[name])
    gated.open()
    assert gated.sends(OWN_OUTGOING[name])
    gated.gate.close("web")
    assert not gated.sends(OWN_OUTGOING[name])


@pytest.mark.parametrize("name", FOREIGN_OUTGOING)
def test_foreign_traffic_leaves_while_closed(gated: Gated, name: str) -> None:
    assert gated.sends(FOREIGN_OUTGOING[name])


@pytest.mark.parametrize("tier", TIERS)
def test_unicast_adverts_are_gated_and_resignations_are_not(wire: Wire, tier: str) -> None:
    gated = Gated(wire, tier, unicast=True)
    try:
        to_peer = {4: B4, 6: B6}
        for family, destination in to_peer.items():
            assert not gated.sends(advert(100, family=family, destination=destination))
            assert gated.sends(advert(0, family=family, destination=destination))
            assert gated.sends(advert(100, family=family, vrid=OTHER_VRID, destination=destination))
        gated.open()
        for family, destination in to_peer.items():
            assert gated.sends(advert(100, family=family, destination=destination))
    finally:
        gated.finish()


def test_questions_for_the_address_are_answered_only_while_open(gated: Gated) -> None:
    questions = [
        (arp(B4, VIP4, source=MAC_B), _arp_reply),
        (arp("0.0.0.0", VIP4, source=MAC_B), _arp_reply),
        (solicitation(B6, VIP6, MAC_B), _neighbour_reply(VIP6)),
        (solicitation(B6, LINK_LOCAL, MAC_B), _neighbour_reply(LINK_LOCAL)),
    ]
    assert [gated.answers(*one) for one in questions] == [False] * 4
    gated.open()
    assert [gated.answers(*one) for one in questions] == [True] * 4
    assert gated.answers(arp(B4, A4, source=MAC_B), _arp_reply)


def test_questions_for_other_addresses_are_answered_while_closed(gated: Gated) -> None:
    assert gated.answers(arp(B4, A4, source=MAC_B), _arp_reply)
    assert gated.answers(solicitation(B6, A6, MAC_B), _neighbour_reply(A6))


def test_priority_tagged_questions_are_gated_like_untagged_ones(gated: Gated) -> None:
    plain = arp(B4, VIP4, source=MAC_B)
    tagged = plain[:12] + b"\x81\0\x20\0" + plain[12:]
    assert not gated.answers(tagged, _arp_reply)
    gated.open()
    assert gated.answers(tagged, _arp_reply)


@pytest.mark.parametrize(("address", "peer"), [(VIP4, B4), (VIP6, B6)])
def test_packets_to_the_address_arrive_only_while_open(gated: Gated, address: str, peer: str) -> None:
    server, client = gated.wire.udp(gated.wire.a, address), gated.wire.udp(gated.wire.b, peer)
    run("ip", "-n", gated.wire.b, "route", "replace", address, "dev", "g0")
    run(
        "ip",
        "-n",
        gated.wire.b,
        "neigh",
        "replace",
        address,
        "lladdr",
        MAC_A.hex(":"),
        "dev",
        "g0",
        "nud",
        "permanent",
    )
    with server, client:
        client.sendto(b"closed", server.getsockname()[:2])
        with pytest.raises(TimeoutError):
            server.recv(100)
        gated.open()
        client.sendto(b"open", server.getsockname()[:2])
        assert server.recv(100) == b"open"
    run("ip", "-n", gated.wire.b, "neigh", "del", address, "dev", "g0")


@pytest.mark.parametrize("tier", TIERS)
def test_a_backup_uses_the_address_on_the_peer_and_learns_its_moves(tier: str) -> None:
    wire = Wire("hag-b")
    try:
        wire.build()
        wire.hold_addresses(wire.b)
        gated = Gated(wire, tier)
        for address, own in ((VIP4, A4), (VIP6, A6)):
            run("ip", "-n", wire.a, "route", "replace", address, "dev", "g0", "src", own)
            server, client = wire.udp(wire.b, address), wire.udp(wire.a, own)
            with server, client:
                client.sendto(b"hello", server.getsockname()[:2])
                _, caller = server.recvfrom(100)
                server.sendto(b"back", caller[:2])
                assert client.recv(100) == b"back"
        moved = bytes.fromhex("02cc00000003")
        gated.there.send(arp(VIP4, VIP4, source=moved))
        gated.there.send(announcement(VIP6, VIP6, moved))
        for address in (VIP4, VIP6):
            assert moved.hex(":") in _neighbour(wire, address)
        gated.finish()
    finally:
        wire.destroy()


def _neighbour(wire: Wire, address: str) -> str:
    return run("ip", "-n", wire.a, "neigh", "show", address)
