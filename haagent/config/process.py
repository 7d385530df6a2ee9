"""global_defs about the agent's own process: scheduling, memory, file modes, scripts at its beginning and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from haagent.config.command_model import Command
from haagent.config.commands import read_command
from haagent.config.model import ProcessSettings
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.config.values import integer, seconds
from haagent.core.units import SECOND, Duration
from haagent.errors import ConfigError

_BITS = {"R": 4, "W": 2, "X": 1}
_SHIFTS = {"USR": 6, "GRP": 3, "OTH": 0}
_WHOLE = {"IRWXU": 0o700, "IRWXG": 0o070, "IRWXO": 0o007}
_LONGEST = 1000
T = TypeVar("T")


def lenient(section: Section, keyword: str, read: Callable[[Statement], T], default: T) -> T:
    """Return a value; one that cannot be read is a warning and gives the default: it decides nothing."""
    statement = section.one(keyword)
    if statement is None or statement.broken:
        return default
    try:
        return read(statement)
    except ConfigError as error:
        section.messages.warning(f"{error.message}: it has no effect", error.place, error.remedy)
        return default


def read_process_settings(section: Section, user: str | None, group: str | None) -> ProcessSettings:
    """Return what global_defs says about the process."""

    def script(keyword: str) -> Command | None:
        nothing: Command | None = None
        return lenient(
            section, keyword, lambda one: read_command(one, section.messages, user, group), nothing
        )

    def patience(keyword: str) -> Duration:
        return lenient(
            section, keyword, lambda one: seconds(one.values[0], 1, _LONGEST, keyword), 10 * SECOND
        )

    nothing: int | None = None
    anywhere: tuple[int, ...] = ()
    return ProcessSettings(
        nice=lenient(section, "vrrp_priority", lambda one: integer(one.values[0], -20, 19, one.keyword), 0),
        real_time=lenient(
            section, "vrrp_rt_priority", lambda one: integer(one.values[0], 1, 99, one.keyword), 0
        ),
        no_swap="vrrp_no_swap" in section,
        processors=lenient(section, "vrrp_cpu_affinity", _processors, anywhere),
        umask=lenient(section, "umask", _umask, nothing),
        startup=script("startup_script"),
        startup_timeout=patience("startup_script_timeout"),
        shutdown=script("shutdown_script"),
        shutdown_timeout=patience("shutdown_script_timeout"),
    )


def _processors(statement: Statement) -> tuple[int, ...]:
    return tuple(integer(word, 0, 4095, statement.keyword) for word in statement.values)


def _umask(statement: Statement) -> int | None:
    """Return an octal number, or names such as IXUSR | IRWXG | IRWXO."""
    text = "".join(word.text for word in statement.values)
    if text.isdigit() and all(digit in "01234567" for digit in text) and int(text, 8) <= 0o777:
        return int(text, 8)
    mask = 0
    for name in text.split("|"):
        known = _WHOLE.get(name)
        if known is None and name[:1] == "I" and name[1:2] in _BITS and name[2:] in _SHIFTS:
            known = _BITS[name[1:2]] << _SHIFTS[name[2:]]
        if known is None:
            raise ConfigError(
                f"umask is {text!r}", statement.place, "an octal number, or IXUSR | IRWXG | IRWXO ..."
            )
        mask |= known
    return mask
