"""Stand-ins for a node's scripts: tracked ones whose exit status a fault can change, notifications that are written down.

One shell script for all vrrp_scripts of a node and one for its notifications, in a directory of the node. The check reads
``NAME.exit``: a number to exit with, or ``hang``. A notification is one line: seconds since boot, the arguments, the epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from haagent.core.units import SECOND, Instant

CHECK = """#!/bin/sh
read -r code < "{directory}/$1.exit" || exit 0
[ "$code" = hang ] && exec sleep 600
exit "$code"
"""
NOTIFY = """#!/bin/sh
read -r up _ < /proc/uptime
echo "$up|${{HAAGENT_EPOCH:-0}}|$*" >> "{directory}/notified"
"""


@dataclass(frozen=True, slots=True)
class Notification:
    """One recorded call: when, the epoch it was given (0: none), its arguments."""

    at: Instant
    epoch: int
    words: tuple[str, ...]


class NodeStubs:
    """The stand-ins of one node, written to ``directory``."""

    def __init__(self, directory: Path, scripts: tuple[str, ...], files: tuple[str, ...]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.scripts, self.files = directory, scripts, files
        for name, text in (("check", CHECK), ("notify", NOTIFY)):
            (directory / name).write_text(text.format(directory=directory))
            (directory / name).chmod(0o755)
        for script in scripts:
            self.exit_with(script, "0")
        for file in files:
            (directory / f"file-{file}").write_text("0\n")
        (directory / "notified").touch()

    def exit_with(self, script: str, code: str) -> None:
        """Let a tracked script end with ``code`` from now on; "hang": not at all."""
        target = self.directory / f"{script}.exit"
        written = target.with_suffix(".new")
        written.write_text(f"{code}\n")
        written.replace(target)

    def notifications(self) -> tuple[Notification, ...]:
        """Return everything recorded so far, in CLOCK_MONOTONIC; uptime counts 10 ms and suspended time."""
        shift = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        found = []
        for line in (self.directory / "notified").read_text().splitlines():
            up, _, rest = line.partition("|")
            epoch, _, words = rest.partition("|")
            at = round(float(up) * 100) * (SECOND // 100) - shift
            found.append(Notification(at, int(epoch) if epoch.isdigit() else 0, tuple(words.split())))
        return tuple(found)
