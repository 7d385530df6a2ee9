"""The status document: what a node says about itself, typed; the same on the socket, in the snapshot and on screen.

Promises that a reader can stay truthful when the agent is dead: everything that ends carries its absolute time on
CLOCK_BOOTTIME, and ``gate_closed_by`` says when the kernel has stopped this node's traffic at the latest. May not
compute anything the core has not said.

Names ending in ``_boot_ns`` are CLOCK_BOOTTIME in nanoseconds, ``_ns`` durations. Unknown fields are ignored and missing
ones take their defaults when a document of another version is read.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from haagent.core.units import SECOND, Duration

FORMAT = 1
LATE_WRITE: Duration = SECOND
BOOT_ID = "/proc/sys/kernel/random/boot_id"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArbiterStatus:
    """The node's session. ``kind`` is the plugin's name ("none": plain VRRP).

    ``state`` is live, idle (nothing to hold, as on a BACKUP), lapsed, unavailable, suspended (with why) or plain VRRP; ``renewed_boot_ns`` counts the
    peers' promises, ``answered_boot_ns`` only what the arbiter itself answered; ``error``: why it did not answer the last time.
    """

    kind: str = "none"
    state: str = ""
    endpoints: tuple[str, ...] = ()
    domain: str = ""
    lease_ns: int = 0
    deadline_boot_ns: int | None = None
    renewed_boot_ns: int | None = None
    answered_boot_ns: int | None = None
    latency_last_ns: int | None = None
    latency_worst_ns: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class GateStatus:
    """What in the kernel stops traffic when the agent cannot. ``guarantee`` is a sentence for people."""

    tier: str = "off"
    guarantee: str = ""
    deadline_boot_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MasterHeard:
    """The advertisement an instance last heard."""

    source: str
    priority: int
    heard_boot_ns: int


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One VRRP instance. ``wanted`` is what its router would be without the claim; ``holder`` the claim's node."""

    name: str
    state: str
    wanted: str = ""
    interface: str = ""
    vrid: int = 0
    version: int = 2
    priority: int = 0
    effective_priority: int = 0
    addresses: tuple[str, ...] = ()
    group: str = ""
    claim: str = ""
    epoch: int = 0
    holder: str = ""
    reason: str = ""
    since_boot_ns: int = 0
    master: MasterHeard | None = None
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackerStatus:
    """One tracked thing; ``up`` is None before its first result."""

    name: str
    kind: str = "script"
    up: bool | None = None
    since_boot_ns: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One other node on the authenticated channel, and when each of its addresses was last heard (0: never)."""

    node: str
    state: str = ""
    heard_boot_ns: int | None = None
    addresses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """One node at the time ``written_boot_ns``."""

    node: str
    pid: int
    version: str
    boot_id: str
    started_boot_ns: int
    written_boot_ns: int
    write_period_ns: int
    format: int = FORMAT
    configuration: str = ""
    paused: bool = False
    arbiter: ArbiterStatus = ArbiterStatus()
    gate: GateStatus = GateStatus()
    instances: tuple[InstanceStatus, ...] = ()
    trackers: tuple[TrackerStatus, ...] = ()
    peers: tuple[PeerStatus, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Status:
        """Return the document in ``data``. Raises ValueError, saying which field is wrong."""
        return _build(cls, data, "status")

    def gate_closed_by(self) -> int | None:
        """Return the CLOCK_BOOTTIME by which the gate of a dead agent is closed; None: nothing closes it for certain.

        A living agent writes again within ``write_period_ns`` (one second late at most, else it is not running well
        enough to renew), and wins no lease longer than ``lease_ns``.
        """
        if self.gate.tier == "off" or self.arbiter.kind == "none" or not self.arbiter.lease_ns:
            return None
        return self.written_boot_ns + self.write_period_ns + LATE_WRITE + self.arbiter.lease_ns


def read_boot_id() -> str:
    """Return the identity of this boot of the kernel; BOOTTIME values of two boots cannot be compared."""
    with open(BOOT_ID, encoding="ascii") as file:
        return file.read().strip()


def _build(kind: type[T], data: object, where: str) -> T:
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: expected an object, found {type(data).__name__}")  # noqa: TRY004 - data, not our call
    hints = get_type_hints(kind)
    known = {
        name: _convert(hint, data[name], f"{where}.{name}") for name, hint in hints.items() if name in data
    }
    try:
        return kind(**known)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def _convert(hint: Any, value: object, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        remaining = [kind for kind in inner if kind is not type(None)]
        return None if value is None else _convert(remaining[0], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
        return tuple(_convert(inner[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    expected = dict if origin is Mapping else hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
        raise ValueError(f"{where}: expected {expected.__name__}, found {type(value).__name__}")
    return value
