"""track_haproxy blocks: a HAProxy that is asked over its own stats socket.

Promise: a block that could not be asked anything is an error. Whether the socket or the proxies exist is not looked
at here: HAProxy may be started later, and the tracker is down until then.
"""

from __future__ import annotations

from collections.abc import Iterator

from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.sections import Section
from haagent.config.tracking import read_weight
from haagent.config.tracking_model import TrackHaproxy
from haagent.config.tree import Statement
from haagent.config.values import integer
from haagent.core.units import SECOND
from haagent.errors import ConfigError

MOST_WEIGHT = 254
_LONGEST = 3600
_MANY = 65535
_UNIX_PATH = 107  # bytes of sun_path, without the NUL


def read_track_haproxy(statement: Statement, messages: Messages) -> TrackHaproxy | None:
    """Return a track_haproxy block, or None (with an error) if it has no socket."""
    section = Section("track_haproxy", statement.block or [], messages)
    name = statement.values[0].text
    path = section.value("socket", lambda one: _path(one.values[0], "socket", _UNIX_PATH), "")
    if not path:
        if "socket" not in section:
            remedy = "write: socket /PATH, as in HAProxy's stats socket line"
            messages.error(f"track_haproxy {name} has no socket", statement.place, remedy)
        return None
    weight, reverse = section.value("weight", lambda one: read_weight(one.values, MOST_WEIGHT), (0, False))
    interval = section.seconds("interval", 0.1, _LONGEST, SECOND)
    backends = dict(_backends(section))
    frontends = tuple(dict.fromkeys(word.text for one in section.all("frontend") for word in one.values))
    if not backends:
        messages.note(
            f"track_haproxy {name} names no backend: that HAProxy answers is all that is asked of it",
            statement.place,
        )
    return TrackHaproxy(
        name=name,
        socket=path,
        interval=interval,
        timeout=section.seconds("timeout", 0.05, _LONGEST, min(interval, SECOND)),
        weight=weight,
        reverse=reverse,
        rise=section.value("rise", lambda one: integer(one.values[0], 1, _MANY, "rise"), 2),
        fall=section.value("fall", lambda one: integer(one.values[0], 1, _MANY, "fall"), 2),
        backends=tuple(backends.items()),
        frontends=frontends,
        epoch_map=section.value("epoch_map", lambda one: _path(one.values[0], "epoch_map", 4095), ""),
        place=statement.place,
    )


def _backends(section: Section) -> Iterator[tuple[str, int]]:
    for statement in section.all("backend"):
        name, *least = statement.values
        try:
            yield (
                name.text,
                integer(least[0], 1, _MANY, f"{name.text}'s least number of servers") if least else 1,
            )
        except ConfigError as error:
            section.messages.add(error)


def _path(token: Token, what: str, longest: int) -> str:
    """Return a path that can stand in a line of the Runtime API as it is."""
    plain = token.text.startswith("/") and not any(c.isspace() or c in ";\\\0" for c in token.text)
    if not plain or len(token.text.encode()) > longest:
        raise ConfigError(
            f"{what} is {token.text!r}",
            token.place,
            f"an absolute path of at most {longest} bytes without blanks",
        )
    return token.text
