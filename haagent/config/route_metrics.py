"""The metrics of a route, in the words of ``ip route add``: numbers, times and names, each with ``lock`` or without.

Promise: a value is what the kernel wants (times in its own units), or a ConfigError. May not know the other words of a
route.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from haagent.config.lexer import Token
from haagent.config.values import integer
from haagent.errors import ConfigError

_LARGEST = 2**32 - 1
_TIME = re.compile(r"(\d{1,9})(?:(m?)(?:s|sec|secs))?", re.IGNORECASE | re.ASCII)
_ECN = 1
Reader: TypeAlias = Callable[[Token, str], int | str]


def _number(most: int) -> Reader:
    return lambda token, name: integer(token, 0, most, name)


def _time(unit: int) -> Reader:
    """Return a reader of ``5s``, ``200ms`` or the bare number that the kernel gets: ``unit`` of it are a millisecond."""

    def read(token: Token, name: str) -> int:
        match = _TIME.fullmatch(token.text)
        if match is None:
            raise ConfigError(f"{name} is {token.text!r}", token.place, "a time such as 200ms or 1s")
        value = int(match.group(1))
        if match.group(2) is not None:
            value *= unit if match.group(2) else unit * 1000
        return min(value, _LARGEST)

    return read


def _feature(token: Token, name: str) -> int:
    if token.text != "ecn":
        raise ConfigError(f"{name} is {token.text!r}", token.place, "ecn")
    return _ECN


_NUMBER, _FLAG = _number(_LARGEST), _number(1)
METRICS: dict[str, Reader] = {
    "mtu": _NUMBER, "advmss": _NUMBER, "reordering": _NUMBER, "cwnd": _NUMBER, "ssthresh": _NUMBER,
    "rtt": _time(8), "rttvar": _time(4), "rto_min": _time(1), "congctl": lambda token, _: token.text,
    "hoplimit": _number(255), "window": _NUMBER, "initcwnd": _NUMBER, "initrwnd": _NUMBER,
    "quickack": _FLAG, "fastopen_no_cookie": _FLAG, "features": _feature,
}  # fmt: skip
LOCKABLE = frozenset(
    {"mtu", "advmss", "reordering", "cwnd", "ssthresh", "rtt", "rttvar", "rto_min", "congctl"}
)


def read_metric(name: str, next_word: Callable[[str], Token]) -> tuple[int | str, bool]:
    """Return the value of a metric, and whether it is locked. Raises ConfigError."""
    word = next_word(name)
    locked = word.text == "lock" and name in LOCKABLE
    return METRICS[name](next_word(name) if locked else word, name), locked
