"""Makes the decisions of a flight recording again: the same core, the same parameters, events and times.

Promises to touch nothing: no clock, no socket, no kernel. The core is deterministic, so the same program must decide
the same; where it does not, either the program is another one, or what it was told is not all in the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from haagent.agent.parameters import Run, node_parameters
from haagent.agent.recordings import Reconfigured, RecordingError, codec, parameters_of
from haagent.config.model import Configuration
from haagent.core.actions import Actions
from haagent.core.events import Event
from haagent.core.node import Node
from haagent.core.parameters import NodeParameters
from haagent.core.units import Now
from haagent.effects.recording import Entry, Recording, read_recordings


@dataclass(frozen=True, slots=True)
class Decision:
    """One event, what was done about it then, and what is done now. ``missing`` entries lie before it, unrecorded."""

    number: int
    now: Now
    event: object
    recorded: Actions
    replayed: Actions
    missing: int = 0

    @property
    def same(self) -> bool:
        """Tell whether both did the same."""
        return self.recorded == self.replayed


def recordings(path: Path) -> tuple[Recording, ...]:
    """Return the runs of one agent in ``path`` and ``path.1``. Raises RecordingError."""
    try:
        found = read_recordings(str(path), codec())
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    if not found or not any(recording.about for recording in found):
        raise RecordingError(f"{path}: this is not a recording of haagent")
    return tuple(recording for recording in found if recording.about)


def obstacle(recording: Recording) -> str:
    """Return why the decisions of this run cannot be made again, empty if they can."""
    if not recording.entries:
        return "it holds no event"
    first = recording.entries[0].number
    if first != 1:
        return f"its first {first - 1} events are gone (files are rotated), and with them the state it was in"
    try:
        parameters_of(recording.about)
    except RecordingError as error:
        return str(error)
    return ""


def replay(recording: Recording, parameters: NodeParameters | None = None) -> Iterator[Decision]:
    """Make every decision again, with ``parameters`` instead of the recorded ones if given. Raises RecordingError."""
    reason = obstacle(recording)
    if reason and not (parameters is not None and recording.entries and recording.entries[0].number == 1):
        raise RecordingError(f"this run cannot be replayed: {reason}")
    node = Node(parameters or parameters_of(recording.about))
    before = 0
    for entry in recording.entries:
        done = _handle(node, entry, reloads=parameters is None)
        missing = entry.number - before - 1
        yield Decision(entry.number, entry.now, entry.event, entry.actions, done, missing)
        before = entry.number


def as_recorded(recording: Recording) -> Iterator[Decision]:
    """Return the decisions as they were recorded, without making them again."""
    before = recording.entries[0].number - 1 if recording.entries else 0
    for entry in recording.entries:
        missing = entry.number - before - 1
        yield Decision(entry.number, entry.now, entry.event, entry.actions, entry.actions, missing)
        before = entry.number


def other_parameters(recording: Recording, configuration: Configuration) -> NodeParameters:
    """Return what the core would have been told under another configuration. Raises ConfigError, RecordingError."""
    about: dict[str, Any] = dict(recording.about)
    if not {"node", "incarnation", "host"} <= about.keys():
        raise RecordingError("the recording does not say which run of which node it is")
    resumed = False
    resume: tuple[tuple[str, int], ...] = ()
    if "parameters" in about:
        recorded = parameters_of(about)
        resumed, resume = recorded.session.resumed, recorded.resume
    run = Run(str(about["node"]), str(about["incarnation"]), str(about["host"]), resumed)
    return node_parameters(configuration, run, resume)


def _handle(node: Node, entry: Entry, *, reloads: bool) -> Actions:
    if isinstance(entry.event, Reconfigured):
        return node.reconfigure(entry.event.parameters, entry.now) if reloads else ()
    return node.handle(cast("Event", entry.event), entry.now)
