"""An arbiter that counts what it is asked and hands it on to the real one: loaded by an agent like any other plugin.

Promises that ``Counts.read`` of another process sees every call that was started. Nothing is changed or delayed.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from haagent.arbiter import Arbiter, ArbiterOptions, Misconfigured, Record
from haagent.config.load import load
from haagent.core.units import from_seconds
from haagent.effects.arbitration import arbiter_options
from haagent.effects.plugins import GROUP, find_plugin, load_plugin

KIND = "counting"
_COUNTERS = struct.Struct("=QQ")
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many calls were started."""

    reads: int
    swaps: int

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.reads - other.reads, self.swaps - other.swaps)

    @classmethod
    def read(cls, file: Path) -> Counts:
        """Return what the arbiter that counts in ``file`` was asked so far."""
        return cls(*_COUNTERS.unpack(file.read_bytes()))


def block(directory: Path, node: str, real: str) -> tuple[str, Path]:
    """Return the arbiter block that puts the counter in front of block ``real``, and the file it counts in."""
    behind, file = directory / f"{node}.arbiter", directory / f"{node}.counts"
    behind.write_text(real)
    file.write_bytes(_COUNTERS.pack(0, 0))
    words = f"    endpoints unused:1\n    behind {behind}\n    counts {file}\n"
    return f"arbiter {KIND} {{\n{words}}}\n", file


def environment(directory: Path) -> dict[str, str]:
    """Return what lets an agent find this plugin without its being installed: metadata in ``directory``."""
    metadata = directory / f"{KIND}-1.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {KIND}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{KIND} = {__name__}:open_arbiter\n")
    paths = (str(directory), str(_ROOT), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


class CountingArbiter:
    """The real arbiter, with two counters in a file that others read meanwhile."""

    def __init__(self, real: Arbiter, file: Path) -> None:
        self._real = real
        with open(file, "r+b") as opened:
            self._counters = mmap.mmap(opened.fileno(), _COUNTERS.size)
        self._reads, self._swaps = _COUNTERS.unpack(self._counters[:])

    async def read(self, name: str, *, timeout: float) -> Record | None:
        self._reads += 1
        self._publish()
        return await self._real.read(name, timeout=timeout)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        self._swaps += 1
        self._publish()
        return await self._real.swap(name, value, expected, timeout=timeout)

    def changes(self) -> AsyncIterator[tuple[str, Record | None]]:
        return self._real.changes()

    async def aclose(self) -> None:
        await self._real.aclose()

    def _publish(self) -> None:
        self._counters[:] = _COUNTERS.pack(self._reads, self._swaps)


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Open the arbiter whose block is in the file ``behind``, and count in the file ``counts``."""
    configured = load([Path(options.settings["behind"])]).arbiter
    if configured is None:
        raise Misconfigured(f"{options.settings['behind']} has no arbiter block")
    inner = arbiter_options(configured, options.node, from_seconds(options.lease), from_seconds(options.keep))
    real = await load_plugin(find_plugin(configured.kind))(inner)
    return CountingArbiter(real, Path(options.settings["counts"]))
