"""What one node can truthfully say of itself at one moment: its last status, and what its kernel lets pass now.

Promises that "MASTER" means: the agent said so, **and** the kernel passes the claim's traffic at this moment. An agent that
is frozen, hung or dead cannot keep saying it: its gate closes by itself, whatever its last words were.

May not ask anybody: it is given the status document and the state of the gate (see ``agent.front``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haagent.control.document import LATE_WRITE, InstanceStatus, Status
from haagent.core.units import SECOND, Duration, Instant

_WELL = frozenset({"MASTER", "BACKUP"})
_ABLE = frozenset({"live", "idle", "plain VRRP"})  # of the session: nothing keeps it from being won or held


@dataclass(frozen=True, slots=True)
class GateView:
    """The gate as the kernel has it: the deadline (CLOCK_BOOTTIME ns), and the epochs of the claims that are open."""

    deadline: Instant = 0
    epochs: Mapping[str, int] = field(default_factory=dict)

    def passes(self, claim: str, now: Instant) -> bool:
        """Return whether the claim's traffic passes at ``now``."""
        return claim in self.epochs and now < self.deadline


@dataclass(frozen=True, slots=True)
class View:
    """One moment. ``status`` is None if there is none of this boot; ``now`` is CLOCK_BOOTTIME in ns."""

    status: Status | None
    gate: GateView
    now: Instant

    def to_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes: everything but ``now``, which is the reader's own."""
        return {
            "status": self.status.to_json() if self.status is not None else None,
            "deadline": self.gate.deadline,
            "epochs": dict(self.gate.epochs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], now: Instant) -> View:
        """Return the view that ``to_json`` made ``data`` of, at the moment ``now``. Raises ValueError."""
        status = Status.from_json(data["status"]) if data["status"] is not None else None
        return cls(status, GateView(data["deadline"], data["epochs"]), now)

    @property
    def alive(self) -> bool:
        """Whether the agent has written its status when it should have."""
        return self.status is not None and self.age <= self.status.write_period_ns + LATE_WRITE

    @property
    def age(self) -> Duration:
        """How old the status is."""
        return max(0, self.now - self.status.written_boot_ns) if self.status is not None else 0

    @property
    def instances(self) -> tuple[InstanceStatus, ...]:
        return self.status.instances if self.status is not None else ()

    def of(self, subject: str) -> tuple[InstanceStatus, ...]:
        """Return the instances meant: all for "", the one of that name, or the members of that sync group."""
        if not subject:
            return self.instances
        return tuple(one for one in self.instances if subject in (one.name, one.group))

    def passes(self, instance: InstanceStatus) -> bool:
        """Return whether the instance's traffic passes now."""
        return self.gate.passes(instance.claim, self.now)

    def is_master(self, instance: InstanceStatus) -> bool:
        """Return whether this node is MASTER of the instance, and the kernel agrees."""
        return instance.state == "MASTER" and self.passes(instance)

    def is_backup(self, instance: InstanceStatus) -> bool:
        """Return whether this node waits for the instance, with an agent that runs."""
        return self.alive and instance.state == "BACKUP"

    @property
    def well(self) -> bool:
        """Whether the agent runs and none of its instances is in FAULT."""
        return self.alive and all(one.state != "FAULT" for one in self.instances)

    @property
    def ready(self) -> bool:
        """Whether this node holds or could take over everything: well, started, and in touch with its arbiter."""
        return (
            self.alive
            and self.status is not None
            and all(one.state in _WELL for one in self.instances)
            and self.status.arbiter.state in _ABLE
            and not self.status.paused
        )

    def state_of(self, instance: InstanceStatus) -> str:
        """Return the state in one word: the agent's, unless the kernel contradicts it."""
        if instance.state == "MASTER" and not self.passes(instance):
            return "MASTER, gate closed"
        return instance.state if self.alive else f"{instance.state}?"


def seconds(duration: Duration) -> float:
    """Return seconds to the microsecond, for programs."""
    return round(duration / SECOND, 6)
