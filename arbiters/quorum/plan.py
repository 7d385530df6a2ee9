"""What a ballot is to do with the value it finds, and what its caller is to be told then. Pure.

A swap may take several ballots. Once one of them began to propose our value without an end, that value may have
been chosen, and even replaced since. The *lineage* every value carries then says which: it names the versions before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from arbiters.quorum.acceptor import LINEAGE, Accepted, Ballot
from haagent.arbiter import Conflict, Record, Unavailable


class Plan(Protocol):
    """What ballots are held for."""

    def propose(self, current: Accepted | None, ballot: Ballot) -> Accepted | None:
        """Return what to propose where ``current`` was found; ``current`` with the new ballot to change nothing."""

    def settled_by(self, chosen: Accepted) -> bool:
        """Say whether no ballot is needed any more, given that ``chosen`` was once chosen."""


def keep(current: Accepted | None, ballot: Ballot) -> Accepted | None:
    """Propose what is there, which makes sure that it stays."""
    if current is None:
        return None
    return Accepted(ballot, current.version, current.lineage, current.value)


class Keep:
    """Find out what the register holds, and make sure that it is chosen."""

    def propose(self, current: Accepted | None, ballot: Ballot) -> Accepted | None:
        return keep(current, ballot)

    def settled_by(self, chosen: Accepted) -> bool:
        return True


@dataclass(slots=True)
class Swap:
    """A compare-and-swap of one register, over any number of ballots."""

    name: str
    value: bytes
    expected: Record | None
    staked: set[str] = field(default_factory=set)

    def propose(self, current: Accepted | None, ballot: Ballot) -> Accepted | None:
        """Return the successor of ``current`` if that is what we expect, and else ``current``."""
        held = None if current is None else Record(current.value, current.version)
        if held != self.expected or (current is not None and current.value == self.value):
            return keep(current, ballot)
        self.staked.add(str(ballot))
        lineage = () if current is None else (*current.lineage, current.version)[-LINEAGE:]
        return Accepted(ballot, str(ballot), lineage, self.value)

    def settled_by(self, chosen: Accepted) -> bool:
        """Say whether ``chosen`` is ours, or has our value or another one in the place after ``expected`` before it."""
        if chosen.value == self.value or self.staked.intersection(chosen.lineage):
            return True
        return chosen.version != (self.expected and self.expected.version) and self._overtaken(chosen)

    def result(self, chosen: Accepted | None) -> str:
        """Return our version, knowing that the register holds ``chosen``. Raises Conflict or Unavailable."""
        if chosen is None:
            if self.staked:
                raise Unavailable(f"{self.name} vanished, and whether it held our value is not known")
            raise Conflict(f"{self.name} holds nothing")
        if chosen.value == self.value:
            return chosen.version
        history = (*chosen.lineage, chosen.version)
        if ours := self.staked.intersection(history):
            return ours.pop()
        if self.staked and not self._overtaken(chosen):
            raise Unavailable(f"{self.name} changed often, and whether it held our value is not known")
        raise Conflict(f"{self.name} holds version {chosen.version}")

    def _overtaken(self, chosen: Accepted) -> bool:
        """Say whether the history shows that somebody else's value came after ``expected``."""
        if self.expected is None:
            return len(chosen.lineage) < LINEAGE
        return self.expected.version in (*chosen.lineage, chosen.version)
