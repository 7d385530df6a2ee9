"""The arbiters a quorum is made of: opened in the background, each on its own, and watched for failures.

Promises that a member that cannot be opened, hangs, or refuses us costs its own vote and nothing else, and that
the log says when a member stops and begins to answer, and when one that forgot stores everything again. Every error
names the member.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from importlib import metadata
from typing import TypeVar

from haagent.arbiter import (
    Arbiter,
    ArbiterError,
    ArbiterOptions,
    Conflict,
    Misconfigured,
    OpenArbiter,
    Record,
    Unavailable,
)

LOG = logging.getLogger("haagent.arbiters.quorum")
GROUP = "haagent.arbiters"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to open a member, or to follow its changes
SILENCE = 5  # failures in a row until the log says that a member does not answer

Answer = TypeVar("Answer")


class Member:
    """One arbiter of the quorum. ``label`` is how errors call it."""

    def __init__(self, label: str, open_arbiter: OpenArbiter, options: ArbiterOptions) -> None:
        self.label = label
        self._open_arbiter, self._options = open_arbiter, options
        self._arbiter: Arbiter | None = None
        self._ready = asyncio.Event()
        self._error: ArbiterError = Unavailable(f"{label}: not opened yet")
        self._failures = 0
        self._complained = False
        self.owed: set[str] = set()  # what it forgot, or may have, and is not known to store again
        self._opening = asyncio.create_task(self._open(), name=f"quorum-open-{label}")

    @property
    def error(self) -> ArbiterError | None:
        """Why the last call failed; None if it did not."""
        return self._error if self._failures or self._arbiter is None else None

    async def read(self, name: str, timeout: float) -> Record | None:
        """Return what the member's own register holds. Raises ArbiterError within ``timeout`` seconds."""
        return await self._call(lambda arbiter, left: arbiter.read(name, timeout=left), timeout)

    async def swap(self, name: str, value: bytes, expected: Record | None, timeout: float) -> str:
        """Swap the member's own register. Raises ArbiterError within ``timeout`` seconds."""
        return await self._call(
            lambda arbiter, left: arbiter.swap(name, value, expected, timeout=left), timeout
        )

    async def changes(self) -> AsyncGenerator[tuple[str, Record | None], None]:
        """Yield the member's changes for good, asking again whenever they end."""
        pause = FIRST_PAUSE
        while True:
            await self._ready.wait()
            with contextlib.suppress(Exception):  # hints only; what is wrong is found out by the next swap
                if self._arbiter is not None:
                    async for change in self._arbiter.changes():
                        pause = FIRST_PAUSE
                        yield change
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def forgot(self, names: Iterable[str]) -> None:
        """Take note that the member lost a register; ``names`` are all that it may have lost."""
        if not self.owed:
            LOG.warning("%s lacks registers that others store; it is told them again", self.label)
        self.owed.update(names)

    def stores(self, name: str) -> None:
        """Take note that the member has a vote on register ``name``."""
        if name in self.owed:
            self.owed.remove(name)
            if not self.owed:
                LOG.warning("%s stores every register again", self.label)

    async def aclose(self) -> None:
        """Close the member. Idempotent."""
        self._opening.cancel()
        await asyncio.gather(self._opening, return_exceptions=True)
        arbiter, self._arbiter = self._arbiter, None
        self._error = Unavailable("this arbiter is closed")
        if arbiter is not None:
            await arbiter.aclose()

    async def _open(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                self._arbiter = await self._open_arbiter(self._options)
            except Exception as error:  # whatever a third party's plugin raises
                self._note(_named(self.label, error), certain=True)
            else:
                self._ready.set()
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _call(self, ask: Callable[[Arbiter, float], Awaitable[Answer]], timeout: float) -> Answer:
        if self._arbiter is None and not self._complained and not self._opening.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout / 2):
                    await self._ready.wait()
        if self._arbiter is None:
            raise self._error
        try:
            answer = await ask(self._arbiter, timeout)
        except Conflict:
            self._note(None)
            raise
        except Exception as error:  # a plugin's bug says nothing about the write either
            named = _named(self.label, error)
            self._note(named, certain=isinstance(named, Misconfigured))
            raise named from error
        self._note(None)
        return answer

    def _note(self, error: ArbiterError | None, *, certain: bool = False) -> None:
        """Keep count, and tell the log about the first and the last of many failures."""
        if error is None:
            if self._complained:
                LOG.warning("%s answers again", self.label)
            self._failures, self._complained = 0, False
            return
        self._error, self._failures = error, self._failures + 1
        if not self._complained and (certain or self._failures >= SILENCE):
            LOG.warning("%s has no vote: %s", self.label, error)
            self._complained = True


def _named(label: str, error: BaseException) -> ArbiterError:
    """Return ``error`` as one of ours, beginning with the member it comes from."""
    if isinstance(error, Misconfigured):
        return Misconfigured(f"{label}: {error}")
    text = str(error) if isinstance(error, ArbiterError) else f"{type(error).__name__}: {error}"
    return Unavailable(f"{label}: {text}")


def load(kind: str) -> OpenArbiter:
    """Return the opening function of the installed arbiter ``kind``. Raises Misconfigured if there is not exactly one."""
    found = list(metadata.entry_points(group=GROUP, name=kind))
    if len(found) != 1:
        raise Misconfigured(f"arbiter quorum: {len(found) or 'no'} arbiters named {kind} are installed")
    try:
        opening: OpenArbiter = found[0].load()
    except Exception as error:  # whatever a third party's module raises while it is imported
        raise Misconfigured(f"arbiter quorum: arbiter {kind} cannot be loaded: {error}") from error
    return opening


def open_members(members: Sequence[tuple[str, ArbiterOptions]]) -> list[Member]:
    """Return the members, opening. Raises Misconfigured for those that cannot work together."""
    if any(kind == "quorum" for kind, _ in members):
        raise Misconfigured("arbiter quorum: a quorum cannot be a member of a quorum")
    if len(set(map(repr, members))) != len(members):
        raise Misconfigured("arbiter quorum: one arbiter is named twice, and would vote twice")
    loaded = [(load(kind), kind, options) for kind, options in members]
    return [
        Member(f"member {number} ({kind})", opening, options)
        for number, (opening, kind, options) in enumerate(loaded, start=1)
    ]
