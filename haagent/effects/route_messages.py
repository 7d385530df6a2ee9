"""Routes and rules as rtnetlink requests, byte by byte (linux/rtnetlink.h, linux/fib_rules.h).

Everything made here carries keepalived's protocol number, 18, and everything deleted here must carry it: a route or
rule that an administrator made is never mistaken for ours.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from haagent.config.network_model import IPNetwork, NextHop, Route, Rule
from haagent.config.routing import RULE_PRIORITY, SCOPES, TYPES, WITHOUT_DEVICE
from haagent.effects.interfaces import index_of
from haagent.effects.netlink import Request
from haagent.errors import EffectError

PROTOCOL = 18  # RTPROT_KEEPALIVED

_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_NEWRULE, _RTM_DELRULE = 24, 25, 32, 33
_REQUEST, _ACK, _EXCL, _CREATE, _APPEND = 0x1, 0x4, 0x200, 0x400, 0x800
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 2, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_FLOW, _RTA_TABLE, _RTA_VIA, _RTA_PREF = 8, 9, 11, 15, 18, 20
_RTNH_F_ONLINK = 4
_RTAX_LOCK = 1
_RTAX = {
    "mtu": 2, "window": 3, "rtt": 4, "rttvar": 5, "ssthresh": 6, "cwnd": 7, "advmss": 8, "reordering": 9,
    "hoplimit": 10, "initcwnd": 11, "features": 12, "rto_min": 13, "initrwnd": 14, "quickack": 15, "congctl": 16,
    "fastopen_no_cookie": 17,
}  # fmt: skip
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_GOTO, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 3, 4, 6, 10
_FRA_SUPPRESS_LENGTH, _FRA_TABLE, _FRA_FWMASK, _FRA_OIFNAME, _FRA_UIDS = 14, 15, 16, 17, 20
_FRA_FLOW, _FRA_TUN_ID, _FRA_SUPPRESS_GROUP, _FRA_L3MDEV = 11, 12, 13, 19
_FRA_PROTOCOL, _FRA_IP_PROTOCOL, _FRA_SPORT, _FRA_DPORT = 21, 22, 23, 24
_ACTIONS = {"table": 1, "goto": 2, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}
_FIB_RULE_INVERT = 2


def add_route(route: Route) -> Request:
    """Return the request that adds a route beside others to the same place. Raises EffectError."""
    return _route(_RTM_NEWROUTE, _CREATE | (_APPEND if route.append else 0), route)


def delete_route(route: Route) -> Request:
    """Return the request that deletes exactly this route of ours. Raises EffectError."""
    return _route(_RTM_DELROUTE, 0, route)


def add_rule(rule: Rule) -> Request:
    """Return the request that adds a rule, unless it is there (EEXIST)."""
    return _rule(_RTM_NEWRULE, _CREATE | _EXCL, rule)


def delete_rule(rule: Rule) -> Request:
    """Return the request that deletes this rule of ours."""
    return _rule(_RTM_DELRULE, 0, rule)


def _route(kind: int, flags: int, route: Route) -> Request:
    attributes = _destination(_RTA_DST, route.destination) + _destination(_RTA_SRC, route.from_network)
    attributes += _attribute(_RTA_TABLE, struct.pack("=I", route.table))
    if route.gateway is not None:
        attributes += _gateway(route)
    if route.device is not None:
        attributes += _attribute(_RTA_OIF, struct.pack("=I", _index(route.device, route.text)))
    if route.source is not None:
        attributes += _attribute(_RTA_PREFSRC, route.source.packed)
    if route.metric is not None:
        attributes += _attribute(_RTA_PRIORITY, struct.pack("=I", route.metric))
    if route.realms is not None:
        attributes += _attribute(_RTA_FLOW, struct.pack("=I", route.realms))
    if route.preference is not None:
        attributes += _attribute(_RTA_PREF, bytes((route.preference,)))
    if route.metrics:
        attributes += _attribute(_RTA_METRICS, b"".join(_metrics(route)))
    if route.next_hops:
        attributes += _attribute(_RTA_MULTIPATH, b"".join(_next_hop(route, hop) for hop in route.next_hops))
    header = struct.pack(
        "=BBBBBBBBI",
        _family(route.version), _length(route.destination), _length(route.from_network), route.tos,
        min(route.table, 252) if route.table > 255 else route.table,
        PROTOCOL, _scope(route, deleting=kind == _RTM_DELROUTE), TYPES[route.kind],
        _RTNH_F_ONLINK if route.onlink else 0,
    )  # fmt: skip
    return _message(kind, flags, header + attributes)


def _metrics(route: Route) -> Iterator[bytes]:
    """Yield the metrics, and first which of them are locked."""
    if route.locked:
        bits = sum(1 << _RTAX[name] for name in set(route.locked))
        yield _attribute(_RTAX_LOCK, struct.pack("=I", bits))
    for name, value in route.metrics:
        data = struct.pack("=I", value) if isinstance(value, int) else value.encode() + b"\0"
        yield _attribute(_RTAX[name], data)


def _gateway(route: Route) -> bytes:
    assert route.gateway is not None
    if route.gateway.version == route.version:
        return _attribute(_RTA_GATEWAY, route.gateway.packed)
    return _attribute(_RTA_VIA, struct.pack("=H", _family(route.gateway.version)) + route.gateway.packed)


def _next_hop(route: Route, hop: NextHop) -> bytes:
    """Return one ``struct rtnexthop`` with its attributes."""
    attributes = _attribute(_RTA_GATEWAY, ip_address(hop.gateway).packed) if hop.gateway else b""
    ifindex = _index(hop.device, route.text) if hop.device else 0
    flags = _RTNH_F_ONLINK if hop.onlink else 0
    return struct.pack("=HBBi", 8 + len(attributes), flags, hop.weight - 1, ifindex) + attributes


def _scope(route: Route, *, deleting: bool) -> int:
    if route.scope is not None:
        return route.scope
    if deleting:
        return SCOPES["nowhere"]  # any
    if route.kind == "local":
        return SCOPES["host"]
    direct = (
        route.version == 4 and not route.gateway and not route.next_hops and route.kind not in WITHOUT_DEVICE
    )
    return SCOPES["link"] if direct else SCOPES["global"]


def _rule(kind: int, flags: int, rule: Rule) -> Request:
    attributes = _destination(_FRA_SRC, rule.from_network) + _destination(_FRA_DST, rule.to_network)
    numbers = (
        (_FRA_PRIORITY, RULE_PRIORITY if rule.priority is None else rule.priority),
        (_FRA_TABLE, rule.table),
        (_FRA_GOTO, rule.goto),
        (_FRA_FWMARK, rule.mark),
        (_FRA_FWMASK, None if rule.mark is None else rule.mask),
        (_FRA_SUPPRESS_LENGTH, rule.suppress_length),
        (_FRA_SUPPRESS_GROUP, rule.suppress_group),
        (_FRA_FLOW, rule.realms),
    )
    attributes += b"".join(_attribute(k, struct.pack("=I", v)) for k, v in numbers if v is not None)
    for code, name in ((_FRA_IIFNAME, rule.input), (_FRA_OIFNAME, rule.output)):
        attributes += _attribute(code, name.encode() + b"\0") if name else b""
    if rule.uids is not None:
        attributes += _attribute(_FRA_UIDS, struct.pack("=II", *rule.uids))
    if rule.ip_protocol is not None:
        attributes += _attribute(_FRA_IP_PROTOCOL, bytes((rule.ip_protocol,)))
    if rule.tunnel is not None:
        attributes += _attribute(_FRA_TUN_ID, struct.pack("!Q", rule.tunnel))
    if rule.l3mdev:
        attributes += _attribute(_FRA_L3MDEV, bytes((1,)))
    for code, ports in ((_FRA_SPORT, rule.sport), (_FRA_DPORT, rule.dport)):
        attributes += _attribute(code, struct.pack("=HH", *ports)) if ports else b""
    attributes += _attribute(_FRA_PROTOCOL, bytes((PROTOCOL,)))
    table = 0 if rule.table is None else min(rule.table, 252) if rule.table > 255 else rule.table
    header = struct.pack(
        "=BBBBBBBBI",
        _family(rule.version), _length(rule.to_network), _length(rule.from_network), rule.tos,
        table, 0, 0, _ACTIONS[rule.action], _FIB_RULE_INVERT if rule.inverted else 0,
    )  # fmt: skip
    return _message(kind, flags, header + attributes)


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _length(network: IPNetwork | None) -> int:
    return 0 if network is None else network.prefixlen


def _destination(kind: int, network: IPNetwork | None) -> bytes:
    if network is None or network.prefixlen == 0:
        return b""
    return _attribute(kind, network.network_address.packed)


def _index(device: str, text: str) -> int:
    index = index_of(device)
    if not index:
        raise EffectError(f"{text}: interface {device} does not exist")
    return index


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _message(kind: int, flags: int, body: bytes) -> Request:
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, 0, 0) + body
