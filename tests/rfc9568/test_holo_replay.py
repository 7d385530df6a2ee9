"""The recorded routers of the holo suite: the same events must lead to the same states, outputs and order.

holo is silent on a lower priority in version 3 too, so the machine is told to be; its timing is not compared (its
timers are the events themselves), nor is what is the configuration's or the kernel's.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Literal

import pytest
from vectors import FOLDER, Row

from haagent.core.units import CENTISECOND, SECOND
from haagent.core.virtual_router import Backup, Master, Output, Outputs, RouterParameters, VirtualRouter

FILE = FOLDER / "third-party" / "holo-conformance.json"
SUITE: Row = json.loads(FILE.read_text()) if FILE.exists() else {"topology_replays": [], "step_tests": []}
STATES = {"backup": "Backup", "master": "Master", "initialize": "Initialize"}
OBSERVED = {"InterfaceIpAddRequest", "InterfaceIpDelRequest"}

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="vectors not at hand: holo-conformance.json")


class Replay:
    """One holo router: the machine under test, and everything it asked for, in holo's words."""

    def __init__(self, replay: Row) -> None:
        interface = replay["config"]["ietf-interfaces:interfaces"]["interface"][0]
        family = "ipv6" if "ietf-vrrp:vrrp" in interface.get("ietf-ip:ipv6", {}) else "ipv4"
        config = interface[f"ietf-ip:{family}"]["ietf-vrrp:vrrp"]["vrrp-instance"][0]
        listed = config[f"virtual-{family}-addresses"][f"virtual-{family}-address"]
        self.addresses = [item[f"{family}-address"] for item in listed]
        self.version: Literal[2, 3] = 2 if "advertise-interval-sec" in config else 3
        interval: int = SECOND if self.version == 2 else config["advertise-interval-centi-sec"] * CENTISECOND
        primary = ip_address(interface["ietf-ip:ipv4"]["address"][0]["ip"])
        parameters = RouterParameters(
            self.version, config["vrid"], config["priority"], interval, lower_priority_no_advert=True
        )
        self.router = VirtualRouter(parameters, primary if family == "ipv4" else ip_address("fe80::1"))
        self.sent: list[tuple[str, object]] = []
        self.host: list[tuple[str, str]] = []
        self.now = 0
        self.router.startup(self.now)
        for event in replay["events"]:
            self.feed(event)

    def feed(self, event: Row) -> None:
        match event:
            case {"Protocol": {"MasterDownTimer": _}} if isinstance(self.router.state, Backup):
                self.now = self.router.state.master_down_at
                self.record(self.router.deadline_reached(self.now))
            case {"Protocol": {"VrrpNetRxPacket": {"src": source, "packet": {"Ok": packet}}}}:
                self.hear(source, packet)
            case {"Ibus": {"InterfaceUpd": {"flags": flags, "ifname": name}}} if name != "lo":
                if "OPERATIVE" not in flags:
                    self.record(self.router.interface_down(self.now))
            case _:
                pass  # packets that did not decode, and addresses coming and going

    def hear(self, source: str, packet: Row) -> None:
        interval = packet["adver_int"] * (SECOND if self.version == 2 else CENTISECOND)
        ours = self.router.parameters
        if packet["vrid"] != ours.vrid or (self.version == 2 and interval != ours.advertisement_interval):
            return  # the codec's business (RX-07, RX-10)
        self.record(
            self.router.advertisement_received(ip_address(source), packet["priority"], interval, self.now)
        )

    def record(self, outputs: Outputs) -> None:
        for output in outputs:
            match output:
                case Output.SEND_ADVERTISEMENT:
                    self.sent.append(("advert", self.router.priority))
                case Output.RESIGN:
                    self.sent.append(("advert", 0))
                case Output.ANNOUNCE_ADDRESSES:
                    self.sent += [("announce", address) for address in self.addresses]
                case Output.INSTALL_ADDRESSES:
                    self.host += [("InterfaceIpAddRequest", address) for address in self.addresses]
                case Output.REMOVE_ADDRESSES:
                    self.host += [("InterfaceIpDelRequest", address) for address in self.addresses]


def expected_sent(expect: Row) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for item in expect["protocol"]:
        match item["NetTxPacket"]:
            case {"Vrrp": {"packet": {"vrrp": {"priority": priority}}}}:
                found.append(("advert", priority))
            case {"Arp": {"arp_hdr": {"sender_proto_address": address}}}:
                found.append(("announce", address))
            case {"NAdv": {"nadv_hdr": {"target_address": address}}}:
                found.append(("announce", address))
            case other:
                raise AssertionError(other)
    return found


def expected_host(expect: Row) -> list[tuple[str, str]]:
    requests = [(kind, body) for item in expect["ibus"] for kind, body in item.items() if kind in OBSERVED]
    return [(kind, body["addr"].split("/")[0]) for kind, body in requests]


def expected_state(expect: Row) -> str | None:
    found = re.search(r'"state": "(\w+)"', json.dumps(expect["state"]))
    return STATES[found[1]] if found else None


def agrees(replay: Replay, expect: Row) -> None:
    assert replay.sent == expected_sent(expect)
    # holo keeps its addresses in a set: their order is not part of the record.
    assert sorted(replay.host) == sorted(expected_host(expect))
    state = expected_state(expect)
    assert state is None or type(replay.router.state).__name__ == state


@pytest.mark.parametrize(
    "row", SUITE["topology_replays"], ids=lambda row: f"{row['topology']}-{row['router']}"
)
def test_a_recorded_topology(row: Row) -> None:
    agrees(Replay(row), row["expect"])


STEPS = [step for step in SUITE["step_tests"] if not step["test"].startswith("nb-config")]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["test"])
def test_a_recorded_step(step: Row) -> None:
    topology, router = step["starting_point"].split(" ")[0].split("/")
    [start] = [r for r in SUITE["topology_replays"] if (r["topology"], r["router"]) == (topology, router)]
    replay = Replay(start)
    replay.sent, replay.host = [], []
    for event in step["input"]["protocol"]:
        replay.feed({"Protocol": event})
    for event in step["input"]["ibus"]:
        replay.feed({"Ibus": event})
    if step["test"].startswith("ibus-iface"):
        assert not isinstance(replay.router.state, Master)
        replay.host = []  # holo leaves the addresses to the interface that went away
    agrees(replay, step["expect"])
