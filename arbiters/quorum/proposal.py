"""One ballot over one register: Paxos whose acceptors are compare-and-swap registers. Pure: no I/O, no clock.

The members of a quorum cannot run code for us; each stores a ``State`` per register, and every step of an acceptor is
a swap by the proposer from exactly the record it has seen. With size = 2f + 1 (or 2f + 2) and majority = size - f:

1. *Promise.* Swap each member to ``promised = ballot``, unless it has promised more. Its answer is what it accepted.
2. *Accept.* The newest value among a majority of voting members is the register's. Propose it, or its successor, to the
   members that promised: swap each **from the very record our promise left there**. A majority makes it *chosen*.
3. *Seed.* Only then tell the void members that had promised, again from our own promise.

Why it is linearizable: steps 1 and 2 are Paxos' phases (CASPaxos: the proposed value is a function of the one found).
An accepted value also carries a promise to its proposer's next ballot, which can therefore begin with step 2.

Why a member may forget everything. Say B is wiped, and a value w was chosen by B and others before. B's register is
now absent, thus void, and has no vote: a majority is found among others, and meets one X of those who accepted w.
If X accepted w before it promised us, we see w. If between our promise and our swap, our swap fails, since X's
record is no longer ours. If after our swap, w's proposer has seen our value at X before B accepted w; but B promised us,
as a void member, before we began step 2, hence B was wiped before w was accepted there: contradiction. So what B is
told in step 3 is at least as new as everything it forgot. A promise B gave and forgot is worthless too: its owner can
swap only from the record that is gone. Nothing here waits for time to pass, so no clock is involved.

The first value of a register has no voting member to start from. It takes *all* members, in both steps; the
swaps from our own promises make the whole of it atomic. The same rule serves when a partial first attempt is found.

What is assumed: at most f members are void at once by wiping. What is only noticed and not prevented: a member put
back to an *old state that was valid once*. Whoever has seen newer promises there (``floors``) makes it void.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from arbiters.quorum.acceptor import NOTHING, Accepted, Ballot, ForeignStateError, State, decode
from haagent.arbiter import Record

REREADS = 4  # how often a member may change under our eyes before we leave it alone for this ballot


@dataclass(frozen=True, slots=True)
class Read:
    """Ask a member what it stores."""

    member: int


@dataclass(frozen=True, slots=True)
class Write:
    """Swap a member's record."""

    member: int
    value: bytes
    expected: Record | None


Command: TypeAlias = Read | Write


class Outcome(Enum):
    """How a ballot ended."""

    CHOSEN = auto()  # ``current`` is what the register holds
    OUTBID = auto()  # somebody else is, or was, about; ``highest`` is what to exceed
    FAILED = auto()  # too few members answered


class Phase(Enum):
    """Where one member stands."""

    READING = auto()
    PROMISING = auto()
    PROMISED = auto()
    WRITING = auto()
    ACCEPTED = auto()
    OUT = auto()


@dataclass(slots=True)
class _Member:
    phase: Phase = Phase.READING
    read: Record | None = None
    ours: Record | None = None  # what we left there
    pending: bytes = b""
    accepted: Accepted | None = None  # what it answered; None: void
    rereads: int = 0
    direct: bool = False  # take part in step 2 from an own earlier record
    failed: bool = False


Propose: TypeAlias = Callable[[Accepted | None, Ballot], Accepted | None]


@dataclass(slots=True)
class Proposal:
    """One ballot. Feed it answers by the ``on_`` methods; ``commands()`` is what to do next, until ``outcome``.

    ``propose(current, ballot)`` returns what to propose: ``current`` itself to leave the register as it is (None for an
    absent one). ``floors`` are the highest promises seen per member. Commands may still come after the outcome: they
    bring the others up to date. ``resume`` are records this proposer's last ballot left: step 1 is done then.
    """

    size: int
    ballot: Ballot
    propose: Propose
    floors: Mapping[int, Ballot] = field(default_factory=dict)
    resume: Mapping[int, Record] | None = None
    outcome: Outcome | None = None
    current: Accepted | None = None
    highest: Ballot = NOTHING
    behind: bool = False  # some member does not know what the others know
    staked: bool = False  # step 2 was begun with a value that was not there before
    hurried: bool = False
    foreign: str = ""
    _members: list[_Member] = field(init=False)
    _commands: list[Command] = field(init=False, default_factory=list)
    _quorum: int = 0  # how many must accept; 0 in step 1
    _electorate: frozenset[int] = frozenset()
    _in_time: frozenset[int] = frozenset()  # those who had promised when step 2 began

    def __post_init__(self) -> None:
        self._members = [_Member() for _ in range(self.size)]
        self.highest = self.ballot
        if self.resume is None:
            self._commands += [Read(number) for number in range(self.size)]
            return
        for number, member in enumerate(self._members):
            held = self.resume.get(number)
            if held is None:
                member.direct = True
                self._commands.append(Read(number))
            else:
                member.ours, member.phase = held, Phase.PROMISED
                member.accepted = decode(held.value, self.size).accepted
        self._begin_accepting(self.majority)

    @property
    def majority(self) -> int:
        """How many members decide."""
        return self.size // 2 + 1

    @property
    def held(self) -> dict[int, Record]:
        """The records with our value that we left at members, for the next ballot to start from."""
        return {
            n: m.ours for n, m in enumerate(self._members) if m.phase is Phase.ACCEPTED and m.ours is not None
        }

    @property
    def void(self) -> list[int]:
        """The members that had promised when step 2 began and have no vote, while others have."""
        void = [number for number in self._in_time if self._members[number].accepted is None]
        return void if len(void) < len(self._in_time) else []

    def commands(self) -> list[Command]:
        """Return what is to be done now, once."""
        commands, self._commands = self._commands, []
        return commands

    def hurry(self) -> None:
        """Go on without those who have not answered, as soon as there is a majority."""
        self.hurried = True
        self._advance()

    def abandon(self) -> None:
        """Begin nothing more."""
        self.outcome = self.outcome or Outcome.FAILED
        self._commands.clear()

    # -- answers

    def on_record(self, number: int, record: Record | None) -> None:
        """Take note of what a member stores."""
        member = self._members[number]
        try:
            state = decode(None if record is None else record.value, self.size)
        except ForeignStateError as error:
            self.foreign = str(error)
            return self.on_failure(number)
        self.highest = max(self.highest, state.promised)
        forgot = state.promised < self.floors.get(number, NOTHING)
        if member.direct:
            return self._join(number, record, state, forgot=forgot)
        if state.promised >= self.ballot:
            return self._out(number)
        member.read, member.phase = record, Phase.PROMISING
        member.accepted = None if forgot else state.accepted
        member.pending = State(self.size, self.ballot, member.accepted).encode()
        self._commands.append(Write(number, member.pending, record))
        return None

    def on_written(self, number: int, version: str) -> None:
        """Take note that a swap succeeded."""
        member = self._members[number]
        member.ours = Record(member.pending, version)
        member.phase = Phase.PROMISED if member.phase is Phase.PROMISING else Phase.ACCEPTED
        self._advance()

    def on_conflict(self, number: int) -> None:
        """Take note that a member no longer stores what we saw there, and that our swap has not happened."""
        member = self._members[number]
        if member.phase is Phase.PROMISING and member.rereads < REREADS and not self._quorum:
            member.rereads, member.phase = member.rereads + 1, Phase.READING
            self._commands.append(Read(number))
            return
        self.behind = True
        self._out(number)

    def on_failure(self, number: int) -> None:
        """Take note that a member did not answer, or refused."""
        self._members[number].failed = True
        self._out(number)

    # -- steps

    def _out(self, number: int) -> None:
        self._members[number].phase = Phase.OUT
        self._advance()

    def _join(self, number: int, record: Record | None, state: State, *, forgot: bool) -> None:
        """Let a member whose record is our own, untouched since, take part in step 2; it has promised us."""
        ours = state.promised.proposer == self.ballot.proposer and state.promised <= self.ballot
        if forgot or state.accepted is None or not ours or self.current is None:
            self.behind = True
            return self._out(number)
        member = self._members[number]
        member.ours, member.accepted = record, state.accepted
        self._electorate |= {number}
        return self._accept(number, self.current)

    def _count(self, *phases: Phase) -> list[int]:
        return [number for number, member in enumerate(self._members) if member.phase in phases]

    def _advance(self) -> None:
        if self.outcome is Outcome.CHOSEN:
            self._seed()
        elif self.outcome is None and self._quorum:
            self._count_accepted()
        elif self.outcome is None:
            self._count_promises()

    def _count_promises(self) -> None:
        promised, waiting = self._count(Phase.PROMISED), self._count(Phase.READING, Phase.PROMISING)
        voting = [number for number in promised if self._members[number].accepted is not None]
        if len(voting) >= self.majority and (self.hurried or not waiting):
            self._begin_accepting(self.majority)
        elif len(promised) == self.size:
            self._begin_accepting(self.size)
        elif len(voting) + len(waiting) < self.majority and len(promised) + len(waiting) < self.size:
            self._lose()

    def _begin_accepting(self, quorum: int) -> None:
        """Find out what the register holds, and propose what the plan makes of it."""
        promised = self._count(Phase.PROMISED)
        answers = [a for a in (self._members[number].accepted for number in promised) if a is not None]
        found = max(answers, key=lambda accepted: accepted.ballot, default=None)
        wanted = self.propose(found, self.ballot)
        self.behind = self.behind or (self.resume is None and len(answers) < self.size)
        self._quorum, self.current, self._in_time = quorum, wanted, frozenset(promised)
        if wanted is None:
            self.outcome = Outcome.CHOSEN
            return
        self.staked = found is None or wanted.version != found.version
        voting = quorum < self.size or len(answers) == self.size
        members = [n for n in promised if not voting or self._members[n].accepted is not None]
        self._electorate = frozenset(members)
        for number in members:
            self._accept(number, wanted)

    def _accept(self, number: int, wanted: Accepted) -> None:
        member = self._members[number]
        successor = Ballot(self.ballot.round + 1, self.ballot.proposer)
        self.highest = max(self.highest, successor)
        member.pending, member.phase = State(self.size, successor, wanted).encode(), Phase.WRITING
        self._commands.append(Write(number, member.pending, member.ours))

    def _count_accepted(self) -> None:
        accepted = [n for n in self._count(Phase.ACCEPTED) if n in self._electorate]
        open_ = self._count(Phase.WRITING) + [
            n for n in self._count(Phase.READING) if self._members[n].direct
        ]
        if len(accepted) >= self._quorum:
            self.outcome = Outcome.CHOSEN
            self._seed()
        elif len(accepted) + len(open_) < self._quorum:
            self._lose()

    def _seed(self) -> None:
        """Tell those who promised and were not asked; a void one has a vote from now on.

        A void member that promised only after step 2 began is left alone: what it forgot may be newer.
        """
        if self.current is None:
            return
        for number in self._count(Phase.PROMISED):
            if number in self._in_time or self._members[number].accepted is not None:
                self._accept(number, self.current)

    def _lose(self) -> None:
        failed = sum(member.failed for member in self._members)
        self.outcome = Outcome.FAILED if failed > self.size - self.majority else Outcome.OUTBID
