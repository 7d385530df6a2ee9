"""Puts one question to the members of a cluster and returns the first definite answer.

Promises that a member which hangs costs ``hedge delay`` and not the whole call: when the preferred member has
not answered by then, the next one is asked as well. The member that answered is preferred from then on. Each
member is asked at most once per call; asking again later is the caller's business. Asking several members at
once is safe only for questions of which at most one can take effect, such as a compare-and-swap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from arbiters.failures import NotDone, Untrusted
from haagent.arbiter import ArbiterError, Conflict, Misconfigured, Unavailable


class Member(Protocol):
    """One server of a cluster, as asking it sees it; ``target`` is its host:port."""

    @property
    def target(self) -> str: ...

    def distrust(self) -> None:
        """Replace the connection: a call on it ended in silence."""


Answer = TypeVar("Answer")
Endpoint = TypeVar("Endpoint", bound=Member)
Question: TypeAlias = Callable[[Endpoint, float], Awaitable[Answer]]

SHORTEST_HEDGE = 0.030  # seconds; ten times the usual answer on one site
HEDGE_FACTOR = 2  # times the 95th percentile seen lately
SAMPLES = 64

# Failures after which it is certain that the member did nothing.
_DEFINITE = (Conflict, Misconfigured, NotDone)


class Rotation(Generic[Endpoint]):
    """The members in the order they were given, and which of them to ask first."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._preferred = 0
        self._latencies: deque[float] = deque(maxlen=SAMPLES)

    @property
    def preferred(self) -> Endpoint:
        """The member that gave the last answer."""
        return self.endpoints[self._preferred]

    def order(self) -> tuple[Endpoint, ...]:
        """Return all members, the preferred one first."""
        return self.endpoints[self._preferred :] + self.endpoints[: self._preferred]

    def hedge_delay(self, timeout: float) -> float:
        """Return how many seconds a member may take before the next one is asked too."""
        ranked = sorted(self._latencies)
        usual = ranked[len(ranked) * 95 // 100] if ranked else 0.0
        return min(max(SHORTEST_HEDGE, HEDGE_FACTOR * usual), timeout / (len(self.endpoints) + 1))

    def prefer(self, endpoint: Endpoint, latency: float) -> None:
        """Ask ``endpoint`` first from now on; it answered within ``latency`` seconds."""
        self._preferred = self.endpoints.index(endpoint)
        self._latencies.append(latency)

    async def ask(self, question: Question[Endpoint, Answer], timeout: float) -> Answer:
        """Return the first answer. Raises Conflict, Misconfigured or Unavailable within ``timeout`` seconds."""
        race = _Race(self, question, timeout)
        try:
            return await race.run()
        finally:
            await race.end()


class _Race(Generic[Endpoint, Answer]):
    """One question on its way to one or more members."""

    def __init__(
        self, rotation: Rotation[Endpoint], question: Question[Endpoint, Answer], timeout: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rotation, self._question = rotation, question
        self._timeout, self._deadline = timeout, self._loop.time() + timeout
        self._hedge_delay = rotation.hedge_delay(timeout)
        self._unasked = deque(rotation.order())
        self._running: dict[asyncio.Task[Answer], tuple[Endpoint, float]] = {}
        self._failures: list[ArbiterError] = []

    async def run(self) -> Answer:
        while True:
            if self._unasked:
                self._ask_next()
            if not self._running:
                raise self._verdict()
            wait = self._hedge_delay if self._unasked or self._refused else self._timeout
            done, _ = await asyncio.wait(
                self._running,
                timeout=max(0.0, min(wait, self._deadline - self._loop.time())),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                endpoint, asked_at = self._running.pop(task)
                if (failure := _failure(task)) is None:
                    self._rotation.prefer(endpoint, self._loop.time() - asked_at)
                    return task.result()
                self._note(failure)
            if self._loop.time() >= self._deadline or (not done and self._refused):
                raise self._verdict()

    async def end(self) -> None:
        """Abandon what is still running, and see that it has ended."""
        if self._loop.time() >= self._deadline:
            for endpoint, _ in self._running.values():
                endpoint.distrust()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    @property
    def _refused(self) -> bool:
        """A member gave an answer that no other member will change."""
        return any(isinstance(failure, (Conflict, Misconfigured)) for failure in self._failures)

    def _ask_next(self) -> None:
        endpoint = self._unasked.popleft()
        remaining = max(0.001, self._deadline - self._loop.time())
        task = asyncio.ensure_future(self._question(endpoint, remaining))
        self._running[task] = (endpoint, self._loop.time())

    def _note(self, failure: ArbiterError) -> None:
        self._failures.append(failure)
        if self._refused:
            self._unasked.clear()

    def _verdict(self) -> ArbiterError:
        """Return what the failures amount to.

        A Conflict says that our write did not and will not happen. So it counts only if no other attempt may
        have been the write that made the register differ, or may still come to life in a hung member.
        """
        for failure in self._failures:
            if isinstance(failure, Misconfigured):
                return failure
        certain = not self._running and all(isinstance(failure, _DEFINITE) for failure in self._failures)
        conflicts = [failure for failure in self._failures if isinstance(failure, Conflict)]
        if conflicts and certain:
            return conflicts[0]
        if not self._running and all(isinstance(failure, Untrusted) for failure in self._failures):
            return Misconfigured("; ".join(str(failure) for failure in self._failures))
        return Unavailable("; ".join(self._complaints()))

    def _complaints(self) -> list[str]:
        silent = [
            f"{endpoint.target}: no answer in {self._timeout:.3f} s" for endpoint, _ in self._running.values()
        ]
        return [str(failure) for failure in self._failures] + silent


def _failure(task: asyncio.Task[Answer]) -> ArbiterError | None:
    """Return why ``task`` has no answer. Anything unforeseen is Unavailable: it says nothing about the write."""
    if task.cancelled():
        return Unavailable("the call was cut off")
    error = task.exception()
    if error is None or isinstance(error, ArbiterError):
        return error
    return Unavailable(f"{type(error).__name__}: {error}")
