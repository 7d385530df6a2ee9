"""RFC 9568 6.4 and 7.3: gratuitous ARP, unsolicited neighbour advertisements, and the virtual MAC."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from builders import V3, VIP, VIPS6, expecting, master, message, receive, router
from vectors import Row, each

from haagent.core.frames import (
    announced_address,
    gratuitous_arp,
    neighbor_advertisement,
    virtual_router_mac,
)
from haagent.core.packet import Packet
from haagent.core.virtual_router import Output

MAC = virtual_router_mac(4, 51)
MAC6 = virtual_router_mac(6, 51)
KEEPALIVED = "golden-keepalived.jsonl"


def test_GA_01_a_gratuitous_arp_is_a_broadcast_request_for_its_own_address() -> None:
    frame = gratuitous_arp(VIP, MAC)
    assert frame[:6] == b"\xff" * 6
    assert frame[6:12] == MAC
    assert frame[12:14].hex() == "0806"
    assert frame[14:22].hex() == "0001080006040001"
    assert frame[22:28] == MAC
    assert frame[28:32] == frame[38:42] == VIP.packed
    assert len(frame) == 42


@each(KEEPALIVED, keep=lambda row: row["kind"] == "garp")
def test_GA_01_it_is_what_keepalived_sends(row: Row) -> None:
    arp = row["arp"]
    mac = bytes.fromhex(arp["sha"].replace(":", ""))
    frame = bytes.fromhex(row["frame_hex"])
    assert gratuitous_arp(IPv4Address(arp["spa"]), mac) == frame
    assert announced_address(frame) == (IPv4Address(arp["spa"]), mac)


def test_GA_02_a_neighbour_advertisement_goes_to_all_nodes_and_overrides() -> None:
    frame = neighbor_advertisement(VIPS6[0], MAC6, router=True)
    assert frame[:12] == bytes.fromhex("333300000001") + MAC6
    assert frame[38:54] == IPv6Address("ff02::1").packed
    assert (frame[20], frame[21]) == (58, 255)
    assert frame[54:56] == bytes((136, 0))
    assert frame[58] == 0xA0  # R=1 S=0 O=1
    assert frame[62:78] == VIPS6[0].packed
    assert frame[78:] == bytes((2, 1)) + MAC6


@each(KEEPALIVED, keep=lambda row: row["kind"] == "na")
def test_GA_02_it_is_what_keepalived_sends(row: Row) -> None:
    icmp = row["icmp6"]
    mac = bytes.fromhex(icmp["tlla"].replace(":", ""))
    frame = bytes.fromhex(row["frame_hex"])
    assert neighbor_advertisement(IPv6Address(icmp["target"]), mac, router=bool(icmp["R"])) == frame
    assert announced_address(frame) == (IPv6Address(icmp["target"]), mac)


@pytest.mark.parametrize(("router_flag", "flags"), [(True, 0xA0), (False, 0x20)])
def test_GA_03_the_router_flag_is_the_callers(router_flag: bool, flags: int) -> None:
    assert neighbor_advertisement(VIPS6[0], MAC6, router=router_flag)[58] == flags


@pytest.mark.parametrize("address", VIPS6)
def test_GA_04_a_neighbour_advertisement_comes_from_the_address_it_announces(address: IPv6Address) -> None:
    assert neighbor_advertisement(address, MAC6, router=True)[22:38] == address.packed


def test_GA_06_the_advertisement_comes_before_the_announcements() -> None:
    outputs = router(3, 255).startup(0)
    assert outputs.index(Output.SEND_ADVERTISEMENT) < outputs.index(Output.ANNOUNCE_ADDRESSES)


def test_GA_08_nothing_is_announced_before_it_is_installed() -> None:
    outputs = router(3, 255).startup(0)
    assert outputs.index(Output.INSTALL_ADDRESSES) < outputs.index(Output.ANNOUNCE_ADDRESSES)
    assert Output.ANNOUNCE_ADDRESSES not in master().shutdown(0)


@pytest.mark.parametrize("vrid", [1, 51, 255])
def test_MA_01_the_virtual_mac_holds_family_and_vrid(vrid: int) -> None:
    assert virtual_router_mac(4, vrid).hex(":") == f"00:00:5e:00:01:{vrid:02x}"
    assert virtual_router_mac(6, vrid).hex(":") == f"00:00:5e:00:02:{vrid:02x}"


def test_MA_02_a_receiver_does_not_look_at_the_mac() -> None:
    # The decoder is given the IP payload and the IP header's fields: there is no MAC to require.
    assert isinstance(receive(message(V3), expecting(V3)), Packet)
