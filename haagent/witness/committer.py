"""Makes one write to the disk of all requests that came in while the last one was under way.

Promises that requests are performed in the order in which they came, that nobody is answered before the disk has
what the answer says, that the event loop never waits for the disk, and that after an error of the disk other than a
full one nothing is answered any more: what such a disk holds is only known after a fresh start.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from haagent.arbiter import Record
from haagent.witness.store import EraseOf, Full, Held, Result, Store, SwapOf, Task

MOST_AT_ONCE = 256  # requests in one write

Changed: TypeAlias = Callable[[str, str, Record | None], None]


class Committer:
    """The only user of a store. ``changed(domain, name, record)`` is told of every write once it is on the disk."""

    def __init__(self, store: Store, changed: Changed) -> None:
        self._store, self._changed = store, changed
        self._waiting: deque[tuple[Task, asyncio.Future[Held]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="witness-store")
        self._wake = asyncio.Event()
        self.commits = self.swaps = 0

    async def perform(self, task: Task) -> Held:
        """Return what came of one request, when it is on the disk. Raises Full; never returns if the disk fails."""
        answer: asyncio.Future[Held] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, answer))
        self._wake.set()
        return await answer

    async def registers(self, domain: str) -> list[tuple[str, Record]]:
        """Return what a domain holds."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._store.registers, domain)

    async def run(self) -> None:
        """Serve requests until cancelled. Raises StoreError when the disk fails."""
        while True:
            await self._wake.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
            if not self._waiting:
                self._wake.clear()
            await self._commit(batch)

    async def aclose(self) -> None:
        """Let the write that is under way end, and close the file. Not for use while ``run`` runs."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown()

    async def _commit(self, batch: list[tuple[Task, asyncio.Future[Held]]]) -> None:
        tasks = [task for task, _ in batch]
        try:
            results = await self._in_thread(tasks)
        except Full:
            results = [await self._alone(task) for task in tasks]
        self.commits += 1
        for (task, answer), result in zip(batch, results, strict=True):
            self._answer(task, answer, result)

    async def _alone(self, task: Task) -> Result:
        """Perform one of a batch that found no room: reads need none."""
        try:
            return (await self._in_thread([task]))[0]
        except Full as full:
            return full

    async def _in_thread(self, tasks: list[Task]) -> list[Result]:
        """Perform ``tasks``; a cancelled caller still waits for the write to end."""
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._store.apply, tasks)
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait((writing,))
            raise

    def _answer(self, task: Task, answer: asyncio.Future[Held], result: Result) -> None:
        if isinstance(result, Full):
            if not answer.done():
                answer.set_exception(result)
            return
        if isinstance(task, SwapOf) and result.written:
            self.swaps += 1
            self._changed(task.domain, task.name, result.record)
        elif isinstance(task, EraseOf):
            self._changed(task.domain, "", None)
        if not answer.done():
            answer.set_result(result)
