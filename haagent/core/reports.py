"""What the core tells people: a closed set of facts. Journal, notify scripts, metrics and status read the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class State(StrEnum):
    """The states of an instance, as keepalived's users know them (RFC 9568 calls MASTER Active)."""

    INIT = "INIT"
    BACKUP = "BACKUP"
    MASTER = "MASTER"
    FAULT = "FAULT"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """An instance or sync group changed state. ``epoch`` is the claim's when MASTER, else the last known.

    For a group ``instance`` is its name and ``priority`` 0, as keepalived's notify scripts get them.
    """

    instance: str
    old: State
    new: State
    priority: int
    epoch: int
    reason: str
    group: bool = False


@dataclass(frozen=True, slots=True)
class PriorityChanged:
    """An instance's effective priority changed."""

    instance: str
    old: int
    new: int
    cause: str


@dataclass(frozen=True, slots=True)
class TrackerChanged:
    """A tracked thing was found up or down after rise and fall were counted."""

    tracker: str
    up: bool


@dataclass(frozen=True, slots=True)
class ClaimChanged:
    """Something happened to a claim: won, lost, released, bid, ended, refused. ``detail`` is one sentence."""

    claim: str
    what: str
    epoch: int
    detail: str


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """This node's session with the arbiter: live, lapsed, unavailable, lost, occupied, usurped. ``detail`` is one sentence."""

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Doubted:
    """A MASTER had a reason to doubt itself and closed its gate until it knew better."""

    instance: str
    evidence: str


@dataclass(frozen=True, slots=True)
class LowerPriorityHeard:
    """A MASTER heard an advertisement of lower priority (keepalived's notify_master_rx_lower_pri)."""

    instance: str
    source: str
    priority: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """A fact for the journal only: discarded packets, foreign announcements, vanished addresses, failed effects."""

    subject: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Everything is let go of; the agent may end."""


Report: TypeAlias = (
    StateChanged
    | PriorityChanged
    | TrackerChanged
    | ClaimChanged
    | SessionChanged
    | Doubted
    | LowerPriorityHeard
    | Noticed
    | Stopped
)
