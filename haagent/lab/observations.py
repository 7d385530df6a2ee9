"""What outside observers saw, as plain data; the only input of a verdict.

Times are CLOCK_MONOTONIC in ns, the same clock for every observer and fault of one machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from haagent.core.units import Duration, Instant

Probe = Literal["arp", "echo", "nd", "echo6"]


@dataclass(frozen=True, slots=True)
class Round:
    """One broadcast question "who has the address?", asked of all nodes at the same time."""

    number: int
    sent: Instant


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer to one round; two nodes in one round and probe are dual ownership."""

    round: int
    probe: Probe
    node: str
    at: Instant


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of an ordinary client to the address. ``node`` is None when no answer came in time."""

    kind: Literal["udp", "http"]
    sent: Instant
    took: Duration
    node: str | None


@dataclass(frozen=True, slots=True)
class Advert:
    """A VRRP advertisement seen on the wire."""

    at: Instant
    node: str
    version: int
    vrid: int
    priority: int


@dataclass(frozen=True, slots=True)
class AddressChange:
    """A node's kernel reported the address added or removed (netlink, not the daemon's word)."""

    at: Instant
    node: str
    address: str
    present: bool


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """A fault: ``begin`` is read just before it is injected, ``end`` just before it is healed."""

    name: str
    target: str
    begin: Instant
    end: Instant
    description: str = ""


@dataclass
class Record:
    """Everything seen between ``begin`` and ``end``, each list in order of time."""

    nodes: tuple[str, ...]
    begin: Instant
    end: Instant = 0
    round_period: Duration = 0
    rounds: list[Round] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    adverts: list[Advert] = field(default_factory=list)
    addresses: list[AddressChange] = field(default_factory=list)
    faults: list[FaultSpan] = field(default_factory=list)
