"""The nftables ruleset of the gate: one table, two chains of rules, two small base chains per interface.

Per kind of thing there are two sets: ``own_*`` says what is guarded, ``live_*`` what is open now. ``lease`` holds
one element per link type of the guarded interfaces, with a timeout; while it is there, the deadline lies ahead. A
packet is dropped if it is own and not live, or own and there is no lease: a missing element closes, never opens.

Two differences to the BPF programs, both caught on the way out: an ARP request from one virtual address for
another is let in, and frames of other VLANs are judged like untagged ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from haagent.effects.gate.model import Guard, GuardedRouter, scopes
from haagent.effects.gate.nft_messages import (
    EGRESS,
    INGRESS,
    KEY,
    LINK,
    META_IIF,
    META_IIFTYPE,
    META_L4PROTO,
    META_OIF,
    META_OIFTYPE,
    META_PROTOCOL,
    NETWORK,
    SCRATCH,
    TRANSPORT,
    Element,
    Transaction,
    accept,
    drop,
    equals,
    fragment_header,
    in_set,
    jump,
    meta,
    not_in_set,
    payload,
)

LEASE = "lease"
PRIORITY = -500
_IPV4, _ARP, _IPV6 = b"\x08\x00", b"\x08\x06", b"\x86\xdd"
_ICMPV6, _VRRP, _FRAGMENT = b"\x3a", b"\x70", b"\x2c"
_SOLICITATION, _ADVERTISEMENT = b"\x87", b"\x88"

# What is guarded: set stem -> (key length, nft's number for the key's type, for `nft list`; concatenations: 6 bits each).
KINDS = {
    "ipv4": (4, 7),
    "ipv6": (16, 8),
    "link_local": (20, 20 << 6 | 8),
    "adverts4": (12, (20 << 6 | 12) << 6 | 7),
    "adverts6": (24, (20 << 6 | 12) << 6 | 8),
    "stations": (12, 20 << 6 | 9),
}
_LEASE_TYPE = 21
CHAINS = ("incoming", "outgoing")
BASES = {"in": (INGRESS, "incoming"), "out": (EGRESS, "outgoing")}  # prefix -> hook, the chain it jumps to


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What to install: elements by set stem and claim, and the interfaces with their link types (ARPHRD_*)."""

    claims: Mapping[str, Mapping[str, frozenset[bytes]]]
    interfaces: Mapping[str, int]

    def own(self, stem: str) -> frozenset[bytes]:
        return frozenset().union(*(things[stem] for things in self.claims.values()))

    @property
    def lease_keys(self) -> tuple[bytes, ...]:
        return tuple(struct.pack("=H", kind) for kind in sorted(set(self.interfaces.values())))


def compile_guards(guards: Iterable[Guard], indexes: Mapping[str, int], types: Mapping[str, int]) -> Ruleset:
    """Return the ruleset for the guards on those interfaces that exist."""
    claims = {guard.claim: _things(guard, indexes) for guard in guards}
    return Ruleset(claims, types)


def install(transaction: Transaction, ruleset: Ruleset) -> int:
    """Add sets, chains and rules to a table that exists and is empty; nothing is open. Return the number of rules."""
    for stem, (length, kind) in KINDS.items():
        own = ruleset.own(stem)
        transaction.add_set(f"own_{stem}", length, key_type=kind, size=max(1, len(own)))
        transaction.add_set(f"live_{stem}", length, key_type=kind, size=max(1, len(own)) + 1)
        transaction.add_elements(f"own_{stem}", (Element(key) for key in sorted(own)))
    transaction.add_set(LEASE, 2, key_type=_LEASE_TYPE, timeout=True)
    rules = [("incoming", rule) for rule in _incoming()] + [("outgoing", rule) for rule in _outgoing()]
    for chain in CHAINS:
        transaction.add_chain(chain)
    for chain, rule in rules:
        transaction.add_rule(chain, *rule)
    for interface in ruleset.interfaces:
        for prefix, (hook, chain) in BASES.items():
            base = base_chain(prefix, interface)
            transaction.add_base_chain(base, hook, interface, PRIORITY)
            transaction.add_rule(base, jump(chain))
    return len(rules) + 2 * len(ruleset.interfaces)


def base_chain(prefix: str, interface: str) -> str:
    """Return the name of an interface's base chain; ``prefix`` is one of BASES."""
    return f"{prefix}_{interface}"


def open_claim(transaction: Transaction, things: Mapping[str, frozenset[bytes]], note: str) -> None:
    """Make everything of the claim live; its adverts' elements carry ``note``."""
    for stem, keys in things.items():
        if stem.startswith("adverts"):
            transaction.renew_elements(f"live_{stem}", (Element(key, comment=note) for key in keys))
        else:
            transaction.add_elements(f"live_{stem}", (Element(key) for key in keys))


def close_claim(transaction: Transaction, things: Mapping[str, frozenset[bytes]]) -> None:
    """Make nothing of the claim live, whether it was or not."""
    for stem, keys in things.items():
        transaction.clear_elements(f"live_{stem}", (Element(key) for key in keys))


def _things(guard: Guard, indexes: Mapping[str, int]) -> dict[str, frozenset[bytes]]:
    found: dict[str, set[bytes]] = {stem: set() for stem in KINDS}
    for router in guard.routers:
        for address in router.addresses:
            for scope in scopes(router, address):
                if not scope:
                    found[f"ipv{address.version}"].add(address.packed)
                elif scope in indexes:
                    found["link_local"].add(struct.pack("=I", indexes[scope]) + address.packed)
        found[f"adverts{router.family}"] |= _advert_keys(router, indexes)
        found["stations"] |= {
            struct.pack("=I6sxx", indexes[interface], mac)
            for interface, mac in router.stations
            if interface in indexes
        }
    return {stem: frozenset(keys) for stem, keys in found.items()}


def _advert_keys(router: GuardedRouter, indexes: Mapping[str, int]) -> set[bytes]:
    if router.interface not in indexes:
        return set()
    head = struct.pack("=IBxxx", indexes[router.interface], router.vrid)
    return {head + destination.packed for destination in router.destinations}


def _guarded(
    stem: str, link_type: int, match: list[bytes], key: list[bytes], also: tuple[bytes, ...] = ()
) -> list[list[bytes]]:
    """Return the two rules that drop what is own but not live, and what is own while there is no lease."""
    own = [*match, *key, in_set(f"own_{stem}", KEY), *also]
    return [
        [*own, not_in_set(f"live_{stem}", KEY), drop()],
        [*own, meta(link_type, SCRATCH), not_in_set(LEASE, SCRATCH), drop()],
    ]


def _ipv6(interface: int, link_type: int, match: list[bytes], base: int, offset: int) -> list[list[bytes]]:
    """Return the rules for an IPv6 address in the packet, link-local or not."""
    scoped = [meta(interface, KEY), payload(base, offset, 16, KEY + 1)]
    return _guarded("ipv6", link_type, match, [payload(base, offset, 16, KEY)]) + _guarded(
        "link_local", link_type, match, scoped
    )


def _incoming() -> list[list[bytes]]:
    to_ipv4 = [payload(NETWORK, 16, 4, KEY)]
    target = [payload(NETWORK, 24, 4, KEY)]
    request = [*_arp(), payload(NETWORK, 6, 2, SCRATCH), equals(SCRATCH, b"\0\1")]
    # A request from a virtual address is the peer's announcement: our cache must learn from it.
    from_no_virtual_address = (payload(NETWORK, 14, 4, SCRATCH), not_in_set("own_ipv4", SCRATCH))
    solicitation = _icmpv6(_SOLICITATION)
    return [
        *_guarded("stations", META_IIFTYPE, [], [meta(META_IIF, KEY), payload(LINK, 0, 6, KEY + 1)]),
        *_guarded("ipv4", META_IIFTYPE, _protocol(_IPV4), to_ipv4),
        *_guarded("ipv4", META_IIFTYPE, request, target, from_no_virtual_address),
        *_ipv6(META_IIF, META_IIFTYPE, _protocol(_IPV6), NETWORK, 24),
        *_ipv6(META_IIF, META_IIFTYPE, solicitation, TRANSPORT, 8),
    ]


def _outgoing() -> list[list[bytes]]:
    return [
        *_guarded("stations", META_OIFTYPE, [], [meta(META_OIF, KEY), payload(LINK, 6, 6, KEY + 1)]),
        *_adverts("adverts4", _vrrp(_IPV4, 9), 16, 4),
        *_adverts("adverts6", _vrrp(_IPV6, 6), 24, 16),
        *_adverts("adverts6", _fragmented_vrrp(), 24, 16),
        *_guarded("ipv4", META_OIFTYPE, _protocol(_IPV4), [payload(NETWORK, 12, 4, KEY)]),
        *_guarded("ipv4", META_OIFTYPE, _arp(), [payload(NETWORK, 14, 4, KEY)]),
        *_ipv6(META_OIF, META_OIFTYPE, _protocol(_IPV6), NETWORK, 8),
        *_ipv6(META_OIF, META_OIFTYPE, _icmpv6(_ADVERTISEMENT), TRANSPORT, 8),
    ]


def _adverts(stem: str, match: list[bytes], offset: int, length: int) -> list[list[bytes]]:
    """Return the rules for our own advertisements, whose destination is at ``offset`` of the network header."""
    key = [meta(META_OIF, KEY), payload(TRANSPORT, 1, 1, KEY + 1), payload(NETWORK, offset, length, KEY + 2)]
    resignation = [payload(TRANSPORT, 2, 1, SCRATCH), equals(SCRATCH, b"\0")]
    return [
        [*match, *resignation, *key, in_set(f"own_{stem}", KEY), accept()],
        *_guarded(stem, META_OIFTYPE, match, key),
    ]


def _vrrp(ethertype: bytes, offset: int) -> list[bytes]:
    # By the header's own field: nft 1.0.6 dies listing `meta l4proto` before a concatenation with `@th`.
    return [*_protocol(ethertype), payload(NETWORK, offset, 1, SCRATCH), equals(SCRATCH, _VRRP)]


def _fragmented_vrrp() -> list[bytes]:
    head = [*_protocol(_IPV6), payload(NETWORK, 6, 1, SCRATCH), equals(SCRATCH, _FRAGMENT)]
    return [*head, fragment_header(0, 1, SCRATCH), equals(SCRATCH, _VRRP)]


def _protocol(ethertype: bytes) -> list[bytes]:
    return [meta(META_PROTOCOL, SCRATCH), equals(SCRATCH, ethertype)]


def _arp() -> list[bytes]:
    return [*_protocol(_ARP), payload(NETWORK, 2, 4, SCRATCH), equals(SCRATCH, b"\x08\x00\x06\x04")]


def _icmpv6(kind: bytes) -> list[bytes]:
    upper = [
        meta(META_L4PROTO, SCRATCH),
        equals(SCRATCH, _ICMPV6),
        payload(TRANSPORT, 0, 1, SCRATCH),
        equals(SCRATCH, kind),
    ]
    return [*_protocol(_IPV6), *upper]
