"""What accompanies the VRRP of a worker: tracked files and processes, notify FIFOs, mail.

Promises that the worker deals with one object for all of them, and that none of them can delay it. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from haagent.config.model import Configuration
from haagent.core.events import TrackResult
from haagent.core.reports import Report
from haagent.effects.fifo import NotifyFifos
from haagent.effects.mail import Mailer
from haagent.effects.track_files import TrackFiles
from haagent.effects.track_processes import TrackProcesses


class Companions:
    """All of them together, with the life of a worker. All methods belong to the event loop's thread."""

    def __init__(
        self,
        configuration: Configuration,
        deliver: Callable[[TrackResult], None],
        tell: Callable[[Report], None],
    ) -> None:
        self._files = TrackFiles(configuration, deliver, tell)
        self._processes = TrackProcesses(configuration, deliver, tell)
        self._fifos = NotifyFifos(configuration, tell)
        self._mailer = Mailer(configuration, tell)

    def start(self) -> None:
        """Begin."""
        self._fifos.start()
        self._files.start()
        self._processes.start()

    def read(self, report: Report) -> None:
        """Read one report."""
        self._fifos.read(report)
        self._mailer.read(report)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration from now on."""
        self._files.reconfigure(configuration)
        self._processes.reconfigure(configuration)
        self._fifos.reconfigure(configuration)
        self._mailer.reconfigure(configuration)

    async def aclose(self) -> None:
        """End all of it. Idempotent."""
        self._files.close()
        self._processes.close()
        await self._fifos.aclose()
        await self._mailer.aclose()
