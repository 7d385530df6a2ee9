"""Requests for routes and rules, read back by an independent netlink library."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from haagent.config.network_model import NextHop, Route, Rule
from haagent.effects.route_messages import PROTOCOL, add_route, add_rule, delete_route

NET = ip_network("10.1.0.0/16")
APPEND = 0x800


def parsed(kind: type[Any], request: bytes) -> Any:
    message = kind(request)
    message.decode()
    assert message["header"]["length"] == len(request)
    return message


def test_metrics_and_their_locks() -> None:
    metrics = (("mtu", 1400), ("rtt", 400), ("congctl", "reno"), ("features", 1))
    route = Route(NET, gateway=ip_address("10.0.0.1"), metrics=metrics, locked=("mtu", "congctl"))
    message = parsed(rtmsg, add_route(route))
    found = dict(message.get_attr("RTA_METRICS")["attrs"])
    assert found["RTAX_MTU"] == 1400
    assert found["RTAX_RTT"] == 400
    assert found["RTAX_FEATURES"] == 1
    assert found["RTAX_LOCK"] == 1 << 2 | 1 << 16
    assert b"reno\0" in add_route(route)
    assert message["proto"] == PROTOCOL


def test_append_concerns_adding_alone() -> None:
    route = Route(NET, gateway=ip_address("10.0.0.1"), append=True)
    assert parsed(rtmsg, add_route(route))["header"]["flags"] & APPEND
    assert not parsed(rtmsg, delete_route(route))["header"]["flags"] & APPEND
    assert (
        not parsed(rtmsg, add_route(Route(NET, gateway=ip_address("10.0.0.1"))))["header"]["flags"] & APPEND
    )


def test_realms_and_preference() -> None:
    assert (
        parsed(rtmsg, add_route(Route(NET, gateway=ip_address("10.0.0.1"), realms=5))).get_attr("RTA_FLOW")
        == 5
    )
    six = Route(ip_network("fd00::/8"), gateway=ip_address("fe80::1"), preference=3)
    assert parsed(rtmsg, add_route(six)).get_attr("RTA_PREF") == 3


@pytest.mark.parametrize(("onlink", "flags"), [(True, 4), (False, 0)])
def test_a_next_hop_may_be_onlink(onlink: bool, flags: int) -> None:
    route = Route(NET, next_hops=(NextHop("10.0.0.8", None, 3, onlink), NextHop("10.0.0.9")))
    first, second = parsed(rtmsg, add_route(route)).get_attr("RTA_MULTIPATH")
    assert (first["hops"], first["flags"]) == (2, flags)
    assert (second["hops"], second["flags"]) == (0, 0)


def test_rules_of_realms_groups_tunnels_and_vrfs() -> None:
    rule = Rule(ip_network("10.0.0.0/8"), table=7, priority=9, suppress_group=2, realms=3, tunnel=4)
    message = parsed(fibmsg, add_rule(rule))
    assert message.get_attr("FRA_SUPPRESS_IFGROUP") == 2
    assert message.get_attr("FRA_FLOW") == 3
    assert b"\x0c\x00\x0c\x00" + (4).to_bytes(8) in add_rule(rule)  # FRA_TUN_ID, in network order
    vrf = parsed(fibmsg, add_rule(Rule(l3mdev=True, priority=5)))
    assert (vrf["table"], vrf["action"], vrf.get_attr("FRA_L3MDEV")) == (0, 1, 1)
