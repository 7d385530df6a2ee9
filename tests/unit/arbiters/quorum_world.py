"""A world for ballots: stores that swap, links that delay and lose, clients that crash, members that forget. Seeded.

Every step delivers one command or one answer, chosen at random with weights of its own per link, so that some
links are very slow. Nothing here looks into a Proposal; clients use it as the asyncio driver does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random

from arbiters.quorum.acceptor import NOTHING, Ballot, decode
from arbiters.quorum.plan import Keep, Plan, Swap
from arbiters.quorum.proposal import Command, Outcome, Proposal, Read
from haagent.arbiter import Conflict, Record, Unavailable


@dataclass
class Store:
    """One member's register, and the versions it has given out."""

    record: Record | None = None
    revision: int = 0

    def apply(self, command: Command) -> Record | str | None:
        """Return a record, a new version, or "" for a conflict."""
        if isinstance(command, Read):
            return self.record
        if self.record is not None and self.record.value == command.value:
            return self.record.version
        if self.record != command.expected:
            return ""
        self.revision += 1
        self.record = Record(command.value, str(self.revision))
        return self.record.version


@dataclass
class History:
    """What clients were told."""

    won: list[tuple[str, int]] = field(default_factory=list)  # (expected version, count)
    unknown: set[int] = field(default_factory=set)  # ids of writes
    refused: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)


class Client:
    """Counts: reads by a ballot that changes nothing, then swaps count + 1 in, a few times."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.rounds, self.floors = 0, {}
        self.last: Proposal | None = None
        self.work = self.run()
        self.waiting: Proposal | None = next(self.work, None)

    def proposal(self, plan: Plan) -> Proposal:
        size, last = self.world.size, self.last
        if last is not None and last.current is not None and len(last.held) > size // 2:
            ballot = Ballot(last.ballot.round + 1, self.name)
            self.rounds = max(self.rounds, ballot.round + 1)
            self.last = None
            return self.world.make(size, ballot, plan.propose, self.floors, last.held)
        seen = max((floor.round for floor in self.floors.values()), default=0)
        self.rounds = max(self.rounds, seen) + 2
        return self.world.make(size, Ballot(self.rounds - 1, self.name), plan.propose, self.floors, None)

    def ballots(self, plan: Plan, limit: int = 6) -> Generator[Proposal, None, Proposal | None]:
        for _ in range(limit):
            proposal = self.proposal(plan)
            yield proposal
            if proposal.outcome is Outcome.CHOSEN:
                self.last = proposal
                return proposal
            self.last = None
            self.rounds = max(self.rounds, proposal.highest.round)
        return None

    def run(self) -> Generator[Proposal, None, None]:
        history = self.world.history
        record: Record | None = None
        for _ in range(self.world.random.randint(1, 4)):
            if record is None or self.world.random.random() < 0.4:
                found = yield from self.ballots(Keep())
                if found is None:
                    continue
                now = found.current
                record = None if now is None else Record(now.value, now.version)
                if record is not None:
                    history.seen.add(json.loads(record.value)["id"])
            count = 0 if record is None else json.loads(record.value)["count"]
            number = next(self.world.numbers)
            value = json.dumps({"count": count + 1, "id": number}).encode()
            plan = Swap("r", value, record)
            found = yield from self.ballots(plan)
            if found is None:
                history.unknown.add(number)
                record = None
                continue
            try:
                version = plan.result(found.current)
            except Conflict:
                history.refused.add(number)
                record = None
            except Unavailable:
                history.unknown.add(number)
                record = None
            else:
                history.won.append(("" if record is None else record.version, count + 1))
                record = Record(value, version)


@dataclass
class Message:
    client: Client
    proposal: Proposal
    command: Command
    answer: Record | str | None = None
    arrived: bool = False
    weight: float = 1.0


class World:
    """Stores, clients and what is on its way between them."""

    def __init__(
        self,
        seed: int,
        size: int = 3,
        make: Callable[..., Proposal] = Proposal,
        *,
        wipes: int = 1,
        losses: float = 0.03,
    ) -> None:
        self.random = Random(seed)
        self.size, self._make, self.wipes, self.losses = size, make, wipes, losses
        self.stores = [Store() for _ in range(size)]
        self.numbers = iter(range(1, 10_000))
        self.history = History()
        self.messages: list[Message] = []
        self.clients = [Client(self, f"c{number}") for number in range(self.random.choice((2, 2, 3)))]
        self.slow = {
            (client.name, number): self.random.choice((1.0, 1.0, 0.3, 0.03))
            for client in self.clients
            for number in range(size)
        }

    def make(
        self, size: int, ballot: Ballot, propose: object, floors: dict[int, Ballot], resume: object
    ) -> Proposal:
        return self._make(size, ballot, propose, floors, resume)

    def run(self, steps: int = 1_500) -> None:
        for client in self.clients:
            self._collect(client)
        for _ in range(steps):
            chance = self.random.random()
            if self.wipes and chance < 0.01:
                self._wipe()
            elif chance < 0.02:
                self._hurry()
            elif self.messages:
                self._step()
            elif all(client.waiting is None for client in self.clients):
                return
        for client in self.clients:  # crash: what is under way stays under way
            if client.waiting is not None:
                client.waiting.abandon()

    def final(self) -> dict[str, int] | None:
        """Deliver what is left in random order, then ask everybody what the register holds."""
        while self.messages:
            self._step(quiet=True)
        reader = Client.__new__(Client)
        reader.world, reader.name, reader.rounds, reader.floors, reader.last = (
            self,
            "reader",
            10_000,
            {},
            None,
        )
        for proposal in (ballots := reader.ballots(Keep())):
            while proposal.outcome is None:
                for command in proposal.commands():
                    feed(proposal, command, self.stores[command.member].apply(command))
            last = proposal
        assert ballots is not None
        assert last.outcome is Outcome.CHOSEN
        return None if last.current is None else json.loads(last.current.value)

    def _wipe(self) -> None:
        """Let one member forget everything, if no other has forgotten and not yet been told."""
        void = [
            decode(store.record and store.record.value, self.size).accepted is None for store in self.stores
        ]
        number = self.random.randrange(self.size)
        if not any(v for n, v in enumerate(void) if n != number):
            self.stores[number].record = None
            self.stores[number].revision += 1_000
            self.wipes -= 1

    def _hurry(self) -> None:
        client = self.random.choice(self.clients)
        if client.waiting is not None:
            client.waiting.hurry()
            self._collect(client)

    def _step(self, *, quiet: bool = False) -> None:
        message = self.random.choices(self.messages, [m.weight for m in self.messages])[0]
        lost = not quiet and self.random.random() < self.losses
        if not message.arrived and not lost:
            message.answer = self.stores[message.command.member].apply(message.command)
            message.arrived = True
            return
        self.messages.remove(message)
        number, client = message.command.member, message.client
        if lost:
            message.proposal.on_failure(number)
        else:
            feed(message.proposal, message.command, message.answer)
            if not isinstance(message.command, Read) and message.answer:
                promised = decode(message.command.value, self.size).promised
                client.floors[number] = max(client.floors.get(number, NOTHING), promised)
        self._post(client, message.proposal)
        if not quiet:
            self._collect(client)

    def _collect(self, client: Client) -> None:
        """Post what the client's ballot asks for, and let the client go on when it is decided."""
        while client.waiting is not None:
            self._post(client, client.waiting)
            if client.waiting.outcome is None:
                return
            client.waiting = next(client.work, None)

    def _post(self, client: Client, proposal: Proposal) -> None:
        for command in proposal.commands():
            weight = self.slow.get((client.name, command.member), 1.0)
            self.messages.append(Message(client, proposal, command, weight=weight))


def feed(proposal: Proposal, command: Command, answer: Record | str | None) -> None:
    """Hand a store's answer to a ballot."""
    if isinstance(command, Read):
        assert not isinstance(answer, str)
        proposal.on_record(command.member, answer)
    elif answer:
        assert isinstance(answer, str)
        proposal.on_written(command.member, answer)
    else:
        proposal.on_conflict(command.member)


def judge(world: World) -> list[str]:
    """Return everything that contradicts a linearizable register."""
    history, final = world.history, world.final()
    expected = [version for version, _ in history.won]
    counts = [count for _, count in history.won]
    found = [f"two swaps succeeded on version {v!r}" for v in {v for v in expected if expected.count(v) > 1}]
    found += [f"two swaps made the count {c}" for c in {c for c in counts if counts.count(c) > 1}]
    total = 0 if final is None else final["count"]
    if not len(counts) <= total <= len(counts) + len(history.unknown):
        found.append(
            f"{len(counts)} successes, {len(history.unknown)} unknown, but the register says {total}"
        )
    shown = history.seen | ({final["id"]} if final is not None else set())
    found += [f"refused write {number} was seen later" for number in history.refused & shown]
    return found
