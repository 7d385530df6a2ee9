"""The programs a configuration has the agent run, and who is told by them: commands, notify_*, FIFOs, veto_script.

Frozen values, already checked. A command is an argument vector and never a line for a shell. ``place`` says where it
was written and does not take part in comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from haagent.core.units import Duration
from haagent.errors import NOWHERE, Place


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run without a shell: ``argv``, and whom as (None: the default script user)."""

    argv: tuple[str, ...]
    user: str | None = None
    group: str | None = None
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Notify:
    """The notify_* commands of one instance or group."""

    generic: Command | None = None
    master: Command | None = None
    backup: Command | None = None
    fault: Command | None = None
    stop: Command | None = None
    deleted: Command | None = None
    master_rx_lower_pri: Command | None = None


@dataclass(frozen=True, slots=True)
class NotifyFifo:
    """A named pipe that gets a line for every change of state, and the program that reads it, if we start it."""

    path: str
    user: str | None = None
    group: str | None = None
    script: Command | None = None


@dataclass(frozen=True, slots=True)
class VetoScript:
    """``veto_script``: asked before the node claims. It has ``timeout`` to answer and is asked again after ``pause``."""

    command: Command
    timeout: Duration
    pause: Duration
