"""All voting files of a domain together: which may be used, and what a majority of them says.

Promises that no two files count as one and no file counts twice, that files of another ``arbiter init`` never count,
and that a round is over as soon as a majority has answered. May not decide what an answer means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Self, TypeAlias

from arbiters.shared_file.ballot import Block, View, counted
from arbiters.shared_file.layout import Header
from arbiters.shared_file.settings import Settings
from arbiters.shared_file.voting_file import Admission, Answer, FileTrouble, Job, Refused, VotingFile
from haagent.arbiter import ArbiterError, Misconfigured, Unavailable

REPEAT_PAUSE = 0.02  # seconds until a file that failed is asked again within one call

Heard: TypeAlias = Callable[[int, Answer], None]


class Files:
    """The files of one domain. ``start`` needs a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = [
            VotingFile(path, Admission(settings.presence, settings.grace, self._admit, self._duplicate))
            for path in settings.paths
        ]
        self._headers: dict[VotingFile, Header] = {}
        self._agreed: Header | None = None
        self._ready = asyncio.Event()
        self._fatal = ""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def count(self) -> int:
        return len(self._files)

    @property
    def majority(self) -> int:
        return len(self._files) // 2 + 1

    @property
    def files(self) -> tuple[VotingFile, ...]:
        return tuple(self._files)

    def start(self) -> None:
        """Open every file, each in its own time."""
        self._tasks = [
            asyncio.create_task(file.run(), name=f"voting file {file.path}") for file in self._files
        ]

    async def ready(self) -> Header:
        """Return the domain's header once a majority of the files agrees on it. Raises Misconfigured."""
        while not self._ready.is_set():
            self.check()
            try:
                async with asyncio.timeout(REPEAT_PAUSE):
                    await self._ready.wait()
            except TimeoutError:
                continue
        self.check()
        assert self._agreed is not None
        return self._agreed

    @property
    def slot(self) -> int:
        """Return this node's place, once ``ready``."""
        assert self._agreed is not None
        return self._agreed.nodes.index(self._settings.presence.node)

    def check(self) -> None:
        """Raise Misconfigured if only an operator can help."""
        if self._fatal:
            raise Misconfigured(f"arbiter file: {self._fatal}")
        if sum(file.refused for file in self._files) > self.count - self.majority:
            raise Misconfigured(f"arbiter file: {self.troubles()}")

    def unavailable(self) -> ArbiterError:
        """Return the error of a call that no majority answered in time."""
        try:
            self.check()
        except Misconfigured as error:
            return error
        return Unavailable(f"no majority of the {self.count} voting files: {self.troubles()}")

    def troubles(self) -> str:
        """Return what is wrong with which file, in one line."""
        troubles = [
            f"{file.path}: {file.trouble or file.damage}"
            for file in self._files
            if file.trouble or file.damage
        ]
        return "; ".join(troubles) or "all were slow"

    def ask(self, registers: tuple[int, ...], block: Block | None, deadline: float) -> Round:
        """Begin a round: every file writes ``block`` and reads ``registers``."""
        return Round(self._files, registers, block, deadline)

    async def look(self, registers: tuple[int, ...], deadline: float) -> dict[int, dict[int, View]]:
        """Read ``registers`` from a majority; return by register the views by file, which may be fewer for some."""
        found: dict[int, dict[int, View]] = {register: {} for register in registers}
        answered = 0
        with self.ask(registers, None, deadline) as reading:
            while answered < self.majority or any(
                len(counted(views)) < self.majority for views in found.values()
            ):
                if answered and not reading.waiting:
                    break
                index, answer = await reading.next()
                answered += 1
                for register, view in answer.items():
                    if isinstance(view, View):
                        found[register][index] = view
        self.notice_replaced(found[registers[0]])
        return found

    def notice_replaced(self, views: dict[int, View]) -> None:
        """Open those files anew that the newest member list does not name: there is a new one at the same path."""
        for index in views.keys() - counted(views).keys():
            self._files[index].reopen()

    async def aclose(self) -> None:
        """Let go of every file."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(file.aclose() for file in self._files))

    def _duplicate(self, text: str) -> None:
        self._fatal = self._fatal or text

    def _admit(self, file: VotingFile, header: Header) -> int:
        """Return our slot if ``file`` is one of this domain's. Raises Refused."""
        self._headers.pop(file, None)
        self._check_header(header)
        for other, its in self._headers.items():
            if its.index == header.index and its.uuid == header.uuid:
                raise Refused(f"it is voting file {header.index + 1}, as {other.path} is")
        self._headers[file] = header
        if self._agreed is None:
            self._agree()
        if self._agreed is not None and header.uuid != self._agreed.uuid:
            raise Refused("it comes from another 'arbiter init' than the majority of the voting files")
        return header.nodes.index(self._settings.presence.node)

    def _check_header(self, header: Header) -> None:
        wanted = self._settings
        if header.domain != wanted.domain:
            raise Refused(f"it belongs to domain {header.domain!r}, not {wanted.domain!r}")
        if len(header.members) != self.count:
            raise Refused(f"it is one of {len(header.members)} voting files; {self.count} are configured")
        if wanted.presence.node not in header.nodes:
            raise Refused(f"it was made for the nodes {', '.join(header.nodes)}, not {wanted.presence.node}")

    def _agree(self) -> None:
        """Settle on the domain once a majority of the files names the same; the others are then refused."""
        (uuid, count), *_ = Counter(header.uuid for header in self._headers.values()).most_common(1)
        if count < self.majority:
            return
        self._agreed = next(header for header in self._headers.values() if header.uuid == uuid)
        self._ready.set()
        for file, header in tuple(self._headers.items()):
            if header.uuid != uuid:
                del self._headers[file]
                file.reopen()


class Round:
    """One question to every file. Asks a file again that failed; leaves none behind when it is closed."""

    def __init__(
        self, files: list[VotingFile], registers: tuple[int, ...], block: Block | None, deadline: float
    ) -> None:
        self._files, self._registers, self._block, self._deadline = files, registers, block, deadline
        self._answers: asyncio.Queue[tuple[int, Answer]] = asyncio.Queue()
        self._jobs: dict[int, Job] = {}
        self._again: dict[int, asyncio.TimerHandle] = {}
        self._closed = False

    def __enter__(self) -> Self:
        for index in range(len(self._files)):
            self._post(index)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Withdraw what was not sent yet. What is at a file goes on, and its answer concerns nobody."""
        self._closed = True
        for handle in self._again.values():
            handle.cancel()
        for job in self._jobs.values():
            job.done.cancel()

    @property
    def waiting(self) -> bool:
        """Say whether there is an answer to come: from a healthy file, or not yet taken."""
        return not self._answers.empty() or any(
            not job.done.done() and not self._files[index].trouble for index, job in self._jobs.items()
        )

    async def next(self) -> tuple[int, Answer]:
        """Return the next answer, with the index of its file. Waits for ever if there is none."""
        return await self._answers.get()

    def _post(self, index: int) -> None:
        job = Job(self._registers, self._block, self._deadline)
        self._jobs[index] = job
        job.done.add_done_callback(lambda done: self._heard(index, done))
        self._files[index].post(job)

    def _heard(self, index: int, done: asyncio.Future[Answer]) -> None:
        if self._closed or done.cancelled():
            return
        if done.exception() is None:
            self._answers.put_nowait((index, done.result()))
        elif isinstance(done.exception(), FileTrouble):
            loop = asyncio.get_running_loop()
            self._again[index] = loop.call_later(REPEAT_PAUSE, self._post, index)
