"""What runs for each named block of a configuration: begun when the block appears, ended when it goes or changes.

Promises not to disturb what runs for a block that a reload left as it was. May not know what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Generic, TypeVar

Block = TypeVar("Block")
Running = TypeVar("Running")


class Kept(Generic[Block, Running]):
    """The running things by the names of their blocks; ``begin`` makes one, ``end`` is told of each that is dropped."""

    def __init__(self, begin: Callable[[Block], Running], end: Callable[[Running], object]) -> None:
        self._begin, self._end = begin, end
        self._running: dict[str, tuple[Block, Running]] = {}

    def update(self, wanted: Mapping[str, Block]) -> None:
        """Have exactly ``wanted`` running; first what goes ends, then what is new begins."""
        for name in [name for name, (block, _) in self._running.items() if wanted.get(name) != block]:
            self._end(self._running.pop(name)[1])
        for name, block in wanted.items():
            if name not in self._running:
                self._running[name] = block, self._begin(block)

    def clear(self) -> None:
        """End everything. Idempotent."""
        self.update({})


def endless(schedule: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
    """Run what never returns; one that raises is our own bug, and does not end in silence."""
    task = asyncio.create_task(schedule, name=name)
    task.add_done_callback(_report_defect)
    return task


def _report_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        message = f"the schedule of {task.get_name()} ended"
        task.get_loop().call_exception_handler({"message": message, "exception": error})
