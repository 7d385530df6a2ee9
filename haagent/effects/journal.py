"""The log: one line per report, readable by people, by grep and by machines.

Promises: keepalived's phrases stay greppable ("(VI_1) Entering MASTER STATE", "VRRP_Script(chk) failed", "Changing
effective priority from 100 to 80"), followed by key=value fields; text from peers and scripts cannot forge a line;
what a noisy network can cause is limited (first at once, then once a minute with a count); a steady state logs
nothing. May not block on anything but its own stream, nor decide anything.

Three forms: ``human`` on a terminal; ``journal`` (the same without time and level, with systemd's ``<6>`` prefix) when
stderr is systemd's journal, which keeps time and level itself; ``json`` (one object per line) everywhere else.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO, assert_never

from haagent.core.reports import (
    ClaimChanged,
    Doubted,
    LowerPriorityHeard,
    Noticed,
    PriorityChanged,
    Report,
    SessionChanged,
    State,
    StateChanged,
    Stopped,
    TrackerChanged,
)
from haagent.core.units import SECOND, Duration
from haagent.effects.log_targets import targets

Form = Literal["auto", "human", "journal", "json"]
Line = tuple[int, str, dict[str, object]]

REPEAT_AFTER: Duration = 60 * SECOND
MOST_SUBJECTS = 256
PLAIN = re.compile(r"[\w.:/@%+,*()\[\]-]+")
SYSLOG = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
GOOD_SESSIONS = frozenset({"live", "restored"})
USURPED = "usurped"  # by another machine with this node's name: somebody has to act
BAD_CLAIMS = frozenset({"lost", "refused", "ended"})


def configure(
    level: str = "info",
    form: Form = "auto",
    stream: TextIO | None = None,
    *,
    file: str | None = None,
    facility: str | None = None,
) -> None:
    """Send every record of the logger ``haagent`` to ``stream`` (stderr), and to a file and syslog if they are named.

    Raises EffectError if the file cannot be opened.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(_detect(target) if form == "auto" else form))
    logger = logging.getLogger("haagent")
    more = targets(file, facility, plain=HumanFormatter(), severe=HumanFormatter(timestamps=False))
    logger.handlers[:] = [handler, *more]
    logger.setLevel(level.upper())
    logger.propagate = False


def _detect(stream: TextIO) -> Form:
    if stream.isatty():
        return "human"
    return "journal" if _is_journal(stream, os.environ.get("JOURNAL_STREAM", "")) else "json"


def _is_journal(stream: TextIO, device_and_inode: str) -> bool:
    """Whether ``stream`` is the socket systemd named; the variable alone is inherited by everybody's children."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return device_and_inode == f"{status.st_dev}:{status.st_ino}"


def _formatter(form: Form) -> logging.Formatter:
    match form:
        case "json":
            return JsonFormatter()
        case "journal":
            return HumanFormatter(timestamps=False)
        case _:
            return HumanFormatter()


class HumanFormatter(logging.Formatter):
    """``2026-11-22 10:00:00.123 INFO vrrp (VI_1) Entering MASTER STATE epoch=7``, local time."""

    def __init__(self, *, timestamps: bool = True) -> None:
        super().__init__()
        self._timestamps = timestamps

    def format(self, record: logging.LogRecord) -> str:
        area = record.name.rpartition(".")[2]
        words = [area, _one_line(record.getMessage())]
        words += [f"{key}={_plain(value)}" for key, value in _fields(record).items()]
        if record.exc_info:
            words.append(f"exception={_plain(self.formatException(record.exc_info))}")
        text = " ".join(words)
        if not self._timestamps:
            return f"<{SYSLOG.get(record.levelno, 6)}>{text}"
        moment = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        return f"{moment} {record.levelname} {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, area, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, object] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "area": record.name.rpartition(".")[2],
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", {})
    return fields if isinstance(fields, Mapping) else {}


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _plain(value: object) -> str:
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class Journal:
    """A reader of reports. ``scripts`` are the names keepalived calls VRRP_Script; ``clock`` counts nanoseconds."""

    def __init__(
        self, scripts: Container[str] = frozenset(), clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._scripts = scripts
        self._limit = _RateLimit(clock)

    def read(self, report: Report) -> None:
        """Log ``report``, unless it is one of many like it."""
        area = "arbiter" if isinstance(report, ClaimChanged | SessionChanged) else "vrrp"
        level, message, fields = self._line(report)
        if isinstance(report, Noticed | LowerPriorityHeard):
            subject = report.subject if isinstance(report, Noticed) else report.instance
            repeated = self._limit.admit((subject, report.what if isinstance(report, Noticed) else "lower"))
            if repeated is None:
                return
            fields |= {"repeated": repeated} if repeated else {}
        logging.getLogger(f"haagent.{area}").log(level, "%s", message, extra={"fields": fields})

    def _line(self, report: Report) -> Line:
        match report:
            case StateChanged():
                return _state_line(report)
            case PriorityChanged(name, old, new, cause):
                fields = {"instance": name, "old": old, "new": new, "cause": cause}
                return (
                    logging.INFO,
                    f"({name}) Changing effective priority from {old} to {new}",
                    dict(fields),
                )
            case TrackerChanged(tracker, up):
                kind, word = ("VRRP_Script", ("failed", "succeeded")[up])
                if tracker not in self._scripts:
                    kind, word = ("Tracker", ("down", "up")[up])
                fields = {"tracker": tracker, "up": "yes" if up else "no"}
                return logging.INFO if up else logging.WARNING, f"{kind}({tracker}) {word}", dict(fields)
            case LowerPriorityHeard(name, source, priority):
                message = f"({name}) Received advert from {source} with lower priority {priority}"
                return logging.INFO, message, {"instance": name, "source": source, "priority": priority}
            case Doubted(name, evidence):
                return (
                    logging.WARNING,
                    f"({name}) gate closed until the claim is re-validated",
                    _some(instance=name, evidence=evidence),
                )
            case Noticed(subject, what, detail):
                return logging.WARNING, f"({subject}) {what}", _some(subject=subject, detail=detail)
            case ClaimChanged(claim, what, epoch, detail):
                level = logging.WARNING if what in BAD_CLAIMS else logging.INFO
                return (
                    level,
                    f"claim {claim} {what}" if claim else f"session {what}",
                    _some(claim=claim, epoch=epoch, detail=detail),
                )
            case SessionChanged(what, detail):
                level = logging.INFO if what in GOOD_SESSIONS else logging.WARNING
                level = logging.ERROR if what == USURPED else level
                return level, f"session {what}", _some(detail=detail)
            case Stopped():
                return logging.INFO, "Stopped", {}
            case _:
                assert_never(report)


def _state_line(report: StateChanged) -> Line:
    fields = _some(
        **{"group" if report.group else "instance": report.instance},
        old=report.old,
        priority=report.priority,
        epoch=report.epoch,
        reason=report.reason,
    )
    level = logging.WARNING if report.new is State.FAULT else logging.INFO
    return level, f"({report.instance}) Entering {report.new} STATE", fields


def _some(**fields: object) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value != ""}


class _RateLimit:
    """Admits the first of a kind at once, then one per minute; kinds beyond a bound share one allowance."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    def admit(self, kind: tuple[str, str]) -> int | None:
        """Return how many were held back before this one, or None to hold this one back too."""
        now = self._clock()
        if kind not in self._seen and len(self._seen) >= MOST_SUBJECTS:
            self._forget(now)
            kind = kind if len(self._seen) < MOST_SUBJECTS else ("", "")
        since, held = self._seen.get(kind, (now - REPEAT_AFTER, 0))
        if now - since < REPEAT_AFTER:
            self._seen[kind] = (since, held + 1)
            return None
        self._seen[kind] = (now, 0)
        return held

    def _forget(self, now: int) -> None:
        self._seen = {kind: seen for kind, seen in self._seen.items() if now - seen[0] < REPEAT_AFTER}


def moment_now() -> str:
    """Return the wall-clock time in UTC: for people to find their way by, never for a decision."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
