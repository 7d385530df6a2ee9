"""nftables in bytes: the messages, expressions and transactions the gate needs, without the nft program.

A ``Transaction`` is applied by the kernel as a whole or not at all. Given the ruleset's generation it is refused
(ERESTART) if anybody changed any ruleset since, which is how a foreign change is noticed without listening for it.
Numbers: the kernel's include/uapi/linux/netfilter/nf_tables.h. Raises OSError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from haagent.effects.gate.netlink import (
    ACK,
    CREATE,
    REQUEST,
    NetlinkSocket,
    attr,
    attributes,
    big32,
    big64,
    each_attribute,
    message,
    nested,
    text,
)

NETLINK_NETFILTER = 12
TABLE = "haagent"
OWNER, PERSIST = 2, 4  # table flags, kernel 5.12 and 6.9

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN = 3, 4
_NEWRULE, _GETRULE = 6, 7
_NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 9, 12, 13, 14
_GETGEN = 16
_FAMILY_NETDEV = 5
_APPEND = 0x800
_SET_HAS_TIMEOUT = 0x10
_INVERTED = 1
_DROP, _ACCEPT, _JUMP = 0, 1, -3
_VERDICT_REGISTER = 0
_FRAGMENT = 44
LINK, NETWORK, TRANSPORT = 0, 1, 2  # payload bases
META_PROTOCOL, META_IIF, META_OIF, META_IIFTYPE, META_OIFTYPE, META_L4PROTO = 1, 4, 5, 8, 9, 16
INGRESS, EGRESS = 0, 1
_ELEMENTS_PER_MESSAGE = 150  # a nested attribute cannot exceed 64 KiB

KEY = 8  # the first 32-bit register: keys are built from here up
SCRATCH = 20  # a register above the longest key


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set; ``timeout`` in ms (0: none), ``comment`` as nft shows it."""

    key: bytes
    timeout: int = 0
    comment: str = ""

    def encode(self) -> bytes:
        parts = [nested(1, attr(1, self.key))]
        if self.timeout:
            parts += [big64(4, self.timeout), big64(5, self.timeout)]
        if self.comment:
            note = self.comment.encode() + b"\0"
            parts.append(attr(6, bytes((0, len(note))) + note))
        return nested(1, *parts)


def meta(key: int, register: int) -> bytes:
    return _expression("meta", big32(1, register), big32(2, key))


def payload(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression("payload", big32(1, register), big32(2, base), big32(3, offset), big32(4, length))


def fragment_header(offset: int, length: int, register: int) -> bytes:
    """Load from IPv6's fragment header; a packet without one does not match."""
    return _expression(
        "exthdr", big32(1, register), attr(2, bytes((_FRAGMENT,))), big32(3, offset), big32(4, length)
    )


def equals(register: int, value: bytes) -> bytes:
    return _expression("cmp", big32(1, register), big32(2, 0), nested(3, attr(1, value)))


def in_set(name: str, register: int) -> bytes:
    return _expression("lookup", text(1, name), big32(2, register))


def not_in_set(name: str, register: int) -> bytes:
    return _expression("lookup", text(1, name), big32(2, register), big32(5, _INVERTED))


def drop() -> bytes:
    return _verdict(_DROP)


def accept() -> bytes:
    return _verdict(_ACCEPT)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, text(2, chain))


def _verdict(code: int, *more: bytes) -> bytes:
    return _expression("immediate", big32(1, _VERDICT_REGISTER), nested(2, nested(2, big32(1, code), *more)))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


class Transaction:
    """Messages that take effect together."""

    def __init__(self, netlink: NetlinkSocket) -> None:
        self._netlink = netlink
        self._messages: list[tuple[int, int, bytes]] = []
        self._sets = 0

    def add_table(self, flags: int) -> None:
        self._add(_NEWTABLE, CREATE, text(1, TABLE) + big32(2, flags))

    def delete_table(self) -> None:
        self._add(_DELTABLE, 0, text(1, TABLE))

    def add_set(
        self, name: str, key_length: int, *, key_type: int, size: int = 0, timeout: bool = False
    ) -> None:
        self._sets += 1
        described = text(1, TABLE) + text(2, name) + big32(3, _SET_HAS_TIMEOUT if timeout else 0)
        described += big32(4, key_type) + big32(5, key_length) + big32(10, self._sets)
        if size:
            described += nested(9, big32(1, size))
        self._add(_NEWSET, CREATE, described)

    def add_chain(self, name: str) -> None:
        self._add(_NEWCHAIN, CREATE, text(1, TABLE) + text(3, name))

    def add_base_chain(self, name: str, hook: int, device: str, priority: int) -> None:
        hooked = nested(4, big32(1, hook), big32(2, priority), text(3, device))
        self._add(
            _NEWCHAIN, CREATE, text(1, TABLE) + text(3, name) + hooked + big32(5, _ACCEPT) + text(7, "filter")
        )

    def add_rule(self, chain: str, *expressions: bytes) -> None:
        self._add(_NEWRULE, CREATE | _APPEND, text(1, TABLE) + text(2, chain) + nested(4, *expressions))

    def add_elements(self, name: str, elements: Iterable[Element]) -> None:
        self._elements(_NEWSETELEM, CREATE, name, elements)

    def delete_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Delete elements; a missing one fails the whole transaction."""
        self._elements(_DELSETELEM, 0, name, elements)

    def renew_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Have exactly these timeouts and comments, whether the elements were there, expired or not.

        Adding an element that exists changes nothing on most kernels, deleting one that expired fails: so add,
        delete, add. No packet sees the middle.
        """
        renewed = tuple(elements)
        self.add_elements(name, renewed)
        self.delete_elements(name, renewed)
        self.add_elements(name, renewed)

    def clear_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Delete elements that may not be there."""
        cleared = tuple(elements)
        self.add_elements(name, cleared)
        self.delete_elements(name, cleared)

    def commit(self, generation: int | None = None) -> None:
        """Apply everything, or nothing and raise OSError; ERESTART if ``generation`` is not the current one."""
        if not self._messages:
            return
        expected = big32(1, generation) if generation is not None else b""
        data = [message(_BATCH_BEGIN, REQUEST, self._netlink.next_sequence(), _BATCH_HEADER + expected)]
        sequence = 0
        for index, (kind, flags, body) in enumerate(self._messages):
            sequence = self._netlink.next_sequence()
            last = index == len(self._messages) - 1
            data.append(
                message(_SUBSYSTEM | kind, REQUEST | flags | (ACK if last else 0), sequence, _HEADER + body)
            )
        data.append(message(_BATCH_END, REQUEST, self._netlink.next_sequence(), _BATCH_HEADER))
        self._netlink.transact(b"".join(data), last=sequence)

    def _elements(self, kind: int, flags: int, name: str, elements: Iterable[Element]) -> None:
        encoded = [element.encode() for element in elements]
        for start in range(0, len(encoded), _ELEMENTS_PER_MESSAGE):
            chunk = encoded[start : start + _ELEMENTS_PER_MESSAGE]
            self._add(kind, flags, text(1, TABLE) + text(2, name) + nested(3, *chunk))

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        self._messages.append((kind, flags, body))


_HEADER = struct.pack(">BBH", _FAMILY_NETDEV, 0, 0)
_BATCH_HEADER = struct.pack(">BBH", 0, 0, 10)


def generation(netlink: NetlinkSocket) -> int:
    """Return the ruleset's generation; every change of any table counts it up by one."""
    (answer,) = netlink.query(_SUBSYSTEM | _GETGEN, struct.pack(">BBH", 0, 0, 0), dump=False)
    return int(struct.unpack(">I", attributes(answer[4:])[1])[0])


def table_exists(netlink: NetlinkSocket) -> bool:
    try:
        netlink.query(_SUBSYSTEM | _GETTABLE, _HEADER + text(1, TABLE), dump=False)
    except FileNotFoundError:
        return False
    return True


def chains(netlink: NetlinkSocket) -> dict[str, tuple[int, str] | None]:
    """Return the table's chains: (hook, device) of the base chains, None for the others."""
    found: dict[str, tuple[int, str] | None] = {}
    for answer in netlink.query(_SUBSYSTEM | _GETCHAIN, _HEADER):
        parts = attributes(answer[4:])
        if _text(parts[1]) != TABLE:
            continue
        hook = attributes(parts.get(4, b""))
        devices = [_text(name) for _, name in each_attribute(hook.get(4, b""))] or [_text(hook.get(3, b""))]
        found[_text(parts[3])] = (struct.unpack(">I", hook[1])[0], devices[0]) if hook else None
    return found


def rules(netlink: NetlinkSocket) -> frozenset[tuple[str, bytes]]:
    """Return (chain, the rule as the kernel describes it, to be compared only) of the table's rules."""
    found = set()
    for answer in netlink.query(_SUBSYSTEM | _GETRULE, _HEADER + text(1, TABLE)):
        parts = attributes(answer[4:])
        if _text(parts[1]) == TABLE:
            found.add((_text(parts[2]), answer[4:]))
    return frozenset(found)


def elements(netlink: NetlinkSocket, name: str) -> list[Element]:
    """Return a set's elements; ``timeout`` is what is left of it, in ms. A missing set is FileNotFoundError."""
    found: list[Element] = []
    for answer in netlink.query(_SUBSYSTEM | _GETSETELEM, _HEADER + text(1, TABLE) + text(2, name)):
        for _, encoded in each_attribute(attributes(answer[4:]).get(3, b"")):
            parts = attributes(encoded)
            left = struct.unpack(">Q", parts[5])[0] if 5 in parts else 0
            note = parts.get(6, b"")
            comment = (
                note[2 : 2 + note[1]].rstrip(b"\0").decode(errors="replace")
                if len(note) > 2 and not note[0]
                else ""
            )
            found.append(Element(attributes(parts[1])[1], left, comment))
    return found


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")
