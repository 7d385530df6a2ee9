"""The flight recorder: every event with its time, in bounded files that survive a crash and can be replayed.

Promises: ``record`` costs one append to a bounded queue, whatever the disk does; encoding and writing happen in a
daemon thread. What was recorded reaches the file within about a second, at once after ``urgent``; identical
advertisements within ten seconds (see ``recording``). A recorder that cannot write drops, counts and logs that once.
It never stops the node and may not decide or change anything.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from haagent.core.actions import Action
from haagent.core.units import Now
from haagent.effects.encoding import Codec
from haagent.effects.recording import Entry, Writer

MEBIBYTE = 1 << 20
MOST_QUEUED = 10_000
FLUSH_AFTER = 1.0


class Recorder:
    """Records to ``path``, rotating at ``limit`` bytes. ``about`` begins every file and must be JSON.

    ``codec`` must know whatever ``PeerHeard.body`` carries, and what is recorded besides events of the core; what it
    does not know is noted as not recorded.
    """

    def __init__(
        self, path: str, about: Mapping[str, Any], codec: Codec | None = None, limit: int = 8 * MEBIBYTE
    ) -> None:
        self._queue: deque[Entry] = deque()
        self._number, self._dropped, self._closing = 0, 0, False
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._writer = Writer(path, about, codec or Codec(), limit)
        self._thread = threading.Thread(target=self._write_all, name="haagent-recorder", daemon=True)
        self._thread.start()

    def record(self, event: object, now: Now, actions: Sequence[Action] = ()) -> None:
        """Remember one event and what it caused. Never blocks, never raises."""
        self._number += 1
        if len(self._queue) >= MOST_QUEUED:
            self._dropped += 1
            return
        self._queue.append(Entry(self._number, now, event, tuple(actions)))
        if not self._wake.is_set():
            self._wake.set()

    def urgent(self) -> None:
        """Write what is queued and held back now: something important happened."""
        self._hurry.set()
        self._wake.set()

    @property
    def dropped(self) -> int:
        """How many events were not recorded because the disk was too slow or refused."""
        return self._dropped + self._writer.dropped

    def close(self, patience: float = 1.0) -> None:
        """Write what is left, waiting at most ``patience`` seconds for the disk. Idempotent."""
        self._closing = True
        self.urgent()
        self._thread.join(patience)

    def _write_all(self) -> None:
        while not self._closing:
            self._wake.wait(self._writer.patience())
            if self._queue:
                self._hurry.wait(FLUSH_AFTER)
            self._wake.clear()
            hurried = self._hurry.is_set()
            self._hurry.clear()
            self._writer.write(self._taken(), everything=hurried)
        self._writer.write(self._taken(), everything=True)
        self._writer.close()

    def _taken(self) -> Iterator[Entry]:
        for _ in range(len(self._queue)):
            yield self._queue.popleft()
