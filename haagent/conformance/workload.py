"""Clients that contend for a few registers, as nodes do and much faster, so that there is a history to judge.

Promises to end when the wanted number of operations was made or the time is over, whatever the arbiter answers;
every error of the contract is part of the run, any other one ends it. A swap after an unknown outcome builds on
what a read shows, as the core does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from uuid import uuid4

from haagent.arbiter import Arbiter, ArbiterError, Conflict, Record
from haagent.conformance.history import History, RecordingArbiter

READS = 0.3  # of all operations
PAUSE_AFTER_FAILURE = 0.01  # seconds

_serial = count()


def unique(**content: object) -> bytes:
    """Return a value as haagent writes them: small JSON, different every time."""
    return json.dumps({"serial": next(_serial), "nonce": uuid4().hex, **content}).encode()


@dataclass(slots=True)
class Workload:
    """``operations`` calls in all, by one client per arbiter, on ``registers``; each call has ``timeout`` seconds.

    The seed decides what the clients ask, not how their calls interleave.
    Running it again, after raising ``operations``, goes on in the same history.
    """

    operations: int
    seed: int = 0
    registers: tuple[str, ...] = ("claims/one", "claims/two", "sessions/a")
    timeout: float = 1.0
    history: History = field(default_factory=History)
    failures: int = 0
    _until: float = float("inf")

    async def run(self, arbiters: Sequence[Arbiter], seconds: float = float("inf")) -> History:
        """Make the operations, or as many as ``seconds`` allow; return everything recorded."""
        self._until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as clients:
            for number, arbiter in enumerate(arbiters):
                seed = self.seed * 1000 + number
                recording = RecordingArbiter(arbiter, self.history, f"client {number + 1}")
                clients.create_task(self._client(recording, random.Random(seed)))  # noqa: S311 - repeatable
        return self.history

    @property
    def over(self) -> bool:
        """Say whether enough was done."""
        return len(self.history) >= self.operations or time.monotonic() >= self._until

    async def _client(self, arbiter: RecordingArbiter, choice: random.Random) -> None:
        known: dict[str, Record | None] = {}
        while not self.over:
            name = choice.choice(self.registers)
            try:
                if name not in known or choice.random() < READS:
                    known[name] = await arbiter.read(name, timeout=self.timeout)
                else:
                    value = unique()
                    expected = known.pop(name)
                    known[name] = Record(
                        value, await arbiter.swap(name, value, expected, timeout=self.timeout)
                    )
            except Conflict:
                await asyncio.sleep(0)
            except ArbiterError:
                self.failures += 1
                with contextlib.suppress(KeyError):
                    del known[name]
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
