"""Looks at something again and again in a thread of its own, and tells the event loop what changed.

Promises:

* The event loop never waits for a look: a hung file server keeps the thread, not the agent.
* **Fail closed.** A look that raises, or that does not come back within ``HANGS_AFTER``, is a failed one: ``report``
  gets the reason as text. It is told again when looking works again.
* ``report`` is called in the event loop's thread, in the order of the looks, and only when the answer is another one.
* A failure counts from the second failed look in a row, except the first of all: whoever rewrites a file may truncate
  it first.

May not know what the answers mean.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
HANGS_AFTER = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a look failed."""

    reason: str


class LookError(Exception):
    """Raised by ``look`` when there is no answer; the text is the reason."""


class Poller(Generic[T]):
    """One thing looked at every ``interval`` seconds. All methods belong to the event loop's thread."""

    def __init__(
        self, name: str, look: Callable[[], T], interval: float, report: Callable[[T | Failure], None]
    ) -> None:
        self._name, self._look, self._interval, self._report = name, look, interval, report
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._last: T | Failure | None = None
        self._looked = time.monotonic()
        self._hung = False
        self._watchdog = self._loop.call_later(HANGS_AFTER, self._check)
        threading.Thread(target=self._run, name=f"haagent-{name}", daemon=True).start()

    def close(self) -> None:
        """Stop looking; a look under way is not waited for and reports nothing."""
        self._stop.set()
        self._watchdog.cancel()

    def _run(self) -> None:
        """Look until told to stop (in the thread)."""
        failed, told = 0, None
        while not self._stop.is_set():
            answer = self._answer()
            self._looked = time.monotonic()
            failed = failed + 1 if isinstance(answer, Failure) else 0
            settled = failed != 1 or told is None
            if settled and answer != told:
                told = answer
                self._post(answer)
            self._stop.wait(self._interval)

    def _answer(self) -> T | Failure:
        try:
            return self._look()
        except (LookError, OSError) as error:
            return Failure(str(error))
        except Exception as error:
            return Failure(f"{type(error).__name__}: {error}")

    def _post(self, answer: T | Failure) -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, answer)
        except RuntimeError:
            self._stop.set()  # the loop has ended meanwhile

    def _take(self, answer: T | Failure) -> None:
        if not self._stop.is_set():
            self._last = answer
            self._report(answer)

    def _check(self) -> None:
        """Report a look that does not come back; take that back when it does."""
        silent = time.monotonic() - self._looked > HANGS_AFTER + self._interval
        hung = Failure(f"no answer for {HANGS_AFTER:g} s: a file server hangs")
        if silent and not self._hung:
            self._hung = True
            self._report(hung)
        elif not silent and self._hung:
            self._hung = False
            if self._last is not None:
                self._report(self._last)
        self._watchdog = self._loop.call_later(HANGS_AFTER / 3, self._check)
