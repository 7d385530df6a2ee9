"""Tracked files: reads each track_file's number several times a second and delivers it when it changes.

Promises:

* **Fail closed.** A file that is missing, cannot be read or has no number in it delivers ``passed=False``; the reason
  is told once. (keepalived counts such a file as 0.)
* A change counts within ``INTERVAL`` and a little, however the file is written: in place, by renaming another one
  over it, by a symbolic link that is turned round, on a file server that sends no notifications.
* ``init_file`` is written once, when tracking begins, never on a reload of the same block.
* Files that nothing tracks are not read.

May not know what a value means: the core does that.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

from haagent.config.model import Configuration
from haagent.config.tracking_model import TrackFile
from haagent.core.events import TrackResult
from haagent.core.reports import Noticed, Report
from haagent.effects.kept import Kept
from haagent.effects.pollers import Failure, LookError, Poller

INTERVAL = 0.2
MOST = 128  # bytes read, as keepalived reads them
LIMIT = 2**31


def file_tracker(name: str) -> str:
    """Return the name under which the core knows a track_file."""
    return f"file {name}"


class TrackFiles:
    """The tracked files, none before the first configuration. All methods belong to the event loop's thread."""

    def __init__(self, deliver: Callable[[TrackResult], None], tell: Callable[[Report], None]) -> None:
        self._deliver, self._tell = deliver, tell
        self._running: Kept[TrackFile, Poller[int]] = Kept(self._begin, Poller.close)

    def reconfigure(self, configuration: Configuration) -> None:
        """Read the tracked files of ``configuration``; an unchanged one is not disturbed."""
        tracked = {track.name for user in configuration.subjects for track in user.track_files}
        self._running.update({file.name: file for file in configuration.files if file.name in tracked})

    def close(self) -> None:
        """Stop reading. Idempotent."""
        self._running.clear()

    def _begin(self, file: TrackFile) -> Poller[int]:
        report = functools.partial(self._report, file.name)
        return Poller(f"file {file.name}", _Looker(file).look, INTERVAL, report)

    def _report(self, name: str, answer: int | Failure) -> None:
        if isinstance(answer, Failure):
            self._tell(Noticed(file_tracker(name), "track_file cannot be read", answer.reason))
            self._deliver(TrackResult(file_tracker(name), passed=False))
        else:
            self._deliver(TrackResult(file_tracker(name), passed=True, value=answer))


class _Looker:
    """Reads one file; used by its poller's thread alone."""

    def __init__(self, file: TrackFile) -> None:
        self._file = file
        self._initialised = file.initial is None

    def look(self) -> int:
        """Return the number in the file. Raises LookError or OSError."""
        if not self._initialised:
            self._initialise()
            self._initialised = True
        with open(self._file.path, "rb", opener=_without_waiting) as opened:
            text = opened.read(MOST).decode("ascii", "replace")
        words = text.split(maxsplit=1)
        try:
            value = int(words[0]) if words else None
        except ValueError:
            value = None
        if value is None or not -LIMIT < value < LIMIT:
            raise LookError(f"{self._file.path} has no number at its beginning, but {text[:32]!r}")
        return value

    def _initialise(self) -> None:
        if os.path.exists(self._file.path) and not self._file.overwrite:
            return
        with open(self._file.path, "w", encoding="ascii") as opened:
            opened.write(f"{self._file.initial}\n")


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for the writer of a FIFO somebody put there."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
