"""The BPF programs run by the kernel on frames given as bytes, against a model of the verdict written independently."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from haagent.core.units import SECOND
from haagent.effects.gate import Guard, GuardedRouter, boot_now
from haagent.effects.gate import bpf_syscall as bpf
from haagent.effects.gate.bpf_program import DROP, PASS, egress, ingress
from haagent.effects.gate.bpf_state import SharedState, wanted_keys

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")

LOOPBACK = 1  # the kernel's test run puts a frame there; nothing is attached or sent
MINE4, OPEN4, PEER4 = (ip_address(text).packed for text in ("10.0.0.100", "10.0.0.200", "10.0.0.2"))
MINE6, OPEN6, PEER6 = (ip_address(text).packed for text in ("fd00::100", "fd00::200", "fd00::2"))
LOCAL6 = ip_address("fe80::100").packed
GROUP4, GROUP6 = ip_address("224.0.0.18").packed, ip_address("ff02::12").packed
GUARDS = (
    Guard("shut", (GuardedRouter(51, 4, "lo", (ip_address(GROUP4),), (ip_address(MINE4),)),
                   GuardedRouter(51, 6, "lo", (ip_address(GROUP6),), (ip_address(LOCAL6), ip_address(MINE6))))),
    Guard("live", (GuardedRouter(52, 4, "lo", (ip_address(PEER4),), (ip_address(OPEN4),)),
                   GuardedRouter(52, 6, "lo", (ip_address(PEER6),), (ip_address(OPEN6),)))),
)  # fmt: skip
SLOTS = {"shut": 7, "live": 3}


@dataclass
class Loaded:
    state: SharedState
    programs: dict[tuple[str, bool], int]

    def verdict(self, direction: str, frame: bytes, *, ethernet: bool = True, ifindex: int = LOOPBACK) -> int:
        return bpf.program_test_run(self.programs[direction, ethernet], frame, ifindex)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    state = SharedState.create()
    addresses, routers = wanted_keys(GUARDS, SLOTS, {"lo": LOOPBACK})
    state.replace_keys(state.descriptors.addresses, {}, addresses)
    state.replace_keys(state.descriptors.routers, {}, routers)
    programs = {}
    for name, build in (("in", ingress), ("out", egress)):
        for ethernet in (True, False):
            programs[name, ethernet] = bpf.program_load(
                "haagent_test", build(state.descriptors, ethernet=ethernet)
            )
    yield Loaded(state, programs)
    for fd in programs.values():
        os.close(fd)
    state.close()


@pytest.fixture(autouse=True)
def _one_shut_one_live(loaded: Loaded) -> None:
    loaded.state.set_claim(SLOTS["shut"], opened=False, epoch=9)
    loaded.state.set_claim(SLOTS["live"], opened=True, epoch=4)
    loaded.state.deadline = boot_now() + 600 * SECOND


def ether(kind: int, body: bytes) -> bytes:
    return bytes(12) + struct.pack(">H", kind) + body


def arp(
    sender: bytes, target: bytes, op: int = 1, hardware: int = 6, protocol: int = 0x0800, length: int = 4
) -> bytes:
    head = struct.pack(">HHBBH", 1, protocol, hardware, length, op)
    return ether(0x0806, head + bytes(hardware) + sender + bytes(hardware) + target)


def ipv4(
    source: bytes,
    target: bytes,
    protocol: int = 17,
    body: bytes = bytes(8),
    words: int = 5,
    fragment: int = 0,
) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 4 * words + len(body), 0, fragment, 255, protocol, 0)
    return ether(0x0800, head + source + target + bytes(4 * (words - 5)) + body)


def ipv6(source: bytes, target: bytes, following: int = 17, body: bytes = bytes(8)) -> bytes:
    return ether(0x86DD, struct.pack(">IHBB", 6 << 28, len(body), following, 255) + source + target + body)


def fragment(following: int, offset: int, body: bytes) -> bytes:
    return struct.pack(">BBHI", following, 0, offset << 3, 1) + body


def neighbour(kind: int, target: bytes) -> bytes:
    return bytes((kind, 0, 0, 0, 0, 0, 0, 0)) + target


def vrrp(vrid: int, priority: int, first: int = 0x31) -> bytes:
    return bytes((first, vrid, priority, 1, 0, 100, 0, 0))


# (direction, frame, passes while shut)
SHAPES: dict[str, tuple[str, bytes, bool]] = {
    "to the address": ("in", ipv4(PEER4, MINE4), False),
    "to the address, options": ("in", ipv4(PEER4, MINE4, words=15), False),
    "to the address, later fragment": ("in", ipv4(PEER4, MINE4, fragment=0x2005), False),
    "from the address, coming in": ("in", ipv4(MINE4, PEER4), True),
    "to another address": ("in", ipv4(PEER4, PEER4), True),
    "to the v6 address": ("in", ipv6(PEER6, MINE6), False),
    "to the link-local address": ("in", ipv6(PEER6, LOCAL6), False),
    "v6 behind hop-by-hop options": ("in", ipv6(PEER6, MINE6, 0, bytes((58, 0, 1, 4, 0, 0, 0, 0))), False),
    "from the v6 address, coming in": ("in", ipv6(MINE6, PEER6), True),
    "adverts of the peer": ("in", ipv4(PEER4, GROUP4, 112, vrrp(51, 100)), True),
    "v6 adverts of the peer": ("in", ipv6(PEER6, GROUP6, 112, vrrp(51, 100)), True),
    "who has the address": ("in", arp(PEER4, MINE4), False),
    "probe for the address": ("in", arp(bytes(4), MINE4), False),
    "arp on infiniband": ("in", arp(PEER4, MINE4, hardware=20), False),
    "one guarded address asks for another": ("in", arp(OPEN4, MINE4), False),
    "gratuitous request of the peer": ("in", arp(MINE4, MINE4), True),
    "gratuitous reply of the peer": ("in", arp(MINE4, MINE4, op=2), True),
    "the peer's answer to us": ("in", arp(MINE4, PEER4, op=2), True),
    "arp of another protocol": ("in", arp(PEER4, MINE4, protocol=0x86DD), True),
    "arp of another length": ("in", arp(PEER4, MINE4, length=16), True),
    "solicitation": ("in", ipv6(PEER6, GROUP6, 58, neighbour(135, MINE6)), False),
    "solicitation, link-local": ("in", ipv6(PEER6, GROUP6, 58, neighbour(135, LOCAL6)), False),
    "advertisement of the peer": ("in", ipv6(PEER6, GROUP6, 58, neighbour(136, MINE6)), True),
    "solicitation cut short": ("in", ipv6(PEER6, GROUP6, 58, neighbour(135, MINE6)[:23]), True),
    "unknown ethertype": ("in", ether(0x88B5, MINE4 * 10), True),
    "from the address": ("out", ipv4(MINE4, PEER4), False),
    "to the address on the peer": ("out", ipv4(PEER4, MINE4), True),
    "from the v6 address": ("out", ipv6(MINE6, PEER6), False),
    "to the v6 address on the peer": ("out", ipv6(PEER6, MINE6), True),
    "asking for the address": ("out", arp(PEER4, MINE4), True),
    "announcing the address": ("out", arp(MINE4, MINE4), False),
    "answering for the address": ("out", arp(MINE4, PEER4, op=2), False),
    "na from the address": ("out", ipv6(MINE6, GROUP6, 58, neighbour(136, MINE6)), False),
    "na from elsewhere": ("out", ipv6(PEER6, GROUP6, 58, neighbour(136, MINE6)), False),
    "na, link-local": ("out", ipv6(PEER6, GROUP6, 58, neighbour(136, LOCAL6)), False),
    "soliciting the address": ("out", ipv6(PEER6, GROUP6, 58, neighbour(135, MINE6)), True),
    "advert": ("out", ipv4(PEER4, GROUP4, 112, vrrp(51, 1)), False),
    "advert, version 2": ("out", ipv4(PEER4, GROUP4, 112, vrrp(51, 255, 0x21)), False),
    "advert behind options": ("out", ipv4(PEER4, GROUP4, 112, vrrp(51, 100), words=6), False),
    "first fragment of an advert": ("out", ipv4(PEER4, GROUP4, 112, vrrp(51, 100), fragment=0x2000), False),
    "resignation": ("out", ipv4(PEER4, GROUP4, 112, vrrp(51, 0)), True),
    "resignation of an owner": ("out", ipv4(MINE4, GROUP4, 112, vrrp(51, 0)), True),
    "another VRID's advert": ("out", ipv4(PEER4, GROUP4, 112, vrrp(99, 100)), True),
    "advert to elsewhere": ("out", ipv4(PEER4, PEER4, 112, vrrp(51, 100)), True),
    "v6 advert": ("out", ipv6(PEER6, GROUP6, 112, vrrp(51, 100)), False),
    "v6 advert in fragments": ("out", ipv6(PEER6, GROUP6, 44, fragment(112, 0, vrrp(51, 100))), False),
    "v6 later fragment": ("out", ipv6(PEER6, GROUP6, 44, fragment(112, 3, vrrp(51, 100))), True),
    "v6 resignation": ("out", ipv6(PEER6, GROUP6, 112, vrrp(51, 0)), True),
    "another VRID's resignation from the address": ("out", ipv4(MINE4, GROUP4, 112, vrrp(99, 0)), False),
    "advert cut short": ("out", ipv4(PEER4, GROUP4, 112, vrrp(51, 100)[:3]), True),
    "advert cut short, from the address": ("out", ipv4(MINE4, GROUP4, 112, vrrp(51, 100)[:3]), False),
}  # fmt: skip


@pytest.mark.parametrize("ethernet", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_shape(loaded: Loaded, name: str, ethernet: bool) -> None:
    direction, frame, passes = SHAPES[name]
    assert loaded.verdict(direction, frame, ethernet=ethernet) == (PASS if passes else DROP)
    loaded.state.set_claim(SLOTS["shut"], opened=True, epoch=9)
    assert loaded.verdict(direction, frame, ethernet=ethernet) == PASS
    loaded.state.deadline = boot_now() - 1
    assert loaded.verdict(direction, frame, ethernet=ethernet) == (PASS if passes else DROP)


def test_a_link_local_address_is_guarded_on_its_own_interface_only(loaded: Loaded) -> None:
    other = {"lo": LOOPBACK + 1}
    addresses, _ = wanted_keys(GUARDS[:1], SLOTS, other)
    assert any(key.startswith(struct.pack("=I", LOOPBACK + 1)) for key in addresses)
    before = loaded.state.addresses()
    moved = {key: slot for key, slot in before.items() if not key.endswith(LOCAL6)}
    loaded.state.replace_keys(loaded.state.descriptors.addresses, before, moved | addresses)
    try:
        assert loaded.verdict("in", ipv6(PEER6, LOCAL6)) == PASS
        assert loaded.verdict("in", ipv6(PEER6, MINE6)) == DROP
    finally:
        loaded.state.replace_keys(loaded.state.descriptors.addresses, moved | addresses, before)


@pytest.mark.parametrize("name", SHAPES)
def test_a_truncated_frame_never_passes_less_foreign_traffic(loaded: Loaded, name: str) -> None:
    direction, frame, passes = SHAPES[name]
    for length in filter(lambda length: runnable(frame[:length]), range(15, len(frame))):
        for ethernet in (True, False):
            verdict = loaded.verdict(direction, frame[:length], ethernet=ethernet)
            assert verdict == (PASS if model(direction, frame[:length]) else DROP), length
            assert verdict == PASS or not passes or direction == "out"


def runnable(frame: bytes) -> bool:
    """The kernel's test run refuses IP frames without a whole IP header; test_gate_traffic sends some of those."""
    return len(frame) >= {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14], 15)


def model(direction: str, frame: bytes) -> bool:
    """Return whether a frame may pass while ``shut`` is shut and ``live`` is open, from the words of the design."""
    kind, body = struct.unpack(">H", frame[12:14])[0], frame[14:]
    judge: dict[tuple[int, str], Callable[[bytes], bool]] = {
        (0x0800, "in"): lambda b: b[16:20] != MINE4 or len(b) < 20,
        (0x0806, "in"): lambda b: not _asks(b),
        (0x86DD, "in"): lambda b: not (_ip6(b, 24) in {MINE6, LOCAL6} or _target(b, 135) in {MINE6, LOCAL6}),
        (0x0800, "out"): _out4,
        (0x0806, "out"): lambda b: _arp_field(b, 0) != MINE4,
        (0x86DD, "out"): _out6,
    }
    return judge.get((kind, direction), lambda _: True)(body)


def _arp_field(body: bytes, which: int) -> bytes:
    """The sender (0) or target (1) of an ARP for IPv4, empty if there is none."""
    if len(body) < 8 or body[2:4] != b"\x08\x00" or body[5] != 4:
        return b""
    at = 8 + body[4] + which * (4 + body[4])
    return body[at : at + 4] if len(body) >= at + 4 else b""


def _asks(body: bytes) -> bool:
    return body[6:8] == b"\0\1" and _arp_field(body, 1) == MINE4 and _arp_field(body, 0) != MINE4


def _ip6(body: bytes, at: int) -> bytes:
    return body[at : at + 16] if len(body) >= at + 16 else b""


def _target(body: bytes, kind: int, at: int = 40, following: int = 6) -> bytes:
    if len(body) < 40 or body[following] != 58 or len(body) < at + 24 or body[at] != kind:
        return b""
    return body[at + 8 : at + 24]


def _out4(body: bytes) -> bool:
    if len(body) < 20:
        return True
    at = 4 * (body[0] & 15)
    if body[9] == 112 and not struct.unpack(">H", body[6:8])[0] & 0x1FFF and len(body) >= at + 4:
        if body[at + 1] == 51 and body[16:20] == GROUP4:
            return body[at + 2] == 0
        if body[at + 1] == 52 and body[16:20] == PEER4 and body[at + 2] == 0:
            return True
    return body[12:16] != MINE4


def _out6(body: bytes) -> bool:
    if len(body) < 40:
        return True
    following, at, source = body[6], 40, body[8:24] not in {MINE6, LOCAL6}
    if following == 44:
        if len(body) < 48 or struct.unpack(">H", body[42:44])[0] & 0xFFF8:
            return source
        following, at = body[40], 48
    if following == 112 and len(body) >= at + 4:
        if body[at + 1] == 51 and body[24:40] == GROUP6:
            return body[at + 2] == 0
        if body[at + 1] == 52 and body[24:40] == PEER6 and body[at + 2] == 0:
            return True
    if (
        following == 58
        and len(body) >= at + 24
        and body[at] == 136
        and body[at + 8 : at + 24] in {MINE6, LOCAL6}
    ):
        return False
    return source


def _random_frame(chance: random.Random) -> bytes:
    """A frame near the interesting ones: right fields in odd company, then now and then a flipped or missing byte."""
    v4, v6 = [MINE4, OPEN4, PEER4, GROUP4, bytes(4)], [MINE6, OPEN6, PEER6, GROUP6, LOCAL6]
    upper = chance.choice([
        vrrp(chance.choice([51, 52, 53]), chance.choice([0, 0, 1, 100, 255])),
        neighbour(chance.choice([134, 135, 136]), chance.choice(v6)),
        chance.randbytes(chance.randrange(24)),
    ])  # fmt: skip
    number = chance.choice([6, 17, 44, 51, 58, 58, 112, 112])
    shape = chance.randrange(4)
    if shape == 0:
        frame = arp(
            chance.choice(v4), chance.choice(v4), chance.randrange(4), chance.choice([6, 6, 6, 8, 20])
        )
    elif shape == 1:
        frame = ipv4(
            chance.choice(v4),
            chance.choice(v4),
            number,
            upper,
            chance.choice([5, 5, 6, 15]),
            chance.choice([0, 0, 0x2000, 7]),
        )
    elif shape == 2:
        frame = ipv6(chance.choice(v6), chance.choice(v6), number, upper)
    else:
        inner = fragment(chance.choice([58, 112, 17]), chance.choice([0, 0, 9]), upper)
        frame = ipv6(chance.choice(v6), chance.choice(v6), 44, inner)
    damaged = bytearray(frame)
    if chance.random() < 0.3:
        damaged[chance.randrange(12, len(damaged))] = chance.randrange(256)
    if chance.random() < 0.3:
        del damaged[chance.randrange(15, len(damaged) + 1) :]
    return bytes(damaged)


def test_random_frames_get_the_verdict_of_the_model(loaded: Loaded) -> None:
    chance, dropped, ran = random.Random(20240917), 0, 0
    for number in range(6000):
        frame = _random_frame(chance)
        if not runnable(frame):
            continue
        ran += 1
        for direction in ("in", "out"):
            expected = model(direction, frame)
            dropped += not expected
            found = loaded.verdict(direction, frame, ethernet=bool(number % 4))
            assert found == (PASS if expected else DROP), f"frame {number} {direction}: {frame.hex()}"
    assert ran > 4000
    assert dropped > 1000
