"""What one member of a quorum stores per register, and how it looks in the member's own store.

A header line of JSON, then the register's value as haagent wrote it, so that the member's own tools still show
it. A state without ``accepted`` is *void*: its member has forgotten, or never knew, what the register holds, and has
no vote until it has been told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

LINEAGE = 16  # how many earlier versions a state names


class Ballot(NamedTuple):
    """The number of one attempt: unique, because no proposer uses a round twice, and ordered."""

    round: int
    proposer: str

    def __str__(self) -> str:
        return f"{self.round}.{self.proposer}"


NOTHING = Ballot(0, "")


class ForeignStateError(ValueError):
    """The state was written for a quorum of another size."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A value, the ballot by which it was last accepted, and the ballot that first proposed it: its version.

    ``lineage`` are the versions before it, oldest first, at most LINEAGE.
    """

    ballot: Ballot
    version: str
    lineage: tuple[str, ...]
    value: bytes


@dataclass(frozen=True, slots=True)
class State:
    """One member's memory of one register. ``size`` is the number of members of the quorum it belongs to."""

    size: int
    promised: Ballot
    accepted: Accepted | None = None

    def encode(self) -> bytes:
        """Return what the member stores."""
        header: dict[str, object] = {"quorum": self.size, "promised": str(self.promised)}
        if self.accepted is None:
            return json.dumps(header).encode() + b"\n"
        header |= {"accepted": str(self.accepted.ballot), "version": self.accepted.version}
        header["before"] = self.accepted.lineage
        return json.dumps(header).encode() + b"\n" + self.accepted.value


def decode(stored: bytes | None, size: int) -> State:
    """Return the state a member stores; an absent or unreadable one is void. Raises ForeignStateError."""
    if stored is None:
        return State(size, NOTHING)
    line, _, value = stored.partition(b"\n")
    try:
        header = json.loads(line)
        found, promised = int(header["quorum"]), _ballot(header["promised"])
        accepted = None
        if "accepted" in header:
            lineage = tuple(str(one) for one in header["before"])
            accepted = Accepted(_ballot(header["accepted"]), str(header["version"]), lineage, value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return State(size, NOTHING)  # somebody wrote over it: nothing in it can be relied on
    if found != size:
        raise ForeignStateError(f"belongs to a quorum of {found} members, and this one has {size}")
    return State(size, promised, accepted)


def _ballot(text: str) -> Ballot:
    number, _, proposer = text.partition(".")
    return Ballot(int(number), proposer)
