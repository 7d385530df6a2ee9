"""Where everything lies in a voting file, and what its header says.

::

    block 0, 1         header, two slots           domain, ids, node table, geometry; JSON
    block 2 ...        presence, one per node      which run of which host writes as this node; JSON
    then per register  node 0: slot A, slot B, node 1: slot A, slot B, ...

A node's two slots of a register are written in turn. Every block is valid from the start: ``arbiter init`` writes
all of them, so a hole or a run of zeros is damage and never looks like "nothing was promised here".
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from arbiters.shared_file.ballot import NODES_AT_MOST
from arbiters.shared_file.block import BLOCK, PAYLOAD, Damaged, Torn, seal, unseal

MAGIC = "haagent voting file"
FORMAT = 1
SLOTS = 2  # per header, and per node and register
FILES = (1, 3, 5)
REGISTERS_AT_MOST = 1024


class NotAVotingFile(Exception):  # noqa: N818
    """The header is not one of ours, or not usable; says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a voting file says about itself. ``members`` are the ids of all files of the domain, by index."""

    domain: str
    uuid: str  # 32 hex digits, one per ``arbiter init``
    index: int
    members: tuple[int, ...]
    members_seq: int  # grows with every ``arbiter replace``
    nodes: tuple[str, ...]
    places: int  # node slots, at least len(nodes)
    registers: int
    inode: int = 0  # of this file when it was made; 0 for a block device

    @property
    def file_id(self) -> int:
        return self.members[self.index]

    @property
    def front(self) -> int:
        """Bytes before the first register: header and presence."""
        return (SLOTS + self.places) * BLOCK

    @property
    def register_size(self) -> int:
        return self.places * SLOTS * BLOCK

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.front + self.registers * self.register_size

    def register_at(self, register: int) -> int:
        """Return the offset of a register's first block."""
        return self.front + register * self.register_size

    def block_at(self, register: int, node: int, slot: int) -> int:
        """Return the offset of one block."""
        return self.register_at(register) + (node * SLOTS + slot) * BLOCK

    def presence_at(self, node: int) -> int:
        """Return the offset of a node's presence."""
        return (SLOTS + node) * BLOCK

    def place(self, register: int, node: int, slot: int) -> bytes:
        """Return what the checksum of a block is seeded with: a block copied from elsewhere is damage."""
        return self._seed(b"B") + register.to_bytes(4, "big") + bytes((node, slot))

    def presence_place(self, node: int) -> bytes:
        """Return the same for a presence."""
        return self._seed(b"P") + bytes((node,))

    def _seed(self, kind: bytes) -> bytes:
        return kind + bytes.fromhex(self.uuid) + self.file_id.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Presence:
    """Which run of which host writes as a node. ``host`` is boot id and network namespace: one lock covers it."""

    node: str
    incarnation: str
    host: str
    hostname: str

    def seal(self, header: Header, slot: int) -> bytes:
        """Return the block to write."""
        return seal(json.dumps(asdict(self)).encode(), header.presence_place(slot))


def read_presence(raw: bytes, header: Header, slot: int) -> Presence | None:
    """Return the presence in ``raw``, the front of a file, or None if the node was never there. Raises Damaged."""
    at = header.presence_at(slot)
    try:
        text = unseal(raw[at : at + BLOCK], header.presence_place(slot)).rstrip(b"\0")
    except Torn as torn:
        raise Damaged(str(torn)) from None
    return Presence(**json.loads(text)) if text else None


def no_presence(header: Header, slot: int) -> bytes:
    """Return the block of a node that was never there."""
    return seal(b"", header.presence_place(slot))


def seal_header(header: Header) -> bytes:
    """Return the header's block. Raises ValueError if the node table does not fit."""
    text = json.dumps({"magic": MAGIC, "format": FORMAT, **asdict(header)}).encode()
    if len(text) > PAYLOAD:
        raise ValueError(f"a header of {len(text)} bytes; accepted: {PAYLOAD}, so shorter names")
    return seal(text, MAGIC.encode())


def read_header(raw: bytes) -> tuple[Header, int]:
    """Return the newest header in the front of a file, and which slot it is in. Raises NotAVotingFile.

    A damaged slot is fatal: it may have held the news that this file was replaced.
    """
    found: list[tuple[Header, int]] = []
    for slot in range(SLOTS):
        try:
            text = unseal(raw[slot * BLOCK : (slot + 1) * BLOCK], MAGIC.encode()).rstrip(b"\0")
        except Torn:
            continue
        except Damaged as damaged:
            raise NotAVotingFile(_no_header(raw, slot, str(damaged))) from None
        found.append((_parse(text), slot))
    if not found:
        raise NotAVotingFile("both slots of its header are torn")
    return max(found, key=lambda one: one[0].members_seq)


def check_original(header: Header, inode: int) -> None:
    """Refuse a file that was copied, or restored from a backup: it has forgotten what was promised since."""
    if header.inode != inode:
        raise NotAVotingFile(
            "it is a copy, and may have forgotten promises; haagent arbiter replace makes it anew"
        )


def _no_header(raw: bytes, slot: int, why: str) -> str:
    if MAGIC.encode() in raw[: 2 * BLOCK]:
        return f"its header is damaged (slot {'AB'[slot]}): {why}"
    return "it is empty" if not raw else "it is not a voting file (haagent arbiter init makes one)"


def _parse(text: bytes) -> Header:
    fields = json.loads(text)
    if fields.pop("magic", None) != MAGIC:
        raise NotAVotingFile("it is not a voting file (haagent arbiter init makes one)")
    if (version := fields.pop("format", None)) != FORMAT:
        raise NotAVotingFile(f"it is of format {version}; this haagent reads format {FORMAT}")
    header = Header(**fields | {"members": tuple(fields["members"]), "nodes": tuple(fields["nodes"])})
    if len(header.members) not in FILES or not len(header.nodes) <= header.places <= NODES_AT_MOST:
        raise NotAVotingFile("its header makes no sense")
    return header
