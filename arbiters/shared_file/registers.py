"""Voting files as an ``Arbiter``: each register is a chain of values that Disk Paxos decides.

Promises that a swap reports success only for a value that a majority of the files decided within the call, and Conflict
only if it was decided that the value is not, and will not be, in the chain. A read returns only what is decided: a
value that is merely written somewhere may yet vanish, and "that node's session was ended" must not.

There is no directory. Registers are taken in order: the first value decided for a place names the register it is, for
ever. So a name's place is the first one, counting from 0, that no other name has taken.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from arbiters.shared_file.ballot import (
    EMPTY,
    ENDS,
    Accepted,
    Attempt,
    Block,
    Phase,
    View,
    Wanted,
    begin,
    confirmed,
)
from arbiters.shared_file.block import TEXT_AT_MOST
from arbiters.shared_file.files import Files
from arbiters.shared_file.polling import Change, Poll
from arbiters.shared_file.settings import Settings
from haagent.arbiter import Conflict, Misconfigured, Record, Unavailable

LOOKS = 3  # readings before a read settles by a ballot what a writer may have left behind
LOOK_PAUSE = 0.004  # seconds between them
BACKOFF = 0.004  # seconds, doubled with each ballot lost, times a random number below 1
LONGEST_BACKOFF = 0.1


class Place:
    """One place for a register, as this run of this node knows it. ``lock`` keeps our own ballots apart."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, ""
        self.lock = asyncio.Lock()
        self.mine: Block | None = None
        self.standing = False
        self.highest = 0

    def learn(self, accepted: Accepted | None) -> None:
        """Take note of what is decided here: the name never changes again."""
        if accepted is not None:
            self.name = accepted.name

    def adopt(self, attempt: Attempt) -> None:
        """Keep what must outlive an attempt, however it ends: what we may have written binds us, and only grows."""
        if attempt.phase is not Phase.LOOK:
            self.mine = attempt.mine.merged(self.mine or EMPTY)
        self.highest = max(self.highest, attempt.highest)
        self.standing = attempt.phase in (Phase.SWAPPED, Phase.OTHER) and attempt.decided is not None
        self.learn(attempt.decided)


class SharedFileArbiter:
    """The registers of one domain. Made inside a running event loop; opens the files in the background."""

    def __init__(self, settings: Settings) -> None:
        self.files = Files(settings)
        self._settings = settings
        self._places: list[Place] = []
        self._polls: set[Poll] = set()
        self._closed = False
        self.files.start()

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what is decided for ``name``. Raises ArbiterError within ``timeout`` seconds."""
        deadline = self._deadline(timeout)
        try:
            async with asyncio.timeout_at(deadline):
                await self._prepare()
                for place in self._places:
                    if place.name in ("", name):
                        accepted = await self._settled(place, deadline)
                        if accepted is None or accepted.name == name:
                            return record(accepted)
                return None
        except TimeoutError:
            raise self.files.unavailable() from None

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new version. Raises as ``Arbiter.swap`` says."""
        if len(name.encode()) + len(value) > TEXT_AT_MOST or len(name.encode()) > 255:
            raise Misconfigured(f"arbiter file: {name} and its value take more than {TEXT_AT_MOST} bytes")
        deadline = self._deadline(timeout)
        wanted = _wanted(name, value, expected)
        try:
            async with asyncio.timeout_at(deadline):
                await self._prepare()
                for place in self._places:
                    if place.name in ("", name) and (version := await self._swap_at(place, wanted, deadline)):
                        return str(version)
        except TimeoutError:
            raise self.files.unavailable() from None
        raise Misconfigured(
            f"arbiter file: all {len(self._places)} registers are taken, none is left for {name}"
        )

    def changes(self) -> AsyncIterator[Change]:
        """Yield every register, then each change; see ``polling``."""
        poll = Poll(self.files, self._settings.poll)
        self._polls.add(poll)
        return poll.changes(self._note_name)

    async def aclose(self) -> None:
        """Let go of the files, without waiting for one that is hung. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for poll in self._polls:
            poll.stop()
        await self.files.aclose()

    def _deadline(self, timeout: float) -> float:
        if self._closed:
            raise Unavailable("this arbiter is closed")
        return asyncio.get_running_loop().time() + timeout

    async def _prepare(self) -> None:
        """Wait until a majority of the files is known, and with it how many registers there are."""
        header = await self.files.ready()
        if not self._places:
            self._places = [Place(number) for number in range(header.registers)]

    def _note_name(self, number: int, name: str) -> None:
        if self._places:
            self._places[number].name = name

    async def _swap_at(self, place: Place, wanted: Wanted, deadline: float) -> int:
        """Return the version of our value, or 0 if this is another register's place. Raises Conflict."""
        if wanted.version and not place.name:  # the register is there already, or nowhere
            if await self._settled(place, deadline) is None:
                raise Conflict(f"{wanted.name} holds nothing")
            if place.name != wanted.name:
                return 0
        done = await self._attempt(place, wanted, deadline)
        if done.phase is Phase.SWAPPED:
            return done.version
        if done.decided is not None and done.decided.name != wanted.name:
            return 0
        raise Conflict(
            f"{wanted.name} holds {f'version {done.decided.version}' if done.decided else 'nothing'}"
        )

    async def _settled(self, place: Place, deadline: float) -> Accepted | None:
        """Return what is decided at ``place``; finish what another node may have left half done."""
        number = place.number
        before: dict[int, View] = {}
        for _ in range(LOOKS):
            views = (await self.files.look((number,), deadline))[number]
            proven, accepted = confirmed(before, views, self.files.majority)
            if proven:
                place.learn(accepted)
                return accepted
            if before:
                await asyncio.sleep(LOOK_PAUSE)
            before = views
        return (await self._attempt(place, None, deadline)).decided

    async def _attempt(self, place: Place, wanted: Wanted | None, deadline: float) -> Attempt:
        """Run ballots until one decides; return how it ended. Cancelled at the call's deadline."""
        async with place.lock:
            attempt = begin(
                self.files.slot,
                self.files.count,
                place.mine,
                wanted,
                standing=place.standing,
                highest=place.highest,
            )
            lost = 0
            while True:
                attempt = await self._ballot(place, attempt, deadline)
                if attempt.phase is not Phase.LOST:
                    return attempt
                pause = min(BACKOFF * 2.0 ** min(lost, 10), LONGEST_BACKOFF)
                await asyncio.sleep(pause * random.random())  # noqa: S311 - only to get out of step
                attempt, lost = attempt.again(), lost + 1

    async def _ballot(self, place: Place, attempt: Attempt, deadline: float) -> Attempt:
        """Run one ballot to its end. What a round may write is remembered before it is written."""
        while attempt.phase not in ENDS:
            place.adopt(attempt)
            attempt = await self._round(place.number, attempt, deadline)
        place.adopt(attempt)
        return attempt

    async def _round(self, number: int, attempt: Attempt, deadline: float) -> Attempt:
        """Write and read at every file until a majority has brought the attempt further."""
        after = attempt
        with self.files.ask((number,), attempt.block, deadline) as asked:
            while after.round == attempt.round and after.phase not in ENDS:
                index, answer = await asked.next()
                view = answer[number]
                if isinstance(view, View):
                    after = after.hear(attempt.round, index, view)
                    self.files.notice_replaced(dict(after.heard))
        return after


def record(accepted: Accepted | None) -> Record | None:
    """Return what the contract calls it."""
    return Record(accepted.value, str(accepted.version)) if accepted is not None else None


def _wanted(name: str, value: bytes, expected: Record | None) -> Wanted:
    if expected is None:
        return Wanted(name, value)
    if not expected.version.isdecimal():
        raise Conflict(f"{name}: version {expected.version!r} is not one of ours")
    return Wanted(name, value, int(expected.version), expected.value)
