"""The errors of haagent, drawn as a tree.

::

    HaagentError
      ConfigError          a configuration cannot be used: where, what was found, what is accepted   exit 78
      EffectError          the host refused: what was tried, why                                      exit 69
      PluginError          an arbiter plugin is missing, doubled or broken                            exit 78
      ControlError         the daemon said no, or is not there                                        exit 69
    ArbiterError           raised by arbiters, see haagent.arbiter

Operating errors become values before they reach the core (``EffectFailed``, ``ArbiterFailed``).
An ``AssertionError`` is our own bug: the worker ends, the gate closes by itself, the supervisor restarts.
"""

from __future__ import annotations

from dataclasses import dataclass

EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CONFIG = 78


class HaagentError(Exception):
    """The root of everything haagent raises on purpose."""

    exit_code = EX_SOFTWARE


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a configuration: file, line and column count from 1; 0 where there is none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


NOWHERE = Place("")  # of what no file says


class ConfigError(HaagentError):
    """A configuration that cannot be used; the text is written for the operator."""

    exit_code = EX_CONFIG

    def __init__(self, message: str, place: Place | None = None, remedy: str = "") -> None:
        self.message, self.place, self.remedy = message, place, remedy
        where = f"{place}: " if place else ""
        super().__init__(f"{where}{message}" + (f" ({remedy})" if remedy else ""))


class EffectError(HaagentError):
    """The host refused something the core asked for."""

    exit_code = EX_UNAVAILABLE


class PluginError(HaagentError):
    """An arbiter plugin is not installed, installed twice, or fails to import."""

    exit_code = EX_CONFIG


class ControlError(HaagentError):
    """The daemon is not there, or declined a request."""

    exit_code = EX_UNAVAILABLE
