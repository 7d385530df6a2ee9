"""track_file and vrrp_track_process blocks: what is watched without running anything.

Promise: numbers that keepalived would cut down to its range are errors, and a block without its one required line is
an error too (keepalived drops the tracker, and every instance goes on without it).
"""

from __future__ import annotations

from typing import Literal, cast

from haagent.config.lexer import split_command
from haagent.config.messages import Messages
from haagent.config.sections import Section
from haagent.config.tracking import read_weight
from haagent.config.tracking_model import TrackFile, TrackProcess
from haagent.config.tree import Statement
from haagent.config.values import choice, integer
from haagent.errors import ConfigError

MOST_WEIGHT = 254
COMM_LENGTH = 15  # what the kernel keeps of a process's name
_LONGEST_DELAY = 3600
_MANY = 65535


def read_track_file(statement: Statement, messages: Messages) -> TrackFile | None:
    """Return a track_file block, or None (with an error) if it has no file."""
    section = Section("track_file", statement.block or [], messages)
    name = statement.values[0].text
    path = section.value("file", _path, "")
    if not path:
        if "file" not in section:
            messages.error(f"track_file {name} has no file", statement.place, "write: file /PATH")
        return None
    weight, reverse = section.value("weight", lambda one: read_weight(one.values, MOST_WEIGHT), (1, False))
    nothing: tuple[int | None, bool] = (None, False)
    initial, overwrite = section.value("init_file", _initial, nothing)
    return TrackFile(name, path, weight, reverse, initial, overwrite, statement.place)


def read_track_process(statement: Statement, messages: Messages) -> TrackProcess | None:
    """Return a vrrp_track_process block, or None (with an error) if it names no process."""
    section = Section("vrrp_track_process", statement.block or [], messages)
    name = statement.values[0].text
    nothing: tuple[str, ...] = ()
    argv = section.value("process", _process, nothing)
    if not argv:
        if "process" not in section:
            messages.error(
                f"vrrp_track_process {name} has no process", statement.place, "write: process NAME"
            )
        return None
    weight, reverse = section.value("weight", lambda one: read_weight(one.values, MOST_WEIGHT), (0, False))
    exact: Literal["exact", "initial", "partial"] = "exact"
    match = section.value("param_match", _param_match, exact)
    whole = "full_command" in section or len(argv) > 1 or match != "exact"
    if not whole and len(argv[0].encode()) > COMM_LENGTH:
        messages.warning(
            f"vrrp_track_process {name}: only {COMM_LENGTH} characters of a process's name are known to the kernel",
            statement.place,
            "write full_command to compare the whole command",
        )
    delay = section.seconds("delay", 0, _LONGEST_DELAY, 0)
    return TrackProcess(
        name=name,
        argv=argv,
        full_command=whole,
        param_match=match,
        weight=weight,
        reverse=reverse,
        quorum=section.value("quorum", lambda one: integer(one.values[0], 1, _MANY, "quorum"), 1),
        quorum_max=section.value(
            "quorum_max", lambda one: integer(one.values[0], 0, _MANY, "quorum_max"), None
        ),
        fork_delay=section.seconds("fork_delay", 0, _LONGEST_DELAY, delay),
        terminate_delay=section.seconds("terminate_delay", 0, _LONGEST_DELAY, delay),
        place=statement.place,
    )


def _path(statement: Statement) -> str:
    token = statement.values[0]
    if not token.text.startswith("/"):
        raise ConfigError(f"file is {token.text!r}", token.place, "an absolute path")
    return token.text


def _process(statement: Statement) -> tuple[str, ...]:
    """Return the command and its parameters; quoted as a whole, or several words."""
    words = split_command(statement.raw, statement.values[0].place)
    if len(words) == 1 and statement.values[0].quoted:
        words = split_command(words[0], statement.values[0].place)
    return tuple(words)


def _param_match(statement: Statement) -> Literal["exact", "initial", "partial"]:
    found = choice(statement.values[0], ("exact", "initial", "partial"), "param_match")
    return cast("Literal['exact', 'initial', 'partial']", found)


def _initial(statement: Statement) -> tuple[int | None, bool]:
    """Return ``init_file [VALUE] [overwrite]``: the value to begin with, and whether an existing file gets it too."""
    words = list(statement.values)
    value = (
        integer(words.pop(0), -(2**31), 2**31 - 1, "init_file")
        if words and words[0].text != "overwrite"
        else 0
    )
    if words and words[0].text != "overwrite":
        raise ConfigError(
            f"{words[0].text!r} after init_file", words[0].place, "init_file [VALUE] [overwrite]"
        )
    return value, bool(words)
