"""What a configuration has watched: scripts, files, processes, HAProxies, peers, and who tracks which.

Frozen values, already checked, every default filled in; times are Durations. A block says what is looked at, a
``Track`` is one instance's or group's use of it, under its own weight. ``place`` says where a block was written and
does not take part in comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from haagent.config.command_model import Command
from haagent.core.units import SECOND, Duration
from haagent.errors import NOWHERE, Place


@dataclass(frozen=True, slots=True)
class VrrpScript:
    """A vrrp_script block. ``timeout`` is the interval unless given."""

    name: str
    command: Command
    interval: Duration = SECOND
    timeout: Duration = SECOND
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    fall: int = 1
    init_fail: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Track:
    """One entry of a track_script, track_interface, track_process or track_file block.

    ``weight`` 0 means FAULT while down; positive is added while up, negative while down; ``reverse`` swaps.
    """

    name: str
    weight: int = 0
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class TrackFile:
    """A track_file block: a file with a number in it. ``initial`` is written at start where there is no file yet."""

    name: str
    path: str
    weight: int = 1
    reverse: bool = False
    initial: int | None = None
    overwrite: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrackProcess:
    """A vrrp_track_process block: up while ``quorum`` to ``quorum_max`` processes run that are called like ``argv``.

    Without ``full_command`` the name alone counts, at most 15 bytes. ``param_match``: how much of the parameters
    must be the same. The delays are for how long a change must last before it counts.
    """

    name: str
    argv: tuple[str, ...]
    full_command: bool = False
    param_match: Literal["exact", "initial", "partial"] = "exact"
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    quorum_max: int | None = None
    fork_delay: Duration = 0
    terminate_delay: Duration = 0
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrackHaproxy:
    """A track_haproxy block: up while the HAProxy at ``socket`` answers and has what is asked of it.

    ``backends`` are (name, servers that must be usable), ``frontends`` must be open. ``epoch_map`` is the file of a map
    that is kept at the epochs of this node's instances, by name; "" is none.
    """

    name: str
    socket: str
    interval: Duration = SECOND
    timeout: Duration = SECOND
    weight: int = 0
    reverse: bool = False
    rise: int = 2
    fall: int = 2
    backends: tuple[tuple[str, int], ...] = ()
    frontends: tuple[str, ...] = ()
    epoch_map: str = ""
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrackPeer:
    """A track_peer block: up while at least ``least`` of ``nodes`` were heard within ``timeout``.

    No ``nodes`` are all other nodes of the peers block. This node's own name among them does not count.
    """

    name: str
    nodes: tuple[str, ...] = ()
    least: int = 1
    timeout: Duration = 3 * SECOND
    weight: int = -20
    reverse: bool = False
    place: Place = field(default=NOWHERE, compare=False)
