"""vrrp_script blocks, and what instances and groups track.

Promise: a tracker that is named is tracked. keepalived drops a script that is not defined (or defined later in the
file) and goes on without it; here a missing script is an error, and the order of blocks does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from haagent.config.commands import read_command
from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.model import GlobalDefs
from haagent.config.sections import Section
from haagent.config.tracking_model import Track, TrackFile, TrackHaproxy, TrackPeer, TrackProcess, VrrpScript
from haagent.config.tree import Statement
from haagent.config.values import integer, interface
from haagent.core.units import SECOND
from haagent.errors import ConfigError

_LONGEST = 1_000_000


class Tracked(Protocol):
    """What the blocks that can be tracked have in common."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> int: ...

    @property
    def reverse(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Trackable:
    """Everything an instance or a group may track, by name."""

    scripts: Mapping[str, VrrpScript] = field(default_factory=dict)
    files: Mapping[str, TrackFile] = field(default_factory=dict)
    processes: Mapping[str, TrackProcess] = field(default_factory=dict)
    haproxies: Mapping[str, TrackHaproxy] = field(default_factory=dict)
    peers: Mapping[str, TrackPeer] = field(default_factory=dict)

    def read_scripts(self, section: Section) -> tuple[Track, ...]:
        """Return the entries of track_script."""
        return read_tracked(section, "track_script", "vrrp_script", self.scripts)

    def read_files(self, section: Section) -> tuple[Track, ...]:
        """Return the entries of track_file."""
        return read_tracked(section, "track_file", "track_file block", self.files)

    def read_processes(self, section: Section) -> tuple[Track, ...]:
        """Return the entries of track_process."""
        return read_tracked(section, "track_process", "vrrp_track_process", self.processes)

    def read_haproxies(self, section: Section) -> tuple[Track, ...]:
        """Return the entries of track_haproxy."""
        return read_tracked(section, "track_haproxy", "track_haproxy block", self.haproxies)

    def read_peers(self, section: Section) -> tuple[Track, ...]:
        """Return the entries of track_peer."""
        return read_tracked(section, "track_peer", "track_peer block", self.peers)


def read_script(statement: Statement, defaults: GlobalDefs, messages: Messages) -> VrrpScript | None:
    """Return a vrrp_script block, or None (with an error) if it has no script."""
    section = Section("vrrp_script", statement.block or [], messages)
    name = statement.values[0].text
    user = section.one("user")
    words = [word.text for word in user.values] if user else []
    owner = words[0] if words else defaults.script_user
    group = words[1].lstrip(":") if len(words) > 1 else (None if words else defaults.script_group)
    if "script" not in section:
        messages.error(
            f"vrrp_script {name} has no script", statement.place, 'write: script "/path arguments"'
        )
        return None
    command = section.value("script", lambda one: read_command(one, messages, owner, group), None)
    if command is None:
        return None
    interval = section.seconds("interval", 0, _LONGEST, SECOND) or SECOND
    weight, reverse = section.value("weight", lambda one: read_weight(one.values, 253), (0, False))
    return VrrpScript(
        name=name,
        command=command,
        interval=interval,
        timeout=section.seconds("timeout", 0, _LONGEST, interval) or interval,
        weight=weight,
        reverse=reverse,
        rise=section.value("rise", lambda one: max(1, integer(one.values[0], 0, _LONGEST, "rise")), 1),
        fall=section.value("fall", lambda one: max(1, integer(one.values[0], 0, _LONGEST, "fall")), 1),
        init_fail="init_fail" in section,
        place=statement.place,
    )


def read_tracked(
    section: Section, keyword: str, block: str, known: Mapping[str, Tracked]
) -> tuple[Track, ...]:
    """Return the entries of ``keyword``, which name ``block`` blocks; one that is not defined is an error."""
    found: dict[str, Track] = {}
    most = 253 if keyword == "track_script" else 254
    for entry in section.lines(keyword):
        target = known.get(entry.keyword)
        if target is None:
            section.messages.error(
                f"{keyword} names {entry.keyword!r}, and no {block} defines it",
                entry.place,
                _defined(block, known),
            )
            continue
        default = Track(target.name, target.weight, target.reverse)
        _keep(found, _entry(entry, default, section, most), entry, section)
    return tuple(found.values())


def read_tracked_interfaces(section: Section, own: str | None) -> tuple[Track, ...]:
    """Return the entries of track_interface; an instance's own interface is tracked anyway and left out."""
    found: dict[str, Track] = {}
    for entry in section.lines("track_interface"):
        try:
            name = interface(entry.words[0], "track_interface")
        except ConfigError as error:
            section.messages.add(error)
            continue
        if name == own:
            section.messages.note(
                f"track_interface {name} has no effect: an instance's own interface is tracked anyway",
                entry.place,
            )
            continue
        _keep(found, _entry(entry, Track(name), section), entry, section)
    return tuple(found.values())


def _defined(block: str, known: Mapping[str, Tracked]) -> str:
    return "defined are: " + ", ".join(sorted(known)) if known else f"no {block} is defined at all"


def _keep(found: dict[str, Track], track: Track | None, entry: Statement, section: Section) -> None:
    if track is None:
        return
    if track.name in found:
        section.messages.warning(f"{track.name} is tracked twice; the first entry counts", entry.place)
    found.setdefault(track.name, track)


def _entry(entry: Statement, default: Track, section: Section, most: int = 253) -> Track | None:
    """Return ``NAME [weight N [reverse|noreverse]]``."""
    words = entry.values
    if not words:
        return default
    try:
        if words[0].text != "weight" or len(words) < 2 or entry.block is not None:
            raise ConfigError(
                f"{words[0].text!r} after {entry.keyword}", words[0].place, "weight N [reverse|noreverse]"
            )
        weight, reverse = read_weight(words[1:], most)
    except ConfigError as error:
        section.messages.add(error)
        return None
    return Track(default.name, weight, reverse if len(words) > 2 else default.reverse)


def read_weight(words: list[Token], most: int) -> tuple[int, bool]:
    """Return ``N [reverse|noreverse]``, N within -most..most. Raises ConfigError."""
    value = integer(words[0], -most, most, "weight")
    if len(words) > 1 and words[1].text not in ("reverse", "noreverse"):
        raise ConfigError(f"{words[1].text!r} after weight", words[1].place, "reverse or noreverse")
    return value, len(words) > 1 and words[1].text == "reverse"
