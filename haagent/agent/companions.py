"""What accompanies the VRRP of a worker: tracked files, processes, HAProxies and peers, epochs, notify FIFOs, mail.

Promises that the worker deals with one object for all of them, and that none of them can delay it. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from haagent.config.model import Configuration
from haagent.core.events import TrackResult
from haagent.core.reports import Report
from haagent.core.units import Instant
from haagent.effects.epoch_map import EpochMaps
from haagent.effects.fifo import NotifyFifos
from haagent.effects.mail import Mailer
from haagent.effects.track_files import TrackFiles
from haagent.effects.track_haproxy import TrackHaproxies
from haagent.effects.track_peers import TrackPeers
from haagent.effects.track_processes import TrackProcesses


class Companions:
    """All of them together, with the life of a worker. All methods belong to the event loop's thread."""

    def __init__(
        self,
        configuration: Configuration,
        node: str,
        heard: Callable[[], Mapping[str, Instant | None]],
        deliver: Callable[[TrackResult], None],
        tell: Callable[[Report], None],
    ) -> None:
        self._configuration = configuration
        self._files = TrackFiles(deliver, tell)
        self._processes = TrackProcesses(deliver, tell)
        self._haproxies = TrackHaproxies(deliver, tell)
        self._peers = TrackPeers(node, heard, deliver, tell)
        self._epochs = EpochMaps(configuration, tell)
        self._fifos = NotifyFifos(configuration, tell)
        self._mailer = Mailer(configuration, tell)

    def start(self) -> None:
        """Begin."""
        self._fifos.start()
        self._track(self._configuration)
        self._epochs.start()

    def read(self, report: Report) -> None:
        """Read one report."""
        self._epochs.read(report)
        self._fifos.read(report)
        self._mailer.read(report)

    def reason(self, tracker: str) -> str:
        """Return what was wrong with a tracked thing when it was looked at last, as far as it says more than "down"."""
        return self._haproxies.reasons.get(tracker, "")

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration from now on."""
        self._track(configuration)
        self._epochs.reconfigure(configuration)
        self._fifos.reconfigure(configuration)
        self._mailer.reconfigure(configuration)

    def _track(self, configuration: Configuration) -> None:
        self._files.reconfigure(configuration)
        self._processes.reconfigure(configuration)
        self._haproxies.reconfigure(configuration)
        self._peers.reconfigure(configuration)

    async def aclose(self) -> None:
        """End all of it. Idempotent."""
        self._files.close()
        self._processes.close()
        self._haproxies.close()
        self._peers.close()
        self._epochs.close()
        await self._fifos.aclose()
        await self._mailer.aclose()
