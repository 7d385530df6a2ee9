"""The pace of announcements: who waits, for how long, and who is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from haagent.config.model import AnnouncePace, VrrpInstance
from haagent.config.network_model import VirtualAddress, VirtualMac
from haagent.core.units import MILLISECOND
from haagent.effects.announce_pace import PacedAnnouncer
from haagent.errors import EffectError

A, B = (VirtualAddress(ip_address(f"192.0.2.{last}"), 24, "eth0") for last in (1, 2))
SIX, OTHER = (
    VirtualAddress(ip_address("2001:db8::1"), 64, "eth0"),
    VirtualAddress(ip_address("192.0.2.3"), 24, "eth1"),
)
PAUSE = 0.02


class Wire:
    """What was sent: (moment, last octets). ``closed``: everything is refused."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, str]] = []
        self.closed = False

    def send(self, virtuals: Sequence[VirtualAddress]) -> EffectError | None:
        if self.closed:
            return EffectError("the gate is closed")
        now = asyncio.get_running_loop().time()
        self.frames += [(now, str(virtual.address)[-1]) for virtual in virtuals]
        return None

    @property
    def order(self) -> str:
        return "".join(name for _, name in self.frames)

    @property
    def shortest_pause(self) -> float:
        return min(
            later - earlier for (earlier, _), (later, _) in zip(self.frames, self.frames[1:], strict=False)
        )


def instance(*addresses: VirtualAddress, name: str = "VI") -> VrrpInstance:
    return VrrpInstance(name, "eth0", 51, addresses)


def pace(*interfaces: str, garp: float = PAUSE, gna: float = 0) -> AnnouncePace:
    return AnnouncePace(interfaces, int(garp * 1000) * MILLISECOND, int(gna * 1000) * MILLISECOND)


def paced(wire: Wire, *paces: AnnouncePace) -> PacedAnnouncer:
    return PacedAnnouncer(asyncio.get_running_loop(), wire.send, paces)


async def test_without_an_interval_everything_leaves_at_once() -> None:
    wire = Wire()
    paced(wire).announce(instance(A, B), 2)
    assert wire.order == "1212"


async def test_rounds_are_spread_and_the_first_leaves_at_once() -> None:
    wire = Wire()
    announcer = paced(wire, pace())
    announcer.announce(instance(A, B), 2)
    assert wire.order == "1"
    announcer.announce(instance(A, B), 2)  # again while they wait: no address waits twice
    await asyncio.sleep(8 * PAUSE)
    assert wire.order == "12121"
    assert wire.shortest_pause >= PAUSE


async def test_the_other_kind_and_the_other_interface_do_not_wait() -> None:
    wire = Wire()
    paced(wire, pace()).announce(instance(A, B, SIX, OTHER), 1)
    assert sorted(wire.order) == [
        "1",
        "1",
        "3",
    ]  # 2 waits for A; SIX has no interval, OTHER an interface of its own


async def test_interfaces_of_a_group_wait_for_each_other() -> None:
    wire = Wire()
    paced(wire, pace("eth0", "eth1"), pace(garp=10)).announce(instance(A, OTHER), 1)
    assert wire.order == "1"
    await asyncio.sleep(3 * PAUSE)
    assert wire.order == "13"


async def test_a_virtual_mac_goes_by_its_base() -> None:
    wire = Wire()
    vmac = VirtualMac("vrrp.51", "eth0", "00:00:5e:00:01:33")
    addresses = (VirtualAddress(A.address, 24, "vrrp.51"), VirtualAddress(B.address, 24, "vrrp.51"))
    paced(wire, pace("eth0")).announce(VrrpInstance("VI", "eth0", 51, addresses, vmac=vmac), 1)
    assert wire.order == "1"


@pytest.mark.parametrize("how", ["forget", "reconfigure", "close", "gate"])
async def test_nothing_is_sent_for_who_has_let_go(how: str) -> None:
    wire = Wire()
    announcer = paced(wire, pace())
    announcer.announce(instance(A, B), 3)
    if how == "forget":
        announcer.forget("VI")
    elif how == "reconfigure":
        announcer.reconfigure([pace(garp=2 * PAUSE)])
    elif how == "close":
        announcer.close()
    else:
        wire.closed = True
        await asyncio.sleep(3 * PAUSE)
        wire.closed = False
    await asyncio.sleep(4 * PAUSE)
    assert wire.order == "1"


async def test_another_instance_goes_on_when_one_lets_go() -> None:
    wire = Wire()
    announcer = paced(wire, pace())
    announcer.announce(instance(A, name="first"), 2)
    announcer.announce(instance(B, name="second"), 2)
    announcer.forget("first")
    await asyncio.sleep(4 * PAUSE)
    assert wire.order == "122"
