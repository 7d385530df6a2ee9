"""Runs the arbiter: reads and swaps are started at once and answered by exactly one event each.

Promises never to block, to answer every request within about its timeout once it was sent, and to turn every
error of a plugin, also an unforeseen one, into ``RegisterUnavailable`` unless it is a definite conflict. The
renewal of this node's session never waits behind other requests. Repeats no request: what an unknown outcome
means is the core's business. A plugin that is misconfigured is told about once, and asked again ever more rarely: about
the registers that it refused, for what it has against one of them must not cost the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import tenacity

from haagent.arbiter import (
    Arbiter,
    ArbiterError,
    ArbiterOptions,
    Conflict,
    Misconfigured,
    OpenArbiter,
    Record,
)
from haagent.config.model import ArbiterConfig
from haagent.core.actions import ReadRegister, SwapRegister
from haagent.core.events import (
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
)
from haagent.core.reports import Noticed, Report
from haagent.core.units import MICROSECOND, MILLISECOND, Duration, Instant, to_seconds

Request: TypeAlias = ReadRegister | SwapRegister
Answer: TypeAlias = RegisterRead | RegisterSwapped | RegisterConflicted | RegisterUnavailable
ArbitrationEvent: TypeAlias = Answer | RegisterChanged

SHORTEST_TIMEOUT = 50 * MILLISECOND
IN_FLIGHT = 32  # requests besides the session's; more only make each of them slower
OVERRUN = 0.05  # seconds a plugin may be late before it is cut off
QUICKEST_FAILURE = 0.02  # seconds; a core that asks again on failure must not spin
OPEN_TIMEOUT, CLOSE_TIMEOUT = 10.0, 2.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to open, or to follow changes
FIRST_REFUSAL, LONGEST_REFUSAL = 0.5, 30.0  # seconds a misconfigured arbiter is left alone
EWMA_WEIGHT = 0.1
_OPENING, _CHANGES = "", "changes"  # what can be refused besides registers, whose names have a slash


@dataclass(frozen=True, slots=True)
class Latency:
    """How long definite answers took, as Durations; ``average`` is exponentially weighted."""

    count: int = 0
    last: Duration = 0
    average: Duration = 0
    longest: Duration = 0

    def after(self, took: Duration) -> Latency:
        """Return the statistics with one more answer."""
        average = took if not self.count else round(self.average + EWMA_WEIGHT * (took - self.average))
        return Latency(self.count + 1, took, average, max(self.longest, took))


@dataclass(frozen=True, slots=True)
class ArbitrationStatus:
    """What status shows. ``available`` says whether the last request was answered; ``error`` why not.

    ``answered`` is when one last was, on CLOCK_BOOTTIME; None: never.
    """

    opened: bool = False
    available: bool = False
    error: str = ""
    answered: Instant | None = None
    swaps: Latency = field(default_factory=Latency)
    reads: Latency = field(default_factory=Latency)
    in_flight: int = 0
    waiting: int = 0


@dataclass(slots=True)
class _Refusal:
    """Why one thing is refused, until when it is not asked for again (loop time), and the pause after the next time."""

    error: str
    until: float
    pause: float


class _Refusals:
    """What a misconfigured arbiter refuses, by register, or by ``_OPENING`` and ``_CHANGES``; and what its operator knows."""

    def __init__(self) -> None:
        self._refused: dict[str, _Refusal] = {}

    def standing(self, name: str, now: float) -> str:
        """Return why it is too early to ask for ``name`` again, empty if it is not."""
        refusal = self._refused.get(name)
        return refusal.error if refusal is not None and now < refusal.until else ""

    def note(self, name: str, error: str, now: float) -> bool:
        """Take note of one more refusal; return whether it is news. Those of one burst count once."""
        news = all(error != refusal.error for refusal in self._refused.values())
        refusal = self._refused.setdefault(name, _Refusal(error, now, FIRST_REFUSAL))
        refusal.error = error
        if now >= refusal.until:
            refusal.until, refusal.pause = now + refusal.pause, min(2 * refusal.pause, LONGEST_REFUSAL)
        return news

    def forget(self, name: str) -> None:
        """Take note that the arbiter answered."""
        self._refused.pop(name, None)


def arbiter_options(config: ArbiterConfig, node: str, lease: Duration, keep: Duration) -> ArbiterOptions:
    """Return what the plugin is given for ``config``, on ``node``; a silent session's record stays for ``keep``."""
    members = tuple((member.kind, arbiter_options(member, node, lease, keep)) for member in config.members)
    return ArbiterOptions(
        config.endpoints,
        config.domain,
        node,
        to_seconds(lease),
        dict(config.settings),
        members,
        to_seconds(keep),
    )


class Arbitration:
    """One node's arbiter, opened in the background and kept for the life of the agent.

    ``timeout`` bounds each call and should be the renewal interval. ``deliver`` gets one answer per request,
    never before ``perform`` has returned, and hints whenever they come; ``tell`` gets what the operator must know.
    """

    def __init__(
        self,
        open_arbiter: OpenArbiter,
        options: ArbiterOptions,
        *,
        timeout: Duration,
        deliver: Callable[[ArbitrationEvent], object],
        tell: Callable[[Report], object],
    ) -> None:
        self._open_arbiter, self._options = open_arbiter, options
        self.bound_calls(timeout)
        self._deliver, self._tell = deliver, tell
        self._session = f"sessions/{options.node}"
        self._arbiter: Arbiter | None = None
        self._error = "not opened yet"
        self._refusals = _Refusals()
        self._away = False  # a request got no answer, and none after it did
        self._returned = asyncio.Event()  # it answers again: its changes are worth asking for at once
        self._status = ArbitrationStatus()
        self._waiting: deque[Request] = deque()
        self._in_flight: list[Request] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def bound_calls(self, timeout: Duration) -> None:
        """Let each call take at most ``timeout`` from now on."""
        self._timeout = to_seconds(max(timeout, SHORTEST_TIMEOUT))

    def start(self) -> None:
        """Open the arbiter and follow its changes, in the background of the running event loop."""
        self._spawn(self._run())

    def perform(self, request: Request) -> None:
        """Start ``request``, or queue it when many are under way. Answers later, by one event."""
        if self._closed:
            return
        if request.name == self._session or len(self._in_flight) < IN_FLIGHT:
            self._launch(request)
        else:
            self._waiting.append(request)

    def status(self) -> ArbitrationStatus:
        """Return how the arbiter has been doing."""
        opened = self._arbiter is not None
        return replace(
            self._status,
            opened=opened,
            available=opened and not self._error,
            error=self._error,
            in_flight=len(self._in_flight),
            waiting=len(self._waiting),
        )

    def retire(self) -> None:
        """Close in the background, for another one takes over: of what is under way or waits, nothing is known."""
        unanswered = (*self._in_flight, *self._waiting)
        self._closed = True
        loop = asyncio.get_running_loop()
        for request in unanswered:
            loop.call_soon(self._deliver, _unavailable(request, "the configuration has another arbiter now"))
        self._closing = loop.create_task(self.aclose())

    async def aclose(self) -> None:
        """Abandon what is under way, without answers, and close the arbiter. Idempotent."""
        self._closed = True
        self._waiting.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        arbiter, self._arbiter = self._arbiter, None
        if arbiter is not None:
            await _close(arbiter)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _launch(self, request: Request) -> None:
        self._in_flight.append(request)
        self._spawn(self._serve(request))

    async def _serve(self, request: Request) -> None:
        """Answer one request, then start what waited for its place."""
        try:
            answer = await self._answer(request)
        finally:
            self._in_flight.remove(request)
        if self._closed:
            return
        self._deliver(answer)
        refused = self._refusals.standing(request.name, asyncio.get_running_loop().time())
        if isinstance(answer, RegisterUnavailable) and not refused:
            self._give_up_waiting(answer.error)
        while self._waiting and len(self._in_flight) < IN_FLIGHT:
            self._launch(self._waiting.popleft())

    def _give_up_waiting(self, error: str) -> None:
        """Answer those in the queue like the one before them: else they would each wait out a timeout in turn."""
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            self._deliver(_unavailable(request, f"not sent: {error}"))

    async def _answer(self, request: Request) -> Answer:
        """Return the event that answers ``request``."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            return await self._ask(request)
        except Conflict:
            self._note_answer(request, begun)
            return RegisterConflicted(request.name)
        except (
            Exception,
            asyncio.CancelledError,
        ) as error:  # a plugin's bug says nothing about the write either
            if self._closed:
                raise
            self._away = True
            self._note_failure(error, request.name)
            await asyncio.sleep(QUICKEST_FAILURE - (loop.time() - begun))
            return _unavailable(request, _describe(error))

    async def _ask(self, request: Request) -> Answer:
        """Put ``request`` to the arbiter. Raises what the arbiter raises, or why it was not asked."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if self._arbiter is None:
            raise _NotAskedError(self._error)
        if refusal := self._refusals.standing(request.name, begun):
            raise _NotAskedError(refusal)
        async with asyncio.timeout(self._timeout + OVERRUN):
            if isinstance(request, ReadRegister):
                record = await self._arbiter.read(request.name, timeout=self._timeout)
                self._note_answer(request, begun)
                return RegisterRead(request.name, record)
            version = await self._arbiter.swap(
                request.name, request.value, request.expected, timeout=self._timeout
            )
        self._note_answer(request, begun)
        return RegisterSwapped(request.name, Record(request.value, version))

    def _note_answer(self, request: Request, begun: float) -> None:
        took = round((asyncio.get_running_loop().time() - begun) * 1_000_000) * MICROSECOND
        answered = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if isinstance(request, ReadRegister):
            self._status = replace(self._status, answered=answered, reads=self._status.reads.after(took))
        else:
            self._status = replace(self._status, answered=answered, swaps=self._status.swaps.after(took))
        if self._away:
            self._away = False
            self._returned.set()
        self._error = ""
        self._refusals.forget(request.name)

    def _note_failure(self, error: BaseException, asked: str) -> None:
        """Remember the error for status; tell the operator when it is one that only the operator can mend."""
        if isinstance(error, _NotAskedError):
            return
        self._error = _describe(error)
        if isinstance(error, Misconfigured) and self._refusals.note(
            asked, self._error, asyncio.get_running_loop().time()
        ):
            self._tell(Noticed("arbiter", "misconfigured", self._error))

    async def _run(self) -> None:
        """Open the arbiter, however long it takes, then follow its changes for good."""
        opening = tenacity.AsyncRetrying(
            wait=self._pause_after, retry=tenacity.retry_if_exception_type(Exception)
        )
        arbiter: Arbiter = await opening(self._open)
        self._arbiter = arbiter
        self._error = ""
        self._refusals.forget(_OPENING)
        await self._follow(arbiter)

    async def _open(self) -> Arbiter:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                return await self._open_arbiter(self._options)
        except Exception as error:
            self._note_failure(error, _OPENING)
            raise

    @staticmethod
    def _pause_after(attempt: tenacity.RetryCallState) -> float:
        """Return how many seconds to wait after a failed opening: doubling, and long if only people can help."""
        error = attempt.outcome.exception() if attempt.outcome is not None else None
        if isinstance(error, Misconfigured):
            return LONGEST_REFUSAL
        return min(FIRST_PAUSE * 2.0 ** min(attempt.attempt_number - 1, 10), LONGEST_PAUSE)

    async def _follow(self, arbiter: Arbiter) -> None:
        """Deliver changes, and ask for them again whenever they end: less eagerly each time they end at once."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            begun = loop.time()
            try:
                await self._deliver_changes(arbiter)
            except (
                Exception
            ) as error:  # hints only: swaps say what is wrong, but a misconfiguration is worth telling
                if isinstance(error, Misconfigured):
                    self._note_failure(error, _CHANGES)
            pause = FIRST_PAUSE if loop.time() - begun > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            await self._wait_for_return(pause)

    async def _wait_for_return(self, pause: float) -> None:
        """Sleep for ``pause`` seconds, or until the arbiter answers after it did not: who bids waits for such news."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._returned.wait()
        self._returned.clear()

    async def _deliver_changes(self, arbiter: Arbiter) -> None:
        changes = arbiter.changes()
        try:
            async for name, record in changes:
                self._refusals.forget(_CHANGES)
                self._deliver(RegisterChanged(name, record))
        finally:
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()


class _NotAskedError(ArbiterError):
    """The arbiter was not asked: it is not open yet, or it is being left alone."""


def _unavailable(request: Request, error: str) -> RegisterUnavailable:
    return RegisterUnavailable(request.name, isinstance(request, SwapRegister), error)


def _describe(error: BaseException) -> str:
    """Return an arbiter's own words, and for anything else also what it is."""
    if isinstance(error, TimeoutError):
        return "the arbiter overran its timeout and was cut off"
    return (
        str(error) if isinstance(error, ArbiterError) and str(error) else f"{type(error).__name__}: {error}"
    )


async def _close(arbiter: Arbiter) -> None:
    """Close a plugin that may be broken, in bounded time."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await arbiter.aclose()
