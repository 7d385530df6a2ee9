"""Turns what was read from one voting file into views of its registers.

Promises that a view holds every node's newest finished write, or is not given at all: where a block is damaged, that
register does not count on this file until its owner has written the block again or the file was replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbiters.shared_file.ballot import EMPTY, Block, View
from arbiters.shared_file.block import BLOCK, Damaged, Torn, decode, unseal
from arbiters.shared_file.layout import SLOTS, Header, NotAVotingFile, Presence, read_header, read_presence

_Found = Block | Torn | Damaged


class DamagedRegister(Exception):  # noqa: N818
    """A register cannot be counted on this file; says whose block is damaged and how."""


class Reader:
    """Reads one open file of which ``header`` was found, for the node in ``slot``."""

    def __init__(self, header: Header, slot: int | None = None) -> None:
        self.header, self._slot = header, slot
        self.next_slot: dict[int, int] = {}  # by register: which of our two blocks to write next
        self._front = b""
        self._presence: Presence | None = None
        self._known: dict[tuple[int, int, int], tuple[bytes, _Found]] = {}

    def ranges(self, registers: Sequence[int]) -> list[tuple[int, int]]:
        """Return what to read (offset, size): the front, then ``registers``."""
        size = self.header.register_size
        return [(0, self.header.front), *((self.header.register_at(one), size) for one in registers)]

    def look_at_front(self, raw: bytes) -> Presence | None:
        """Take in the header, which may name new members, and return the presence of our node. Raises NotAVotingFile."""
        front = raw[: self.header.front]
        if front == self._front:
            return self._presence
        header, _ = read_header(front)
        same = ("uuid", "index", "file_id", "places", "registers")
        if any(getattr(header, name) != getattr(self.header, name) for name in same):
            raise NotAVotingFile("it has become another voting file")
        self.header, self._front = header, front
        self._presence = read_presence(front, header, self._slot) if self._slot is not None else None
        return self._presence

    def views(self, raw: bytes, registers: Sequence[int]) -> dict[int, View | DamagedRegister]:
        """Return each register's view, from the answer to ``ranges``."""
        found: dict[int, View | DamagedRegister] = {}
        at = self.header.front
        for register in registers:
            try:
                found[register] = self._view(raw[at : at + self.header.register_size], register)
            except DamagedRegister as damaged:
                found[register] = damaged
            at += self.header.register_size
        return found

    def _view(self, raw: bytes, register: int) -> View:
        blocks, damage = [], []
        for node in range(self.header.places):
            halves = [self._block(raw, register, node, slot) for slot in range(SLOTS)]
            if node == self._slot:
                self.next_slot[register] = _next_slot(halves)
            whole = [half for half in halves if isinstance(half, Block)]
            broken = [half for half in halves if isinstance(half, Damaged)]
            if broken or not whole:
                damage.append(f"the block of {self._name(node)} is damaged: {(broken or halves)[0]}")
            blocks.append(EMPTY if not whole else whole[0].merged(whole[-1]))
        if damage:
            raise DamagedRegister("; ".join(damage))
        header = self.header
        return View(tuple(blocks), header.file_id, header.members_seq, header.members)

    def _block(self, raw: bytes, register: int, node: int, slot: int) -> _Found:
        at = (node * SLOTS + slot) * BLOCK
        piece = raw[at : at + BLOCK]
        known = self._known.get((register, node, slot))
        if known is not None and known[0] == piece:
            return known[1]
        found: _Found
        try:
            found = decode(unseal(piece, self.header.place(register, node, slot)))
        except (Torn, Damaged) as error:
            found = error
        self._known[register, node, slot] = (piece, found)
        return found

    def _name(self, node: int) -> str:
        return f"node {self.header.nodes[node]}" if node < len(self.header.nodes) else f"spare node {node}"


def _next_slot(halves: list[_Found]) -> int:
    """Return the slot to overwrite: a broken one if there is one, else the older."""
    for slot, half in enumerate(halves):
        if not isinstance(half, Block):
            return slot
    ages = [(half.bal, half.mbal) for half in halves if isinstance(half, Block)]
    return ages.index(min(ages))
