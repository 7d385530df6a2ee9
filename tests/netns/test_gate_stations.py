"""Virtual MACs at the gate, per tier: whatever a frame carries, it passes only while the claim is open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from gate_lab import B4, MAC_A, MAC_B, Wire, arrives, ether, guard, inside, ipv4, run

from haagent.core.units import SECOND
from haagent.effects.gate import Gate, boot_now
from haagent.effects.gate.bpf_attach import Mechanism
from haagent.effects.gate.bpf_gate import BpfGate
from haagent.effects.gate.nft_gate import NftablesGate

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")]

STATION = bytes.fromhex("00005e00014d")
NEIGHBOUR = bytes.fromhex("00005e00014e")  # another virtual router's, one octet away
GUARDS = (
    replace(
        guard(), routers=(replace(guard().routers[0], stations=(("g0", STATION),)), *guard().routers[1:])
    ),
)
TIERS = {
    "bpf-tcx": lambda: BpfGate(GUARDS, keep=False, mechanism=Mechanism.TCX),
    "bpf-clsact": lambda: BpfGate(GUARDS, keep=False, mechanism=Mechanism.CLSACT),
    "nftables": lambda: NftablesGate(GUARDS, keep=False),
}
PACKET = ipv4("10.77.0.9", B4, 253, b"anything")


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    made = Wire(f"hvm{os.getpid()}g")
    try:
        made.build()
        yield made
    finally:
        made.destroy()


@pytest.fixture(params=TIERS)
def gate(request: pytest.FixtureRequest, wire: Wire) -> Iterator[Gate]:
    with inside(wire.a):
        made = TIERS[request.param]()
    yield made
    with inside(wire.a):
        made.remove()


def passing(wire: Wire) -> dict[str, bool]:
    """Return what passes now: out of a and into a; the other end and a macvlan of a are where it is looked for."""
    here, there = wire.raw(wire.a), wire.raw(wire.b)
    try:
        out = {
            "out, virtual MAC": arrives(ether(PACKET, 0x0800, MAC_B, STATION), here, there),
            "out, no packet we know": arrives(ether(b"loop" * 12, 0x9000, MAC_B, STATION), here, there),
            "out, own MAC": arrives(ether(PACKET, 0x0800, MAC_B, MAC_A), here, there),
            "out, another router's": arrives(ether(PACKET, 0x0800, MAC_B, NEIGHBOUR), here, there),
            "out, to the virtual MAC": arrives(ether(PACKET, 0x0800, STATION, MAC_A), here, there),
        }
        station = wire.raw(wire.a, "station")
        inward = {
            "in, virtual MAC": arrives(ether(PACKET, 0x0800, STATION, MAC_B), there, station),
            "in, no packet we know": arrives(ether(b"loop" * 12, 0x9000, STATION, MAC_B), there, station),
        }
        station.close()
        return out | inward
    finally:
        here.close()
        there.close()


def test_frames_of_a_virtual_mac_pass_only_while_the_claim_is_open(wire: Wire, gate: Gate):
    run(
        "ip",
        "-n",
        wire.a,
        "link",
        "add",
        "link",
        "g0",
        "name",
        "station",
        "type",
        "macvlan",
        "mode",
        "private",
    )
    try:
        run("ip", "-n", wire.a, "link", "set", "station", "address", STATION.hex(":"), "up")
        others = {"out, own MAC": True, "out, another router's": True, "out, to the virtual MAC": True}
        own = ("out, virtual MAC", "out, no packet we know", "in, virtual MAC", "in, no packet we know")
        closed, opened = (others | dict.fromkeys(own, passes) for passes in (False, True))
        assert passing(wire) == closed
        with inside(wire.a):
            gate.open("web", 1)
        assert passing(wire) == closed, "open, but without a deadline ahead"
        with inside(wire.a):
            gate.extend(boot_now() + 30 * SECOND)
        assert passing(wire) == opened
        with inside(wire.a):
            gate.extend(boot_now() - SECOND)
        assert passing(wire) == closed
    finally:
        run("ip", "-n", wire.a, "link", "del", "station")
