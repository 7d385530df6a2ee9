"""keepalived's log targets beside standard error: syslog (``-S``) and a file (``-g``).

Promises that syslog never holds the agent up: a line that finds its socket full, or nobody there, is lost. A file that
was moved away is opened again, as logrotate wants it; it should be on a local disk, for writing to it may block.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterator
from io import FileIO, TextIOWrapper
from logging.handlers import WatchedFileHandler

from haagent.errors import EffectError

DEFAULT_FILE = "/tmp/keepalived.log"  # noqa: S108 - keepalived's, where -g names none
DEVICE = "/dev/log"
FACILITIES = {
    "user": 1, "daemon": 3,
    **{name: 16 + number for number in range(8) for name in (str(number), f"local{number}")},
}  # fmt: skip


class SyslogHandler(logging.Handler):
    """Sends records to the local syslog, at once or never. Its formatter puts ``<severity>`` first."""

    def __init__(self, facility: int, device: str = DEVICE) -> None:
        super().__init__()
        self._facility, self._device = facility, device
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; whatever goes wrong is nobody's business."""
        severity, _, text = self.format(record).removeprefix("<").partition(">")
        priority = self._facility << 3 | int(severity)
        try:
            self._socket.sendto(
                f"<{priority}>haagent[{os.getpid()}]: {text}".encode(errors="backslashreplace"), self._device
            )
        except OSError:
            return

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()
        super().close()


class FileHandler(WatchedFileHandler):
    """Appends to a file; a full disk costs lines and nothing else. Raises OSError for what is no file of its own."""

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(FileIO(self.baseFilename, self.mode, opener=_regular), errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. A file that was moved away and cannot be made again is tried again at the next one."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Do nothing: there is nowhere to say it."""


def _regular(path: str, flags: int) -> int:
    """Open a regular file: in /tmp somebody else's link may stand there, or a FIFO that waits for a reader."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def targets(
    file: str | None, facility: str | None, *, plain: logging.Formatter, severe: logging.Formatter
) -> Iterator[logging.Handler]:
    """Yield a handler for each target that is wanted; ``severe`` puts ``<severity>`` first. Raises EffectError."""
    if file is not None:
        try:
            handler: logging.Handler = FileHandler(file)
        except OSError as error:
            raise EffectError(f"cannot write the log to {file}: {error.strerror}") from error
        handler.setFormatter(plain)
        yield handler
    if facility is not None:
        handler = SyslogHandler(FACILITIES[facility])
        handler.setFormatter(severe)
        yield handler
