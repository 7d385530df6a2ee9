"""Disk Paxos for one register: pure steps, no I/O, no clock, no randomness.

Promises that of all values decided for one register no two carry the same version, and that each is built on the
one before it. May not decide when to give up, how long to wait or which file is healthy.

The register is a chain of values, decided one after the other as in CASPaxos, over the single-writer blocks
of Gafni and Lamport's Disk Paxos instead of acceptors. ``docs/arbiters-shared-file.md`` has the argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

NODES_AT_MOST = 6  # what a block's history has room for
_LANES = 8  # a ballot number is counter * _LANES + slot, so no two nodes ever use the same


@dataclass(frozen=True, slots=True)
class Accepted:
    """One link of the chain: version 1, 2, 3, ... of the register called ``name``.

    ``history`` says for every node slot in which ballot the newest of its own values in this chain was put
    forward. So a node that lost sight of its value, because another node went on from it, still finds out.
    """

    version: int
    name: str
    value: bytes
    history: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """What one node says about one register: its promise (``mbal``), and what it accepted in ballot ``bal``."""

    mbal: int = 0
    bal: int = 0
    accepted: Accepted | None = None

    def merged(self, other: Block) -> Block:
        """Return the newer of each half. A node's halves only ever grow, so order does not matter."""
        newer = self if self.bal >= other.bal else other
        return Block(max(self.mbal, other.mbal), newer.bal, newer.accepted)


EMPTY: Final = Block()


@dataclass(frozen=True, slots=True)
class View:
    """One register on one file, as read at one moment: every node's block, by slot.

    ``file_id`` is what this file says it is, ``members`` which ids it believes the files to have, ``members_seq``
    how new that belief is. A file that was replaced is told from its successor by these.
    """

    blocks: tuple[Block, ...]
    file_id: int = 0
    members_seq: int = 0
    members: tuple[int, ...] = ()


def counted(views: Mapping[int, View]) -> dict[int, View]:
    """Return the views that may be counted together: those of files that the newest member list still names."""
    if not views:
        return {}
    newest = max(views.values(), key=lambda view: view.members_seq)
    if not newest.members:
        return dict(views)
    return {index: view for index, view in views.items() if newest.members[index] == view.file_id}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A swap: ``value`` into register ``name`` if it holds exactly (``version``, ``before``); 0 means absent."""

    name: str
    value: bytes
    version: int = 0
    before: bytes = b""

    def fits(self, base: Accepted | None) -> bool:
        """Say whether ``base`` is what the swap expects to find."""
        if base is None:
            return self.version == 0
        return (base.name, base.version, base.value) == (self.name, self.version, self.before)


class Phase(Enum):
    """Where an attempt is. The last three are ends."""

    LOOK = auto()  # what did my earlier incarnations promise?
    PREPARE = auto()  # phase 1: promise, and find what may have been decided
    ACCEPT = auto()  # phase 2: write the value
    LOST = auto()  # a higher ballot is under way: try again, later
    SWAPPED = auto()  # decided, and our value is in the chain
    OTHER = auto()  # decided (``decided`` is None: nothing was), and our value is not in the chain


ENDS = frozenset({Phase.LOST, Phase.SWAPPED, Phase.OTHER})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One ballot of one node on one register. Immutable: every event returns the next state.

    The driver writes ``block`` (None: nothing) to every file, reads the register from that file *after* the write,
    and hands what it read to ``hear`` together with the ``round`` it wrote in. ``mine`` and ``standing`` outlive
    the attempt; everything else begins anew.
    """

    slot: int
    files: int
    wanted: Wanted | None  # None: only make sure that what is there is decided
    phase: Phase
    round: int
    mine: Block
    ballot: int = 0
    highest: int = 0
    heard: Mapping[int, View] = field(default_factory=dict)
    exposed: tuple[int, ...] = ()  # ballots in which ``wanted`` was put forward
    decided: Accepted | None = None
    version: int = 0  # of our value, when SWAPPED

    @property
    def majority(self) -> int:
        return self.files // 2 + 1

    @property
    def block(self) -> Block | None:
        """Return what this round writes to every file."""
        return None if self.phase is Phase.LOOK else self.mine

    def hear(self, round_: int, file: int, view: View) -> Attempt:
        """Take note of what ``file`` held after this round's write had been made there.

        An answer to an earlier round is worth nothing: what it wrote has been superseded, and to count it would
        be to count a write of *this* round that nobody made.
        """
        if round_ != self.round or self.phase in ENDS:
            return self
        highest = max(self.highest, *(block.mbal for block in view.blocks))
        heard = {**self.heard, file: view}
        after = replace(self, heard=heard, highest=highest)
        if self.phase is not Phase.LOOK and _rival(view, self.slot) > self.ballot:
            return replace(after, phase=Phase.LOST)
        if len(counted(heard)) < self.majority:
            return after
        return _NEXT[self.phase](after)

    def again(self) -> Attempt:
        """Return the next attempt after LOST: a higher ballot, and what we know so far."""
        return _prepare(self)


def begin(
    slot: int,
    files: int,
    mine: Block | None,
    wanted: Wanted | None,
    *,
    standing: bool = False,
    highest: int = 0,
) -> Attempt:
    """Return the first state of an attempt.

    ``mine`` is what this incarnation last wrote or tried to write (None: nothing yet, look first). ``standing``
    says that its last attempt decided ``mine.accepted``: that write also promised ``mine.mbal``, so phase 1 of
    that ballot is done, and a swap of the value decided goes straight to phase 2.
    """
    attempt = Attempt(slot, files, wanted, Phase.LOOK, 1, mine or EMPTY, highest=highest)
    if mine is None:
        return attempt
    if standing and wanted is not None and wanted.fits(mine.accepted):
        return _accept(replace(attempt, ballot=mine.mbal, round=0), mine.accepted)
    return _prepare(attempt)


def confirmed(
    first: Mapping[int, View], second: Mapping[int, View], majority: int
) -> tuple[bool, Accepted | None]:
    """Return (True, what is decided) if two readings, one after the other, prove it; else (False, None).

    The proof is the one the writer itself makes: its block is on a majority of files, and there, *later*, nobody
    had promised a higher ballot.
    """
    second = counted(second)
    if len(second) < majority:
        return False, None
    top, slot = max((block.bal, slot) for view in second.values() for slot, block in enumerate(view.blocks))
    if top == 0:
        return True, None
    proof = [
        index
        for index, view in second.items()
        if index in first
        and first[index].file_id == view.file_id
        and first[index].blocks[slot].bal == top == view.blocks[slot].bal
        and _rival(view, slot) <= top
    ]
    if len(proof) < majority:
        return False, None
    return True, second[proof[0]].blocks[slot].accepted


def _rival(view: View, slot: int) -> int:
    """Return the highest ballot that anybody but ``slot`` has promised."""
    return max((block.mbal for other, block in enumerate(view.blocks) if other != slot), default=0)


def _above(ballot: int, slot: int) -> int:
    return (ballot // _LANES + 1) * _LANES + slot


def _looked(attempt: Attempt) -> Attempt:
    """A majority has shown what earlier incarnations of this node wrote: their promises are ours."""
    mine = attempt.mine
    for view in counted(attempt.heard).values():
        mine = mine.merged(view.blocks[attempt.slot])
    return _prepare(replace(attempt, mine=mine))


def _prepare(attempt: Attempt) -> Attempt:
    ballot = _above(max(attempt.highest, attempt.mine.mbal), attempt.slot)
    return replace(
        attempt,
        phase=Phase.PREPARE,
        round=attempt.round + 1,
        ballot=ballot,
        highest=ballot,
        mine=replace(attempt.mine, mbal=ballot),
        heard={},
    )


def _prepared(attempt: Attempt) -> Attempt:
    """Phase 1 is done: whatever is decided is what the highest ballot accepted, or was built on by it."""
    blocks: Iterable[Block] = (block for view in counted(attempt.heard).values() for block in view.blocks)
    newest = max((attempt.mine, *blocks), key=lambda block: block.bal)
    return _accept(attempt, newest.accepted)


def _accept(attempt: Attempt, base: Accepted | None) -> Attempt:
    """Begin phase 2 with our value if ``base`` is what it expects, else with ``base`` itself.

    The same write promises the node's next ballot: reading the files once then serves phase 2 of this ballot and
    phase 1 of the next.
    """
    wanted = attempt.wanted
    if wanted is not None and wanted.fits(base):
        value, exposed = _successor(base, wanted, attempt), (*attempt.exposed, attempt.ballot)
    elif base is None:
        return replace(attempt, phase=Phase.OTHER, decided=None)
    else:
        value, exposed = base, attempt.exposed
    mine = Block(_above(attempt.ballot, attempt.slot), attempt.ballot, value)
    return replace(attempt, phase=Phase.ACCEPT, round=attempt.round + 1, mine=mine, exposed=exposed, heard={})


def _successor(base: Accepted | None, wanted: Wanted, attempt: Attempt) -> Accepted:
    history = list(base.history if base is not None else (0,) * NODES_AT_MOST)
    history[attempt.slot] = attempt.ballot
    return Accepted(wanted.version + 1, wanted.name, wanted.value, tuple(history))


def _accepted(attempt: Attempt) -> Attempt:
    """Phase 2 is done: ``mine.accepted`` is decided, and we say whether it is our value or built on it."""
    decided, wanted = attempt.mine.accepted, attempt.wanted
    assert decided is not None  # _accept never begins phase 2 with nothing
    done = replace(attempt, decided=decided)
    if wanted is not None and decided.name == wanted.name:
        if decided.value == wanted.value:
            return replace(done, phase=Phase.SWAPPED, version=decided.version)
        if decided.history[attempt.slot] in attempt.exposed:
            return replace(done, phase=Phase.SWAPPED, version=wanted.version + 1)
    return replace(done, phase=Phase.OTHER)


_NEXT = {Phase.LOOK: _looked, Phase.PREPARE: _prepared, Phase.ACCEPT: _accepted}
