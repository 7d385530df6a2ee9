"""Everything that can happen to a node: a closed union of frozen dataclasses, named in the past tense.

Data from peers, scripts, arbiters and the kernel is parsed into these types before it gets here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from haagent.core.register import Record
from haagent.core.units import Duration

IPAddress: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Startup:
    """The node begins; every gate is closed and left-over addresses are gone or taken over."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The node is asked to stop: let go of everything, in order. ``Stopped`` is reported when that is done."""


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """``next_deadline()`` has passed."""


@dataclass(frozen=True, slots=True)
class AdvertisementReceived:
    """A valid VRRP advertisement for one instance. The same object may be delivered many times.

    ``interval`` is what the packet carried (Max Advertise Interval, or v2's Adver Int).
    """

    instance: str
    source: IPAddress
    priority: int
    interval: Duration
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class PacketDiscarded:
    """A packet for one instance broke a rule; ``reason`` is a ``packet.Discard`` value."""

    instance: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """An interface became usable (up and running) or unusable."""

    interface: str
    up: bool


@dataclass(frozen=True, slots=True)
class PrimaryAddressChanged:
    """The address an instance sends from changed; None when its interface has none of that family."""

    instance: str
    address: IPAddress | None


@dataclass(frozen=True, slots=True)
class AddressesInstalled:
    """Every address of the instance is on its interface."""

    instance: str


@dataclass(frozen=True, slots=True)
class AddressesRemoved:
    """No address of the instance is on any interface."""

    instance: str


@dataclass(frozen=True, slots=True)
class AddressVanished:
    """An address we had installed was removed by somebody else."""

    instance: str
    address: str


@dataclass(frozen=True, slots=True)
class ForeignAnnouncement:
    """Another node announced (ARP or neighbour advertisement) an address of this instance."""

    instance: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class TrackResult:
    """One tracked thing was looked at once, before rise and fall are counted.

    ``value`` is what a tracked file says; ``passed`` False then means that it could not be read.
    """

    tracker: str
    passed: bool
    value: int | None = None


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """A read returned; it may be stale."""

    name: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class RegisterSwapped:
    """A swap succeeded for certain."""

    name: str
    record: Record


@dataclass(frozen=True, slots=True)
class RegisterConflicted:
    """A swap failed for certain: the register held something else."""

    name: str


@dataclass(frozen=True, slots=True)
class RegisterUnavailable:
    """A read or swap ended without an answer. A swap may have happened, may yet happen, or never will."""

    name: str
    swap: bool
    error: str


@dataclass(frozen=True, slots=True)
class RegisterChanged:
    """A hint from the arbiter: the register now holds this. Hints may be late, repeated or missing."""

    name: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class ClockDoubted:
    """The shell has evidence that this node's time stood still or that it was not running; ``evidence`` says what."""

    evidence: str


@dataclass(frozen=True, slots=True)
class GateLost:
    """The gate was taken away and put back closed, with no deadline; ``evidence`` says how."""

    evidence: str


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """The host refused an action of this instance; ``action`` is the action's class name."""

    instance: str
    action: str
    error: str


@dataclass(frozen=True, slots=True)
class SwitchoverRequested:
    """An operator wants the claim to move, to ``to`` or to the best other candidate."""

    claim: str
    to: str | None


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """An operator freezes the cluster's view on this node: leases go on, nothing moves."""


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """The end of a pause."""


@dataclass(frozen=True, slots=True)
class NodeDeclaredDown:
    """An operator vouches that this node is down and stays down: its session may be ended without its consent."""

    node: str


@dataclass(frozen=True, slots=True)
class PeerHeard:
    """An authenticated message from another node; ``body`` is the decoded message (see core.failsafe)."""

    peer: str
    body: object


@dataclass(frozen=True, slots=True)
class VetoAnswered:
    """The operator's script was asked whether this node may claim; ``veto`` is why not, empty if it may."""

    claim: str
    veto: str


Event: TypeAlias = (
    Startup
    | Shutdown
    | DeadlineReached
    | AdvertisementReceived
    | PacketDiscarded
    | LinkChanged
    | PrimaryAddressChanged
    | AddressesInstalled
    | AddressesRemoved
    | AddressVanished
    | ForeignAnnouncement
    | TrackResult
    | RegisterRead
    | RegisterSwapped
    | RegisterConflicted
    | RegisterUnavailable
    | RegisterChanged
    | ClockDoubted
    | GateLost
    | EffectFailed
    | SwitchoverRequested
    | PauseRequested
    | ResumeRequested
    | NodeDeclaredDown
    | PeerHeard
    | VetoAnswered
)
