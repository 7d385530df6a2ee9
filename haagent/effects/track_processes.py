"""Tracked processes: counts, once a second, the processes each vrrp_track_process is about.

Promises:

* A block is up while ``quorum`` to ``quorum_max`` matching processes run. Zombies do not count: they do nothing any more.
* **Fail closed.** If /proc cannot be read, every tracked process is down, and the reason is told once. (keepalived
  asks the kernel's process connector, which answers nobody in a container, and then takes every process for running.)
* A change counts when it has lasted for the block's delay: ``fork_delay`` to come up, ``terminate_delay`` to go down.
  The first look counts at once.

May not know what being down means: the core does that.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from haagent.config.model import Configuration
from haagent.config.tracking_model import TrackProcess
from haagent.core.events import TrackResult
from haagent.core.reports import Noticed, Report
from haagent.core.units import Duration, to_seconds
from haagent.effects.pollers import Failure, Poller

INTERVAL = 1.0
PROC = "/proc"


def process_tracker(name: str) -> str:
    """Return the name under which the core knows a vrrp_track_process."""
    return f"process {name}"


@dataclass(slots=True)
class _Counted:
    """One block: what was last delivered, and the change that waits for its delay."""

    process: TrackProcess
    up: bool | None = None
    pending: asyncio.TimerHandle | None = field(default=None)

    def forget(self) -> None:
        """Forget a change that did not last."""
        if self.pending is not None:
            self.pending.cancel()
            self.pending = None


class TrackProcesses:
    """The tracked processes, none before the first configuration. All methods belong to the event loop's thread."""

    def __init__(self, deliver: Callable[[TrackResult], None], tell: Callable[[Report], None]) -> None:
        self._deliver, self._tell = deliver, tell
        self._counted: dict[str, _Counted] = {}
        self._poller: Poller[tuple[tuple[str, bool], ...]] | None = None

    def reconfigure(self, configuration: Configuration) -> None:
        """Count for the tracked blocks of ``configuration``; an unchanged one keeps its state."""
        tracked = {track.name for user in configuration.subjects for track in user.track_processes}
        wanted = {one.name: one for one in configuration.processes if one.name in tracked}
        if {name: counted.process for name, counted in self._counted.items()} == wanted:
            return
        self.close()
        before, self._counted = self._counted, {}
        for name, process in wanted.items():
            same = name in before and before[name].process == process
            self._counted[name] = before[name] if same else _Counted(process)
        if wanted:
            blocks = tuple(wanted.values())
            self._poller = Poller("processes", lambda: look(blocks), INTERVAL, self._report)

    def close(self) -> None:
        """Stop counting. Idempotent."""
        if self._poller is not None:
            self._poller.close()
            self._poller = None
        for counted in self._counted.values():
            counted.forget()

    def _report(self, answer: tuple[tuple[str, bool], ...] | Failure) -> None:
        if isinstance(answer, Failure):
            self._tell(Noticed("track_process", "processes cannot be looked at", answer.reason))
            for counted in self._counted.values():
                self._settle(counted, up=False)
            return
        for name, up in answer:
            self._consider(self._counted[name], up=up)

    def _consider(self, counted: _Counted, *, up: bool) -> None:
        delay: Duration = counted.process.fork_delay if up else counted.process.terminate_delay
        if counted.up is up or counted.up is None or not delay:
            self._settle(counted, up=up)
        elif counted.pending is None:
            loop = asyncio.get_running_loop()
            counted.pending = loop.call_later(to_seconds(delay), lambda: self._settle(counted, up=up))

    def _settle(self, counted: _Counted, *, up: bool) -> None:
        counted.forget()
        if counted.up is not up:
            counted.up = up
            self._deliver(TrackResult(process_tracker(counted.process.name), passed=up))


def look(blocks: tuple[TrackProcess, ...]) -> tuple[tuple[str, bool], ...]:
    """Return whether each block is up. Raises OSError if there are no processes to be seen."""
    counts = dict.fromkeys((block.name for block in blocks), 0)
    whole = any(block.full_command for block in blocks)
    for name, command in _processes(whole=whole):
        for block in blocks:
            counts[block.name] += _matches(block, name, command)
    return tuple((block.name, _enough(block, counts[block.name])) for block in blocks)


def _enough(block: TrackProcess, count: int) -> bool:
    return count >= block.quorum and (block.quorum_max is None or count <= block.quorum_max)


def _processes(*, whole: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (name, command line) of every process that is not a zombie; () without ``whole``."""
    own = False
    for entry in os.listdir(PROC):
        if not entry.isdigit():
            continue
        try:
            with open(f"{PROC}/{entry}/stat", "rb") as file:
                stat = file.read()
            command = _command_line(entry) if whole else ()
        except OSError:
            continue  # it has ended meanwhile, or is nobody we may look at
        own = own or entry == str(os.getpid())
        name, _, rest = stat.partition(b"(")[2].rpartition(b")")
        if not rest.lstrip().startswith((b"Z", b"X")):
            yield os.fsdecode(name), command
    if not own:
        raise OSError(f"{PROC} does not even show this process")


def _command_line(pid: str) -> tuple[str, ...]:
    with open(f"{PROC}/{pid}/cmdline", "rb") as file:
        return tuple(os.fsdecode(word) for word in file.read().rstrip(b"\0").split(b"\0"))


def _matches(block: TrackProcess, name: str, command: tuple[str, ...]) -> bool:
    """Compare as keepalived does: the kernel's name, or the whole command line by ``param_match``."""
    if not block.full_command:
        return name == block.argv[0]
    wanted = block.argv
    if not command or command[0] != wanted[0]:
        return False
    found, parameters = command[1:], wanted[1:]
    if block.param_match == "exact":
        return found == parameters
    if block.param_match == "initial":
        return "\0".join(found).startswith("\0".join(parameters))
    return any(found[at : at + len(parameters)] == parameters for at in range(len(found) + 1))
