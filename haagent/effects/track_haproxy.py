"""Tracked HAProxies: asks each one over its stats socket, and delivers one ``TrackResult`` per question.

Promises:

* **Fail closed.** A HAProxy that is dead, stopped, hung, on its way out or not to be understood is down, as is one
  whose backend or frontend is missing. The reason is told when it is a new one.
* The socket is opened anew for every question, so a reload of HAProxy, after which a new process answers, is nothing
  special. A question that meets the change itself fails, and ``fall`` (2 by default) covers it.
* One question at a time: while a hung one is waited for, every further interval counts as failed.
* HAProxies that nothing tracks are not asked.

May not count rise and fall, nor know what being down means: the core does that.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator

from haagent.config.model import Configuration
from haagent.config.tracking_model import TrackHaproxy
from haagent.core.events import TrackResult
from haagent.core.reports import Noticed, Report
from haagent.core.units import to_seconds
from haagent.effects.haproxy import QUESTION, HaproxyError, HaproxyState, ask, read_state
from haagent.effects.kept import Kept, endless
from haagent.effects.processes import in_thread

_OPEN = ("OPEN", "FULL")  # FULL: at its maxconn; it serves
_LATE = 0.25  # seconds beyond the timeout, for the thread


def haproxy_tracker(name: str) -> str:
    """Return the name under which the core knows a track_haproxy."""
    return f"haproxy {name}"


class TrackHaproxies:
    """The tracked HAProxies, none before the first configuration. All methods belong to the event loop's thread.

    ``reasons`` says of each tracker what was wrong when it was asked last, "" for nothing.
    """

    def __init__(self, deliver: Callable[[TrackResult], None], tell: Callable[[Report], None]) -> None:
        self._deliver, self._tell = deliver, tell
        self._running: Kept[TrackHaproxy, asyncio.Task[None]] = Kept(self._begin, asyncio.Task.cancel)
        self.reasons: dict[str, str] = {}

    def reconfigure(self, configuration: Configuration) -> None:
        """Ask the tracked HAProxies of ``configuration``; an unchanged block keeps its schedule."""
        tracked = {track.name for user in configuration.subjects for track in user.track_haproxies}
        self._running.update({one.name: one for one in configuration.haproxies if one.name in tracked})

    def close(self) -> None:
        """Stop asking; a question under way ends by its own timeout. Idempotent."""
        self._running.clear()

    def _begin(self, block: TrackHaproxy) -> asyncio.Task[None]:
        inquirer = _Inquirer(block, self._deliver, self._tell, self.reasons)
        return endless(inquirer.run(), f"haproxy {block.name}")


class _Inquirer:
    """The schedule of one block."""

    def __init__(
        self,
        block: TrackHaproxy,
        deliver: Callable[[TrackResult], None],
        tell: Callable[[Report], None],
        reasons: dict[str, str],
    ) -> None:
        self._block, self._deliver, self._tell, self._reasons = block, deliver, tell, reasons
        self._tracker = haproxy_tracker(block.name)
        self._asking: asyncio.Task[str] | None = None
        self._said = ""

    async def run(self) -> None:
        """Ask for ever: the next question one interval after the last began, or at once if that took longer."""
        loop, interval = asyncio.get_running_loop(), to_seconds(self._block.interval)
        while True:
            begun = loop.time()
            self._conclude(await self._ask())
            await asyncio.sleep(max(0.01, begun + interval - loop.time()))

    async def _ask(self) -> str:
        """Return what is wrong, or "". A thread that hangs in the kernel is waited for, not joined by a second one."""
        if self._asking is None:
            self._asking = asyncio.create_task(in_thread(functools.partial(look, self._block)))
        patience = to_seconds(self._block.timeout) + _LATE
        done, _ = await asyncio.wait({self._asking}, timeout=patience)
        if not done:
            return f"{self._block.socket} cannot even be opened within {patience:g} s"
        finished, self._asking = self._asking, None
        try:
            return finished.result()
        except HaproxyError as error:
            return str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def _conclude(self, reason: str) -> None:
        if reason and reason != self._said:
            self._tell(
                Noticed(self._tracker, reason, "")
            )  # each reason is one fact to whoever counts repetitions
        self._said = self._reasons[self._tracker] = reason
        self._deliver(TrackResult(self._tracker, passed=not reason))


def look(block: TrackHaproxy) -> str:
    """Ask once and return what is wrong, or "". Raises HaproxyError if there is no answer."""
    state = read_state(ask(block.socket, QUESTION, to_seconds(block.timeout)))
    return "; ".join(complaints(block, state))


def complaints(block: TrackHaproxy, state: HaproxyState) -> Iterator[str]:
    """Yield what keeps this HAProxy from serving, as half sentences."""
    if state.stopping:
        yield f"process {state.pid} is stopping"
    if not any(status in _OPEN for status in state.frontends.values()):
        yield "no frontend is open"
    for name in block.frontends:
        status = state.frontends.get(name)
        if status not in _OPEN:
            yield f"there is no frontend {name}" if status is None else f"frontend {name} is {status}"
    for name, least in block.backends:
        backend = state.backends.get(name)
        if backend is None:
            yield f"there is no backend {name}"
        elif backend.status != "UP":
            yield f"backend {name} is {backend.status}"
        elif backend.usable < least:
            yield f"backend {name} has {backend.usable} usable servers, fewer than {least}"
