"""The gate: the kernel passes a virtual address's traffic only until a deadline, whoever still runs.

``open_gate`` installs it, ``inspect`` and ``sweep`` serve an operator whose daemon is dead. What is guarded and what
can be asked of a gate is in ``model``; each tier is a module of its own.
"""

from haagent.effects.gate.bpf_clock import clock_problem
from haagent.effects.gate.model import (
    Adopted,
    ClaimGate,
    Gate,
    GateStatus,
    Guard,
    GuardedRouter,
    Tier,
    boot_now,
)
from haagent.effects.gate.opening import Hanging, Inspection, Mode, inspect, open_gate, sweep

__all__ = [
    "Adopted",
    "ClaimGate",
    "Gate",
    "GateStatus",
    "Guard",
    "GuardedRouter",
    "Hanging",
    "Inspection",
    "Mode",
    "Tier",
    "boot_now",
    "clock_problem",
    "inspect",
    "open_gate",
    "sweep",
]
