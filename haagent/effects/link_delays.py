"""interface_up_down_delays: a link's change counts when it has lasted as long as its delay.

Promises: links without delays, and every other event, pass at once and in order; the first state of a link counts at
once; a change that is taken back in time is never heard of. What is told then is the old state once more, to which the
core is deaf: the interface may have been made anew, and the sockets and the gate have to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from haagent.config.model import LinkDelay
from haagent.core.events import LinkChanged
from haagent.core.units import to_seconds
from haagent.effects.watch import WatchEvent


class LinkDelays:
    """Stands between the watch and whom it tells. All methods belong to the event loop's thread."""

    def __init__(self, deliver: Callable[[WatchEvent], object], delays: Mapping[str, LinkDelay]) -> None:
        self._deliver, self._delays = deliver, delays
        self._told: dict[str, bool] = {}
        self._pending: dict[str, asyncio.TimerHandle] = {}

    def reconfigure(self, delays: Mapping[str, LinkDelay]) -> None:
        """Use other delays from the next change on."""
        self._delays = delays

    def take(self, event: WatchEvent) -> None:
        """Pass an event on, at once or later."""
        if not isinstance(event, LinkChanged):
            self._deliver(event)
            return
        pending = self._pending.pop(event.interface, None)
        if pending is not None:
            pending.cancel()
        delay = self._delays.get(event.interface)
        wait = 0 if delay is None else delay.up if event.up else delay.down
        known = self._told.get(event.interface)
        if not wait or known is None:
            self._tell(event)
        elif known is not event.up:
            loop = asyncio.get_running_loop()
            self._pending[event.interface] = loop.call_later(to_seconds(wait), self._tell, event)
        elif pending is not None:
            self._tell(event)

    def close(self) -> None:
        """Forget what is pending. Idempotent."""
        for pending in self._pending.values():
            pending.cancel()
        self._pending.clear()

    def _tell(self, event: LinkChanged) -> None:
        self._pending.pop(event.interface, None)
        self._told[event.interface] = event.up
        self._deliver(event)
