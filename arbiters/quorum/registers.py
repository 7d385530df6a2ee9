"""A majority of arbiters as one ``Arbiter``: runs the ballots of ``proposal`` over the members.

Promises what ``haagent.arbiter`` asks for as long as more than half of the members answer, and no safety from fewer: one
member may be down, hang, refuse us or forget everything. A register's very first value takes all members.

Steady state is one swap at each member: the ballot after a success starts from the records that success left. Members
that were away are brought up to date in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from uuid import uuid4

from arbiters.quorum.acceptor import NOTHING, Accepted, Ballot, ForeignStateError, State, decode
from arbiters.quorum.members import Member
from arbiters.quorum.merge import Change, merged_changes
from arbiters.quorum.plan import Keep, Plan, Swap
from arbiters.quorum.proposal import Command, Outcome, Proposal, Read
from haagent.arbiter import ArbiterError, Conflict, Misconfigured, Record, Unavailable

GRACE = 0.02  # seconds a ballot waits for the last members when a majority has promised
# Seconds a member is given at least, though the call may be over before: with less it only comes to distrust its own
# connections, and a voting file that is given up is opened anew. A survey, which is waited for, gives it less.
SHORTEST_TURN, SHORTEST_LOOK = 0.25, 0.05
LONGEST_BACKOFF = 0.2  # seconds between ballots of rivals, chosen at random up to this
SETTLING = 0.5  # seconds a member may lag before it is brought up to date
MENDING_PAUSE = 0.05  # seconds between registers that are brought up to date
MENDING_TIMEOUT = 1.0
# Seconds after each look of a read that finds no majority, until it makes one: a ballot of its own would outbid the one
# whose end it only has to wait for.
LOOK_PAUSES = (0.005, 0.01, 0.02, 0.04)


def member_name(name: str) -> str:
    """Return the register in which members keep the state of register ``name``.

    Always a claim: a member's own housekeeping of sessions must not make it forget.
    """
    return "claims/" + name.replace("/", ":", 1)


class QuorumArbiter:
    """The registers of one domain, kept by a majority of ``members``. Made inside a running event loop."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self._proposer = uuid4().hex[:12]
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._rounds: defaultdict[str, int] = defaultdict(int)
        self._floors: defaultdict[str, dict[int, Ballot]] = defaultdict(dict)
        self._last: dict[str, Proposal] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._mending: dict[str, None] = {}
        self._mender: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    @property
    def majority(self) -> int:
        """How many members decide."""
        return len(self.members) // 2 + 1

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what a majority agrees on; a value is never shown that was not chosen. Raises ArbiterError."""
        deadline = self._begin(timeout)
        for pause in LOOK_PAUSES:
            states = await self._survey(name, deadline)
            settled, accepted = self._settled(states)
            if settled:
                return _record(accepted)
            if len(states) < self.majority:
                break
            await asyncio.sleep(pause)
        return _record(await self._decide(name, Keep(), deadline))

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new version. Raises as ``Arbiter.swap`` says."""
        plan = Swap(name, value, expected)
        return plan.result(await self._decide(name, plan, self._begin(timeout)))

    def changes(self) -> AsyncIterator[Change]:
        """Yield what becomes of registers as a majority of members shows it; see ``merge``."""
        return merged_changes(self, self._closed)

    async def aclose(self) -> None:
        """Close every member. Idempotent."""
        self._closed.set()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(member.aclose() for member in self.members), return_exceptions=True)

    def saw(self, name: str, state: State) -> None:
        """Take note of what a member stores: what the next ballot must exceed, and whether the last one was ours."""
        self._rounds[name] = max(self._rounds[name], state.promised.round)
        last = self._last.get(name)
        if last is not None and state.accepted is not None and state.accepted.ballot > last.ballot:
            del self._last[name]  # somebody else's value: to go on from our own would cost a conflict

    # -- ballots

    def _begin(self, timeout: float) -> float:
        """Return the loop time by which a call must have ended."""
        if self._closed.is_set():
            raise Unavailable("this arbiter is closed")
        return asyncio.get_running_loop().time() + timeout

    async def _decide(self, name: str, plan: Plan, deadline: float) -> Accepted | None:
        """Hold ballots until one is decided; return what the register holds then."""
        try:
            async with asyncio.timeout_at(deadline), self._locks[name]:
                return await self._hold_ballots(name, plan, deadline)
        except TimeoutError:
            raise self._unavailable(name, "no majority in time") from None

    async def _hold_ballots(self, name: str, plan: Plan, deadline: float) -> Accepted | None:
        last, backoff = self._last.pop(name, None), 0.0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            proposal = self._propose(name, plan, last)
            last = None
            try:
                await self._run(name, proposal, deadline)
            except BaseException:
                proposal.abandon()
                raise
            if proposal.outcome is Outcome.CHOSEN:
                self._last[name] = proposal
                return proposal.current
            if proposal.outcome is Outcome.FAILED:
                raise self._unavailable(name, proposal.foreign)
            self._rounds[name] = max(self._rounds[name], proposal.highest.round)
            # A rival's ballot takes as long as ours: who comes back sooner only outbids it in its turn.
            backoff = min(max(2 * backoff, loop.time() - begun), LONGEST_BACKOFF)
            await asyncio.sleep(random.uniform(0, backoff))  # noqa: S311 - only to let rivals pass
            settled, chosen = self._settled(await self._survey(name, deadline))
            if settled and chosen is not None and plan.settled_by(chosen):
                return chosen

    def _propose(self, name: str, plan: Plan, last: Proposal | None) -> Proposal:
        """Return the next ballot: from what the last one left, where that was a majority."""
        floors = self._floors[name]
        if last is not None and last.current is not None and len(held := last.held) >= self.majority:
            ballot = Ballot(last.ballot.round + 1, self._proposer)
            self._rounds[name] = max(self._rounds[name], ballot.round + 1)
            return Proposal(len(self.members), ballot, plan.propose, floors, resume=held)
        seen = max((floor.round for floor in floors.values()), default=0)
        self._rounds[name] = max(self._rounds[name], seen) + 2  # its successor is promised with it
        return Proposal(
            len(self.members), Ballot(self._rounds[name] - 1, self._proposer), plan.propose, floors
        )

    async def _run(self, name: str, proposal: Proposal, deadline: float) -> None:
        """Perform what the ballot asks for until it is decided; the rest goes on in the background."""
        decided = asyncio.Event()
        hurry = asyncio.get_running_loop().call_later(GRACE, self._hurry, name, proposal, deadline, decided)
        self._dispatch(name, proposal, deadline, decided)
        try:
            await decided.wait()
        finally:
            hurry.cancel()

    def _hurry(self, name: str, proposal: Proposal, deadline: float, decided: asyncio.Event) -> None:
        proposal.hurry()
        self._dispatch(name, proposal, deadline, decided)

    def _dispatch(self, name: str, proposal: Proposal, deadline: float, decided: asyncio.Event) -> None:
        for command in proposal.commands():
            self._spawn(self._perform(name, proposal, command, deadline, decided))
        if proposal.outcome is not None:
            decided.set()
        if proposal.behind and proposal.outcome is Outcome.CHOSEN:
            proposal.behind = False  # told once
            for number in proposal.void:
                self._forgot(self.members[number], name)
            if proposal.resume is None:
                self._mend_later(name)
            else:
                self.suspect(name)

    async def _perform(
        self, name: str, proposal: Proposal, command: Command, deadline: float, decided: asyncio.Event
    ) -> None:
        """Carry one command out at its member and tell the ballot."""
        number, stored = command.member, member_name(name)
        timeout = max(SHORTEST_TURN, deadline - asyncio.get_running_loop().time())
        member = self.members[number]
        try:
            if isinstance(command, Read):
                proposal.on_record(number, await member.read(stored, timeout))
            else:
                version = await member.swap(stored, command.value, command.expected, timeout)
                self._raise_floor(name, number, decode(command.value, len(self.members)))
                proposal.on_written(number, version)
        except Conflict:
            proposal.on_conflict(number)
        except ArbiterError:
            proposal.on_failure(number)
        self._dispatch(name, proposal, deadline, decided)

    def _raise_floor(self, name: str, number: int, state: State) -> None:
        if state.accepted is not None:
            self.members[number].stores(name)
        floors = self._floors[name]
        floors[number] = max(floors.get(number, NOTHING), state.promised)

    def _unavailable(self, name: str, detail: str) -> ArbiterError:
        """Return why there is no majority, naming the members that are to blame."""
        errors = [member.error for member in self.members if member.error is not None]
        text = "; ".join([*([detail] if detail else []), *map(str, errors)]) or f"{name}: no majority"
        refusing = [error for error in errors if isinstance(error, Misconfigured)]
        return Misconfigured(text) if len(refusing) > len(self.members) - self.majority else Unavailable(text)

    # -- reading

    async def _survey(self, name: str, deadline: float) -> dict[int, State]:
        """Return what members store: of all, or of those who answer soon after a majority did."""
        left = max(SHORTEST_LOOK, deadline - asyncio.get_running_loop().time())
        asked = {
            asyncio.create_task(member.read(member_name(name), left)): number
            for number, member in enumerate(self.members)
        }
        states: dict[int, State] = {}
        waiting, patience = set(asked), left
        try:
            while waiting and not self._settled(states)[0]:
                done, waiting = await asyncio.wait(
                    waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    if (state := self._state(task)) is not None:
                        self.saw(name, state)
                        states[asked[task]] = state
                if len(states) >= self.majority:
                    patience = min(patience, GRACE)
            return states
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)

    def _state(self, task: asyncio.Task[Record | None]) -> State | None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            return None
        record = task.result()
        try:
            return decode(None if record is None else record.value, len(self.members))
        except ForeignStateError:
            return None

    def _settled(self, states: dict[int, State]) -> tuple[bool, Accepted | None]:
        """Say whether ``states`` show what the register holds, or held a moment ago, and what that is."""
        accepted = [state.accepted for state in states.values() if state.accepted is not None]
        for one in accepted:
            if sum(other.ballot == one.ballot for other in accepted) >= self.majority:
                return True, one
        return (not accepted and len(states) == len(self.members)), None

    # -- members that were away

    def suspect(self, name: str) -> None:
        """Take note that a member may have forgotten register ``name``, and so perhaps any other."""
        for known in (name, *self._floors):
            self._mend_later(known)

    def _mend_later(self, name: str) -> None:
        self._mending[name] = None
        if self._mender is None and not self._closed.is_set():
            self._mender = self._spawn(self._mend_all())

    async def _mend_all(self) -> None:
        """Bring the members up to date, one register after the other, without haste."""
        await asyncio.sleep(SETTLING)
        while self._mending:
            name = next(iter(self._mending))
            del self._mending[name]
            with contextlib.suppress(ArbiterError):  # the next call that meets the member finds out again
                await self._mend(name)
            await asyncio.sleep(MENDING_PAUSE)
            if not self._mending and (owed := [one for member in self.members for one in member.owed]):
                self._mending.update(dict.fromkeys(owed))  # nobody else may ask for these for a long time
                await asyncio.sleep(SETTLING)
        self._mender = None

    async def _mend(self, name: str) -> None:
        """Hold one ballot that changes nothing if a member that answers still lags."""
        deadline = asyncio.get_running_loop().time() + MENDING_TIMEOUT
        states: dict[int, State] = {}
        for number, member in enumerate(self.members):
            try:
                record = await member.read(member_name(name), MENDING_TIMEOUT / len(self.members))
                states[number] = decode(None if record is None else record.value, len(self.members))
            except (ArbiterError, ForeignStateError):
                continue
        settled, accepted = self._settled(states)
        absent = settled and accepted is None
        lagging = [
            s
            for s in states.values()
            if s.accepted is None or accepted is None or s.accepted.ballot < accepted.ballot
        ]
        for number, state in states.items():
            if state.accepted is None and not absent:
                self._forgot(self.members[number], name)
            else:
                self.members[number].stores(name)
        if lagging and not absent:
            self._last.pop(name, None)  # only a whole ballot tells those who forgot
            await self._decide(name, Keep(), deadline)

    def _forgot(self, member: Member, name: str) -> None:
        """Look after everything known at a member that lost ``name``: it may have lost all of it."""
        if not member.owed:
            self._mending.update(dict.fromkeys(self._floors))
        member.forgot((name, *self._mending))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _record(accepted: Accepted | None) -> Record | None:
    return None if accepted is None else Record(accepted.value, accepted.version)
