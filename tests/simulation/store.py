"""The arbiter: linearizable registers behind a network and clients that time out.

Keeps the contract of haagent/arbiter.py and uses all the freedom it gives: a request may be lost before or after
it was applied, or be applied after its client has given up; reads may be stale; hints may be late, doubled,
reordered or missing. Every request is answered by exactly one event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haagent.core.actions import ReadRegister, SwapRegister
from haagent.core.events import (
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
)
from haagent.core.register import Record
from haagent.core.units import MILLISECOND, SECOND, Instant
from tests.simulation.chance import Chance
from tests.simulation.plan import Store

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World

LEAST_TIMEOUT = 50 * MILLISECOND
QUICKEST_FAILURE = 20 * MILLISECOND
Answer = RegisterRead | RegisterSwapped | RegisterConflicted


@dataclass(slots=True)
class Request:
    """One call of a client, which may be on its way more than once."""

    host: Host
    run: int
    action: ReadRegister | SwapRegister
    copies: int = 1
    conflicts: int = 0
    answered: bool = False


class Registers:
    """The registers and their true history."""

    def __init__(self, changed: Callable[[str, Record | None, str], None]) -> None:
        self.now: dict[str, Record] = {}
        self.history: dict[str, list[tuple[Instant, Record | None]]] = {}
        self._changed = changed
        self._revision = 0

    def swap(self, action: SwapRegister, at: Instant, by: str) -> Answer:
        held = self.now.get(action.name)
        if held is not None and held.value == action.value:
            return RegisterSwapped(action.name, held)
        if held != action.expected:
            return RegisterConflicted(action.name)
        self._revision += 1
        record = Record(action.value, str(self._revision))
        self.put(action.name, record, at, by)
        return RegisterSwapped(action.name, record)

    def put(self, name: str, record: Record | None, at: Instant, by: str) -> None:
        if record is None:
            self.now.pop(name, None)
        else:
            self.now[name] = record
        self.history.setdefault(name, []).append((at, record))
        self._changed(name, record, by)

    def as_of(self, name: str, at: Instant) -> Record | None:
        """Return what the register held at that time."""
        for when, record in reversed(self.history.get(name, ())):
            if when <= at:
                return record
        return None

    def restore(self, at: Instant, back_to: Instant) -> None:
        """Lose everything since ``back_to``; versions given out since then are given out again."""
        before = {name: record for name in self.history if (record := self.as_of(name, back_to)) is not None}
        for name in sorted(self.now.keys() | before.keys()):
            if before.get(name) != self.now.get(name):
                self.put(name, before.get(name), at, "restore")
        self._revision = max((int(record.version) for record in before.values()), default=0)


class Arbiter:
    """The service: requests from hosts in, events to hosts out."""

    def __init__(self, world: World, manner: Store, chance: Chance) -> None:
        self.world, self.manner, self._chance = world, manner, chance
        self.registers = Registers(self._changed)
        self.down = 0  # how many outages are on
        self.refuses = False
        self.electing_until: Instant = 0
        self.bad = 0
        self.lagging: dict[str, int] = {}  # hosts whose answers, and only those, take up to R
        self.cut_up: dict[str, int] = {}
        self.cut_down: dict[str, int] = {}

    # -- requests

    def request(self, host: Host, action: ReadRegister | SwapRegister) -> None:
        """Start one request of a host."""
        request = Request(host, host.run, action)
        manner = self._manner()
        self.world.after(max(host.config.renew, LEAST_TIMEOUT), self._give_up, request)
        if isinstance(action, SwapRegister) and self._chance.happens(manner.double):
            request.copies = 2
        for _ in range(request.copies):
            delay = self._chance.between(manner.least, manner.most)
            if self.cut_up.get(host.name) or self._chance.happens(manner.lost):
                continue
            if self._chance.happens(manner.late):
                delay += self._chance.below(4 * host.config.lease)
            self.world.after(delay, self._arrived, request)

    def _manner(self) -> Store:
        manner = self.manner
        if not self.bad:
            return manner
        return Store(manner.least, manner.most * 4, 0.15, 0.15, 0.15, 0.2, 0.3, 0.3)

    def _arrived(self, request: Request) -> None:
        now = self.world.now
        if self.down:
            if self.refuses:
                self.world.after(QUICKEST_FAILURE, self._give_up, request)
            return
        if now < self.electing_until:  # it waits in the queue of the new leader
            self.world.at(self.electing_until + self._chance.below(MILLISECOND), self._arrived, request)
            return
        answer = self._apply(request, now)
        if self.cut_down.get(request.host.name) or self._chance.happens(self._manner().unanswered):
            return
        delay = self._chance.between(self.manner.least, self.manner.most)
        if self.lagging.get(request.host.name):
            delay += self._chance.below(request.host.config.renew)
        self.world.after(delay, self._answer, (request, answer))

    def _apply(self, request: Request, now: Instant) -> Answer:
        action = request.action
        if isinstance(action, SwapRegister):
            return self.registers.swap(action, now, request.host.name)
        if self._chance.happens(self._manner().stale):
            past = now - self._chance.below(3 * SECOND)
            return RegisterRead(action.name, self.registers.as_of(action.name, past))
        return RegisterRead(action.name, self.registers.now.get(action.name))

    def _answer(self, answered: tuple[Request, Answer]) -> None:
        request, answer = answered
        if request.answered:
            return
        if isinstance(answer, RegisterConflicted):
            request.conflicts += 1
            if request.conflicts < request.copies:
                return  # a client may say "it has not happened" only when no copy may have
        request.answered = True
        request.host.deliver_to(request.run, answer)

    def _give_up(self, request: Request) -> None:
        if request.answered:
            return
        request.answered = True
        swap = isinstance(request.action, SwapRegister)
        request.host.deliver_to(request.run, RegisterUnavailable(request.action.name, swap, "no answer"))

    # -- hints

    def _changed(self, name: str, record: Record | None, by: str) -> None:
        self.world.checks.register_changed(name, record, by)
        hint = RegisterChanged(name, record)
        manner = self._manner()
        for host in self.world.hosts:
            if self.cut_down.get(host.name) or (manner.deaf and self._chance.happens(manner.deaf)):
                continue
            delay = self._chance.between(self.manner.least, self.manner.most)
            if manner.deaf and self._chance.happens(0.1):
                self.world.after(delay + self._chance.below(2 * SECOND), host.deliver, hint)
            self.world.after(delay, host.deliver, hint)
