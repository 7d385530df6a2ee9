"""Track scripts: runs each vrrp_script on its own schedule and delivers one ``TrackResult`` per run.

Promises:

* **Fail closed.** Whatever keeps a check from running, or from being seen to succeed, is a failed check: a missing
  file, a missing user, an insecure path, an exec that fails, a lost exit status, a timeout, a defect in here. The
  reason is told once, not at every run.
* A run that outlives its timeout has failed at that moment, whatever it exits with later: SIGTERM to its process
  group, SIGKILL after 2 s. A process that even SIGKILL does not end fails again at every further interval.
* The next start is one interval after the previous start; a start that finds the previous run alive is skipped.
* Scripts that no instance or group tracks do not run. None is alive after ``aclose``.

May not count rise and fall, nor know what a failure means: the core does that.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from haagent.config.model import Configuration, GlobalDefs
from haagent.config.tracking_model import VrrpScript
from haagent.core.events import TrackResult
from haagent.core.reports import Noticed, Report
from haagent.core.units import SECOND, Duration, to_seconds
from haagent.effects.commands import prepare
from haagent.effects.kept import Kept, endless
from haagent.effects.processes import Child, CommandError, Launch, describe, in_thread

CLOSING_GRACE: Duration = SECOND // 2


@dataclass(frozen=True, slots=True)
class _Job:
    """What one checker depends on; two equal jobs are the same running state."""

    script: VrrpScript
    defaults: GlobalDefs


def tracked_names(configuration: Configuration) -> frozenset[str]:
    """Return the names of the scripts that an instance or a group tracks."""
    by_instances = {track.name for instance in configuration.instances for track in instance.track_scripts}
    by_groups = {track.name for group in configuration.groups for track in group.track_scripts}
    return frozenset(by_instances | by_groups)


class TrackScripts:
    """The running checks, none before the first configuration. All methods belong to the event loop's thread.

    ``deliver`` gets every result, ``tell`` gets a ``Noticed`` when the reason of a failure is new.
    """

    def __init__(self, deliver: Callable[[TrackResult], None], tell: Callable[[Report], None]) -> None:
        self._deliver, self._tell = deliver, tell
        self._running: Kept[_Job, asyncio.Task[None]] = Kept(self._begin, self._end)
        self._ending: set[asyncio.Task[None]] = set()

    def reconfigure(self, configuration: Configuration) -> None:
        """Run the tracked scripts of ``configuration``; an unchanged one keeps its schedule and its current run.

        What is new begins now.
        """
        scripts = {script.name: script for script in configuration.scripts}
        tracked = tracked_names(configuration)
        wanted = {name: _job(scripts[name], configuration.globals) for name in tracked if name in scripts}
        self._running.update(wanted)
        for name in sorted(tracked - scripts.keys()):
            self._tell(Noticed(name, "track_script cannot run", "no vrrp_script of this name is configured"))
            self._deliver(TrackResult(name, passed=False))

    def _begin(self, job: _Job) -> asyncio.Task[None]:
        return endless(_Checker(job, self._deliver, self._tell).run(), f"script {job.script.name}")

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """End every script's process group and wait until they are gone. Idempotent."""
        self._running.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)


def _job(script: VrrpScript, defaults: GlobalDefs) -> _Job:
    relevant = GlobalDefs(script_user=defaults.script_user, script_group=defaults.script_group)
    return _Job(script, GlobalDefs() if script.command.user is not None else relevant)


class _Checker:
    """The schedule of one script."""

    def __init__(
        self, job: _Job, deliver: Callable[[TrackResult], None], tell: Callable[[Report], None]
    ) -> None:
        self._script, self._defaults = job.script, job.defaults
        self._deliver, self._tell = deliver, tell
        self._preparing: asyncio.Task[Launch] | None = None
        self._said = ""

    async def run(self) -> None:
        """Run the script for ever; being cancelled ends its process group first."""
        loop, interval = asyncio.get_running_loop(), to_seconds(self._script.interval)
        begun = loop.time()
        try:
            while True:
                await self._run_once()
                slots = max(1, math.ceil((loop.time() - begun) / interval))
                begun += slots * interval
                await asyncio.sleep(begun - loop.time())
        finally:
            if self._preparing is not None:
                self._preparing.cancel()

    async def _run_once(self) -> None:
        try:
            launch = await self._prepared()
            child = launch.start()
        except CommandError as error:
            self._conclude("track_script cannot run", str(error))
        except Exception as error:
            self._conclude("track_script cannot run", f"{type(error).__name__}: {error}")
        else:
            await self._watch(child)

    async def _prepared(self) -> Launch:
        """Return the checked command; one attempt at a time, however long a hung server keeps it."""
        if self._preparing is None:
            work = functools.partial(prepare, self._script.command, self._defaults)
            self._preparing = asyncio.create_task(in_thread(work))
        done, _ = await asyncio.wait({self._preparing}, timeout=to_seconds(self._script.timeout))
        if not done:
            raise CommandError(
                "its path or its user could not be looked up in time: a file or name server hangs"
            )
        finished, self._preparing = self._preparing, None
        return finished.result()

    async def _watch(self, child: Child) -> None:
        over = False
        try:
            over = await child.exited(self._script.timeout)
            if over:
                self._conclude("track_script failed", describe(child.reap()))
                return
            self._conclude("track_script failed", f"timed out after {to_seconds(self._script.timeout):g} s")
            if not await child.end():
                await self._wait_for_unkillable(child)
            child.reap()
            over = True
        finally:
            if not over:
                await child.end(CLOSING_GRACE)
                child.reap()

    async def _wait_for_unkillable(self, child: Child) -> None:
        while not await child.exited(self._script.interval):
            self._conclude("track_script failed", "timed out and cannot be killed")

    def _conclude(self, what: str, reason: str) -> None:
        """Deliver one run's result; ``reason`` is empty for success and is told when it is new."""
        if reason and reason != self._said:
            self._tell(Noticed(self._script.name, what, reason))
        self._said = reason
        self._deliver(TrackResult(self._script.name, passed=not reason))
