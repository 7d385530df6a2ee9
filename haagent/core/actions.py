"""Everything the core can ask for: a closed union of frozen dataclasses, named in the imperative.

The agent performs one tuple strictly in order. An action that the host refuses stops the rest of its tuple
and comes back as ``EffectFailed``. Closing or extending the gate is synchronous; installing and removing
addresses answer with an event; swaps and reads are started and answer later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.register import Record
from haagent.core.reports import Report
from haagent.core.units import Instant


@dataclass(frozen=True, slots=True)
class SendAdvertisement:
    """Send one advertisement with this priority now; 0 resigns."""

    instance: str
    priority: int


@dataclass(frozen=True, slots=True)
class AnnounceAddresses:
    """Send ``rounds`` gratuitous ARPs or unsolicited neighbour advertisements per address of the instance."""

    instance: str
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class InstallAddresses:
    """Put the instance's addresses on its interfaces, with a lifetime; answers AddressesInstalled."""

    instance: str


@dataclass(frozen=True, slots=True)
class RemoveAddresses:
    """Take the instance's addresses off its interfaces; answers AddressesRemoved, also if there were none."""

    instance: str


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Let the claim's traffic pass for as long as the gate's deadline lies ahead."""

    claim: str
    epoch: int


@dataclass(frozen=True, slots=True)
class CloseGate:
    """Stop the claim's traffic now."""

    claim: str


@dataclass(frozen=True, slots=True)
class ExtendGate:
    """Set the deadline of every open gate of this node to ``until`` (on the ``fast`` timeline)."""

    until: Instant


@dataclass(frozen=True, slots=True)
class ReadRegister:
    """Read a register; answers RegisterRead or RegisterUnavailable."""

    name: str


@dataclass(frozen=True, slots=True)
class SwapRegister:
    """Swap a register; answers RegisterSwapped, RegisterConflicted or RegisterUnavailable."""

    name: str
    value: bytes
    expected: Record | None


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell whoever reads reports: the journal, notify scripts, metrics, status."""

    report: Report


@dataclass(frozen=True, slots=True)
class SendToPeer:
    """Send one message to another node over every peer network (see core.failsafe)."""

    peer: str
    body: object


@dataclass(frozen=True, slots=True)
class AskVeto:
    """Ask the operator's script whether this node may claim (see core.veto); answers VetoAnswered."""

    claim: str
    why: str
    holder: str
    epoch: int
    priority: int


Action: TypeAlias = (
    SendAdvertisement
    | AnnounceAddresses
    | InstallAddresses
    | RemoveAddresses
    | OpenGate
    | CloseGate
    | ExtendGate
    | ReadRegister
    | SwapRegister
    | Tell
    | SendToPeer
    | AskVeto
)

Actions: TypeAlias = tuple[Action, ...]
