"""Keeps a HAProxy map at the epochs of this node's claims, so that every request can carry its epoch to the back ends.

Promises:

* The file first, then the running HAProxy: one that is started or reloaded later reads the file.
* One writer a map at a time, which always writes what is known now: a slow answer cannot put back an older epoch.
* The file is replaced whole, by renaming; it holds one ``INSTANCE EPOCH`` line each and belongs to haagent.
* Nothing waits for it: a HAProxy or a disk that hangs delays the header, not VRRP. What could not be told is tried again
  every second. Until then requests carry an older epoch, which is the safe side: a back end refuses them.

May not decide what an epoch is: it writes the one with which an instance became MASTER.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Mapping

from haagent.config.model import Configuration
from haagent.config.tracking_model import TrackHaproxy
from haagent.core.reports import Noticed, Report, State, StateChanged
from haagent.core.units import to_seconds
from haagent.effects.haproxy import HaproxyError, ask
from haagent.effects.processes import in_thread

RETRY = 1.0  # seconds
_LONGEST = 65_536  # bytes of the file that are read


class EpochMaps:
    """The maps of one configuration. All methods belong to the event loop's thread."""

    def __init__(self, configuration: Configuration, tell: Callable[[Report], None]) -> None:
        self._blocks, self._tell = _blocks(configuration), tell
        self._epochs: dict[str, int] = {}
        self._stale: set[TrackHaproxy] = set()
        self._tasks: dict[TrackHaproxy, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Make every map's file, because HAProxy does not start without it."""
        for block in self._blocks:
            self._write_soon(block)

    def read(self, report: Report) -> None:
        """Take the epoch from the report that says MASTER."""
        match report:
            case StateChanged(instance, _, State.MASTER, epoch=epoch, group=False):
                self._epochs[instance] = epoch
                for block in self._blocks:
                    self._write_soon(block)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration from now on."""
        before, self._blocks = self._blocks, _blocks(configuration)
        for block in self._blocks:
            if block not in before:
                self._write_soon(block)

    def close(self) -> None:
        """Stop. Idempotent."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _write_soon(self, block: TrackHaproxy) -> None:
        self._stale.add(block)
        task = self._tasks.get(block)
        if task is None or task.done():
            self._tasks[block] = asyncio.create_task(self._write(block), name=f"epochs {block.name}")

    async def _write(self, block: TrackHaproxy) -> None:
        said = ""
        while block in self._stale and block in self._blocks:
            self._stale.discard(block)
            try:
                await in_thread(functools.partial(publish, block, dict(self._epochs)))
            except (OSError, HaproxyError) as error:
                self._stale.add(block)
                if str(error) != said:
                    said = str(error)
                    self._tell(Noticed(f"haproxy {block.name}", "epoch_map is not up to date", said))
                await asyncio.sleep(RETRY)


def _blocks(configuration: Configuration) -> tuple[TrackHaproxy, ...]:
    return tuple(block for block in configuration.haproxies if block.epoch_map)


def publish(block: TrackHaproxy, epochs: Mapping[str, int]) -> None:
    """Bring file and HAProxy up to ``epochs`` (blocks). Raises OSError and HaproxyError.

    Epochs of other instances in the file stay.
    """
    merged = {**read_file(block.epoch_map), **epochs}
    _replace(block.epoch_map, "".join(f"{name} {epoch}\n" for name, epoch in sorted(merged.items())))
    for name in epochs:
        _tell_haproxy(block, name, merged[name])


def read_file(path: str) -> dict[str, int]:
    """Return the epochs in the file, none if there is none; lines that are no epochs are dropped. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_LONGEST).splitlines()
    except FileNotFoundError:
        return {}
    words = [line.split() for line in lines]
    return {one[0]: int(one[1]) for one in words if len(one) == 2 and one[1].isascii() and one[1].isdecimal()}


def _replace(path: str, text: str) -> None:
    beside = f"{path}.haagent"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(beside, path)


def _tell_haproxy(block: TrackHaproxy, name: str, epoch: int) -> None:
    timeout = to_seconds(block.timeout)
    answer = ask(block.socket, (f"set map {block.epoch_map} {name} {epoch}",), timeout).strip()
    if "not found" in answer:  # the key, or a map that this HAProxy does not use; adding tells which
        answer = ask(block.socket, (f"add map {block.epoch_map} {name} {epoch}",), timeout).strip()
    if answer:
        raise HaproxyError(f"{block.socket}: {answer.splitlines()[0][:120]}")
