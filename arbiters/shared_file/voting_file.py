"""One voting file, as one node uses it: jobs in turn, one at a time, each a write (or none) and then reads.

Promises that a job succeeds only if its write was acknowledged and its reads were made after that, before the job's
deadline, on a file of this domain that still bears this run's presence. A write that is overdue counts as not
written, and the file serves nobody until that write has returned and the file was opened and read anew. Says once, by
name, what is wrong with a file and when it is well again. May not decide what a majority is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from arbiters.shared_file.ballot import Block, View
from arbiters.shared_file.block import BLOCK, Damaged, encode, seal
from arbiters.shared_file.channel import Channel
from arbiters.shared_file.layout import (
    SLOTS,
    Header,
    NotAVotingFile,
    Presence,
    check_original,
    read_header,
    read_presence,
)
from arbiters.shared_file.views import DamagedRegister, Reader

LOG = logging.getLogger("haagent.arbiter.shared_file")
REOPEN_PAUSE = 0.5  # seconds until a file that failed is tried again
LOCK_PAUSE = 0.01  # seconds; our own earlier run is just going
REREADS = 2
CLOSE_PATIENCE = 0.3  # seconds to wait for the process of a file that is not hung

Answer = dict[int, View | DamagedRegister]


class FileTrouble(Exception):  # noqa: N818
    """This file cannot serve; the others may. Says why."""


class Refused(FileTrouble):
    """This file works, but is not one we may use; only an operator can change that."""


@dataclass(eq=False, slots=True)
class Job:
    """Write ``block`` to register ``registers[0]`` (None: nothing), then read ``registers``. ``deadline``: loop time."""

    registers: tuple[int, ...]
    block: Block | None
    deadline: float
    done: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, trouble: Exception) -> None:
        """End the job without an answer, unless nobody waits for it any more."""
        if not self.done.done():
            self.done.set_exception(trouble)
            self.done.exception()  # a job whose round is over is waited for by nobody


@dataclass(frozen=True, slots=True)
class Admission:
    """What a file must be told, or ask, before it may be used.

    ``admit`` returns this node's slot or raises Refused. ``duplicate`` is told when another run writes as this node.
    ``grace`` is how many seconds a run on another host is given to notice that this one has begun.
    """

    presence: Presence
    grace: float
    admit: Callable[[VotingFile, Header], int]
    duplicate: Callable[[str], None]


class VotingFile:
    """One file. ``run`` must be running for jobs to be served; ``trouble`` is empty when all is well."""

    def __init__(self, path: str, admission: Admission) -> None:
        self.path, self._admission = path, admission
        self.header: Header | None = None
        self.trouble = "it has not answered yet"
        self.damage = ""  # of some register, which then does not count here
        self.refused = False
        self._said = ""
        self._channel: Channel | None = None
        self._reader: Reader | None = None
        self._slot = 0
        self._present = False  # our presence was written to this very file
        self._jobs: deque[Job] = deque()
        self._posted = asyncio.Event()
        self._stale = False
        self._looked_at = float("-inf")

    @property
    def pid(self) -> int:
        """Return the id of the process that does the reading and writing, 0 if there is none."""
        return self._channel.pid if self._channel is not None else 0

    def post(self, job: Job) -> None:
        """Queue ``job``. A file that is in trouble serves it when it can, if it is still wanted then."""
        if any(waiting.done.done() for waiting in self._jobs):
            self._jobs = deque(waiting for waiting in self._jobs if not waiting.done.done())
        self._jobs.append(job)
        self._posted.set()

    def reopen(self) -> None:
        """Open the file anew before the next job: it may have been replaced."""
        self._stale = True
        self._posted.set()

    async def run(self) -> None:
        """Open the file, serve jobs, and begin again whenever something goes wrong. Runs until cancelled."""
        while True:
            pause = REOPEN_PAUSE
            try:
                await self._open()
                while not self._stale:
                    await self._serve(await self._next())
                pause = 0.0
            except _LateError:
                pause = 0.0
            except (OSError, FileTrouble, NotAVotingFile, Damaged) as error:
                self._fail(error)
                if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                    pause = LOCK_PAUSE
            self._stale, self._reader = False, None
            await asyncio.sleep(pause)

    async def aclose(self) -> None:
        """Let go of the file; waits for its process only if that is not stuck."""
        for job in self._jobs:
            job.fail(FileTrouble("the arbiter is closed"))
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose(0.0 if self.trouble else CLOSE_PATIENCE)

    async def _open(self) -> None:
        """Open, check the header and announce this run. Raises OSError, NotAVotingFile, Refused, Damaged."""
        self._let_go_of_the_dead()
        if self._channel is None:
            self._channel = await Channel.start()
        inode = await self._channel.open(self.path, self._lock())
        header, _ = read_header(await self._channel.exchange(0, b"", [(0, SLOTS * BLOCK)]))
        check_original(header, inode)
        await self._channel.exchange(0, b"", [(header.size - BLOCK, BLOCK)])  # or it was truncated
        self._slot = self._admission.admit(self, header)
        if self.header is None or header.file_id != self.header.file_id:
            self._present = False
        self.header = header
        await self._announce(header)
        self._reader = Reader(header, self._slot)
        if not self._channel.direct:
            self._say_once("this file system has no O_DIRECT: reads may come from this host's cache")
        self._well()

    def _let_go_of_the_dead(self) -> None:
        """Make room for another process where ours was killed. Raises OSError if a write of its may still land."""
        if self._channel is None or not self._channel.ended:
            return
        if self._channel.unfinished:
            raise OSError(
                os.EX_SOFTWARE,
                "its process was killed while it wrote; when the file answers, restart haagent",
            )
        self._channel.abandon()
        self._channel = None

    async def _announce(self, header: Header) -> None:
        """Write our presence, and give a run of this node on another host time to see it and stop."""
        assert self._channel is not None
        mine = self._admission.presence
        at = header.presence_at(self._slot)
        front = await self._channel.exchange(0, b"", [(0, header.front)])
        with contextlib.suppress(Damaged):  # then it says nothing, and is written again
            there = read_presence(front, header, self._slot)
            if self._present and there is not None and there.incarnation != mine.incarnation:
                self._duplicate(there)
            elsewhere = there is not None and there.host != mine.host
            await self._channel.exchange(at, mine.seal(header, self._slot), [])
            self._present = True
            if elsewhere and there is not None:
                LOG.info(
                    "%s: node %s last ran on %s; waiting %.1f s",
                    self.path,
                    mine.node,
                    there.hostname,
                    self._admission.grace,
                )
                await asyncio.sleep(self._admission.grace)
            return
        await self._channel.exchange(at, mine.seal(header, self._slot), [])
        self._present = True

    def _duplicate(self, there: Presence) -> None:
        text = f"node {there.node} also runs on {there.hostname} (incarnation {there.incarnation}): every node needs a name of its own"
        self._admission.duplicate(text)
        raise Refused(text)

    async def _next(self) -> Job | None:
        """Return the next job that is still wanted, or None to open the file anew."""
        while not self._stale:
            while self._jobs:
                job = self._jobs.popleft()
                if not job.done.done():
                    return job
            self._posted.clear()
            await self._posted.wait()
        return None

    async def _serve(self, job: Job | None) -> None:
        if job is None:
            return
        loop = asyncio.get_running_loop()
        overdue = loop.call_at(job.deadline, self._overdue, job)
        try:
            answer = await self._exchange(job)
        except (OSError, FileTrouble, NotAVotingFile, Damaged) as error:
            job.fail(FileTrouble(str(error)))
            raise
        finally:
            overdue.cancel()
        if loop.time() >= job.deadline:
            self._overdue(job)
            raise _LateError
        self._well()
        if not job.done.done():
            job.done.set_result(answer)

    async def _exchange(self, job: Job) -> Answer:
        """Write and read; return the views. Which of our two slots to write is known from an earlier reading."""
        assert self._channel is not None
        assert self._reader is not None
        reader = self._reader
        at, data = 0, b""
        if job.block is not None:
            register = job.registers[0]
            if register not in reader.next_slot or self._may_be_displaced():
                self._read(await self._channel.exchange(0, b"", reader.ranges((register,))), (register,))
            slot = reader.next_slot[register]
            at = reader.header.block_at(register, self._slot, slot)
            data = seal(encode(job.block), reader.header.place(register, self._slot, slot))
        answer = self._read(
            await self._channel.exchange(at, data, reader.ranges(job.registers)), job.registers
        )
        for _ in range(REREADS):  # a block that is just being written may look like anything
            if not any(isinstance(view, DamagedRegister) for view in answer.values()):
                break
            answer = self._read(
                await self._channel.exchange(0, b"", reader.ranges(job.registers)), job.registers
            )
        self._note_damage(answer)
        return answer

    def _read(self, raw: bytes, registers: tuple[int, ...]) -> Answer:
        assert self._reader is not None
        there = self._reader.look_at_front(raw)
        if there is None or there.incarnation != self._admission.presence.incarnation:
            if there is not None:
                self._duplicate(there)
            raise FileTrouble("the mark of this run is gone from it: was it restored from a copy?")
        self.header = self._reader.header
        self._looked_at = asyncio.get_running_loop().time()
        return self._reader.views(raw, registers)

    def _may_be_displaced(self) -> bool:
        """Say whether another run could have begun, and stopped waiting for us, since we last looked."""
        return asyncio.get_running_loop().time() - self._looked_at > self._admission.grace / 2

    def _note_damage(self, answer: Answer) -> None:
        self.damage = ""
        for register, view in answer.items():
            if isinstance(view, DamagedRegister):
                self.damage = f"register {register}: {view}; it does not count there"
                self._say_once(self.damage)

    def _overdue(self, job: Job) -> None:
        """The deadline passed while the file was busy with ``job``: what was written does not count, ever."""
        job.fail(FileTrouble("it did not answer in time"))
        self._complain("it does not answer")

    def _fail(self, error: Exception) -> None:
        self.refused = isinstance(error, Refused | NotAVotingFile) or (
            isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        )
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            text = f"an earlier process of node {self._admission.presence.node} has not let go of it yet"
        else:
            text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self._complain(text)

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            LOG.warning("voting file %s: %s", self.path, trouble)
        self.trouble = trouble

    def _well(self) -> None:
        if self.trouble:
            LOG.info("voting file %s: in use", self.path)
        self.trouble, self.refused = "", False

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            LOG.warning("voting file %s: %s", self.path, text)

    def _lock(self) -> str:
        identity = f"{self.path}\0{self._admission.presence.node}"
        return "haagent/voting-file/" + hashlib.sha256(identity.encode()).hexdigest()[:32]


class _LateError(Exception):
    """The answer came after its deadline."""
