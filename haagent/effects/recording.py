"""The flight recorder's files: what is in them, how they are written, how they are read back.

JSON lines in ``NAME`` and, older, ``NAME.1``; together at most about twice the limit. Each file, and each start of a
recorder in it, begins with a description (``haagent_recording``: the format, ``run``: one recorder's life, and what
the agent adds). Then one line per event, and per repetition of an advertisement::

    {"n": 7, "t": [fast, slow], "e": {"$": "TrackResult", ...}, "a": [actions, if any]}
    {"again": [[n, fast, slow], ...], "e": {"$": "AdvertisementReceived", ...}}

An advertisement equal to the one before it from the same source is held back for up to ten seconds and then written
once with the exact times of all its repetitions: reading sorts by ``n``. Only these repetitions of the last ten
seconds can be lost to a crash; a line that a crash cut short is skipped and counted.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

from haagent.core.actions import Action
from haagent.core.events import AdvertisementReceived
from haagent.core.units import Now
from haagent.effects.encoding import Codec

FORMAT = 1
HOLD_BACK = 10.0
MOST_REPEATED = 256
MOST_RUNS = 64
MOST_AT_ONCE = 100

LOG = logging.getLogger("haagent.recorder")
Line: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, when it was handled and what came of it. ``number`` orders the entries of one run.

    ``event`` is the core's Event, or what the agent adds to its codec.
    """

    number: int
    now: Now
    event: object
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorder's life: its description, its entries in order, and how many lines could not be read."""

    about: Mapping[str, Any]
    entries: tuple[Entry, ...]
    unreadable: int


@dataclass(slots=True)
class _Repeats:
    """An advertisement that keeps coming: the times not yet written, and when to write them at the latest."""

    event: AdvertisementReceived
    due: float
    times: list[tuple[int, int, int]] = field(default_factory=list)


class Writer:
    """Appends entries to ``path``. For one thread. ``about`` must be JSON. Never raises on a full or missing disk."""

    def __init__(self, path: str, about: Mapping[str, Any], codec: Codec, limit: int) -> None:
        self._path, self._codec, self._limit = path, codec, limit
        self._about = {"haagent_recording": FORMAT, "run": os.urandom(8).hex(), **about}
        self._file: IO[bytes] | None = None
        self._repeats: dict[tuple[str, str], _Repeats] = {}
        self._failing = False
        self.dropped = 0

    def patience(self) -> float | None:
        """Return the seconds until something held back is due, or None if nothing is held back."""
        due = [repeats.due for repeats in self._repeats.values() if repeats.times]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def write(self, entries: Iterable[Entry], *, everything: bool) -> None:
        """Append ``entries``; hold repeated advertisements back unless they are due or ``everything`` is wanted."""
        lines = [line for entry in entries for line in self._lines(entry)]
        now = time.monotonic()
        for repeats in self._repeats.values():
            if everything or repeats.due <= now or len(repeats.times) >= MOST_REPEATED:
                lines += self._settle(repeats)
        for start in range(0, len(lines), MOST_AT_ONCE):
            self._append(lines[start : start + MOST_AT_ONCE])

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _lines(self, entry: Entry) -> Iterator[Line]:
        if isinstance(entry.event, AdvertisementReceived):
            key = (entry.event.instance, str(entry.event.source))
            repeats = self._repeats.pop(key, None)
            if repeats is not None and repeats.event == entry.event and not entry.actions:
                repeats.times.append((entry.number, *entry.now))
                self._repeats[key] = repeats
                return
            if repeats is None and len(self._repeats) >= MOST_RUNS:
                repeats = self._repeats.pop(next(iter(self._repeats)))
            if repeats is not None:
                yield from self._settle(repeats)
            self._repeats[key] = _Repeats(entry.event, time.monotonic() + HOLD_BACK)
        yield self._line(entry)

    def _settle(self, repeats: _Repeats) -> Iterator[Line]:
        repeats.due = time.monotonic() + HOLD_BACK
        if repeats.times:
            times, repeats.times = repeats.times, []
            yield {"again": times, "e": self._codec.encode(repeats.event)}

    def _line(self, entry: Entry) -> Line:
        line: Line = {"n": entry.number, "t": list(entry.now)}
        try:
            line["e"] = self._codec.encode(entry.event)
            if entry.actions:
                line["a"] = [self._codec.encode(action) for action in entry.actions]
        except TypeError as error:
            line["not_recorded"] = str(error)
        return line

    def _append(self, lines: list[Line]) -> None:
        data = b"".join(_as_bytes(line) for line in lines)
        try:
            _write_whole(self._open_for(len(data)), data)
            self._failing = False
        except OSError as error:
            self.dropped += len(lines)
            self.close()
            if not self._failing:
                LOG.warning("flight recorder: %s: %s; events are not recorded", self._path, error.strerror)
            self._failing = True

    def _open_for(self, size: int) -> IO[bytes]:
        """Return the file, with room for ``size`` more bytes: the current one, or a new one after a rotation."""
        if self._file is not None and self._file.tell() + size <= self._limit:
            return self._file
        fresh = self._file is None
        self.close()
        if not (fresh and _size(self._path) + size <= self._limit) and os.path.exists(self._path):
            os.replace(self._path, f"{self._path}.1")
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        self._file = os.fdopen(descriptor, "a+b", buffering=0)
        end = self._file.seek(0, os.SEEK_END)
        cut_short = end > 0 and os.pread(self._file.fileno(), 1, end - 1) != b"\n"
        _write_whole(self._file, (b"\n" if cut_short else b"") + _as_bytes(self._about))
        return self._file


def _write_whole(file: IO[bytes], data: bytes) -> None:
    """Write everything: a disk that is about to be full takes a part, and says so only the next time. Raises OSError."""
    while data:
        data = data[file.write(data) :]


def _as_bytes(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


class _Reading:
    """One run while it is being read."""

    def __init__(self, about: Line) -> None:
        self.about, self.entries, self.unreadable = about, dict[int, Entry](), 0

    def add(self, line: Line | None, codec: Codec) -> None:
        try:
            self.entries.update((entry.number, entry) for entry in _entries(line, codec))
        except (ValueError, KeyError, TypeError):
            self.unreadable += 1

    def finished(self) -> Recording:
        return Recording(
            self.about, tuple(self.entries[number] for number in sorted(self.entries)), self.unreadable
        )


def read_recordings(path: str, codec: Codec) -> tuple[Recording, ...]:
    """Return what ``path.1`` and ``path`` hold, oldest first, one Recording per run. Raises OSError."""
    found: dict[str, _Reading] = {}
    run = ""
    for text in _file_lines(path):
        line = _parse(text)
        if line is not None and "haagent_recording" in line:
            run = str(line.get("run"))
            found.setdefault(run, _Reading(line))
        else:
            found.setdefault(run, _Reading({})).add(line, codec)
    return tuple(reading.finished() for reading in found.values())


def _file_lines(path: str) -> Iterator[str]:
    older = f"{path}.1"
    for name in (older, path) if os.path.exists(older) else (path,):
        with open(name, encoding="utf-8", errors="replace") as file:
            yield from file


def _parse(line: str) -> Line | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _entries(line: Line | None, codec: Codec) -> Iterator[Entry]:
    if line is None:
        raise ValueError("not a line of a recording")
    event = codec.decode(line["e"])
    if "again" in line:
        for number, fast, slow in line["again"]:
            yield Entry(number, Now(fast, slow), event)
    else:
        fast, slow = line["t"]
        yield Entry(line["n"], Now(fast, slow), event, codec.decode(line.get("a", [])))
