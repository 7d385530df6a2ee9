"""Pid files, for init scripts and exporters that look for one. Nothing here depends on them.

Promises: a file holds one number and a newline, is there for the length of the block, and is removed afterwards
unless somebody else has written theirs into it meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

LOG = logging.getLogger("haagent.supervisor")


@contextlib.contextmanager
def pid_file(path: str | None, pid: int) -> Iterator[None]:
    """Keep ``pid`` in the file ``path``; one that cannot be written is logged and costs nothing else."""
    text = f"{pid}\n"
    if path is not None:
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
            descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
            )
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            LOG.warning("cannot write the pid file %s: %s", path, error.strerror)
    try:
        yield
    finally:
        if path is not None:
            _remove(path, text)


def _remove(path: str, text: str) -> None:
    with contextlib.suppress(OSError):
        with open(path, encoding="ascii", errors="replace") as file:
            ours = file.read(32) == text
        if ours:
            os.unlink(path)
