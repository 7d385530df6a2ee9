"""Lets a fact through once per interval and key, in bounded memory, whatever a network throws at it.

For what people are told about; never for what decides. The caller supplies the time (any monotonic seconds).
"""

from __future__ import annotations

from collections.abc import Hashable


class Throttle:
    """``admit`` answers True at most once per ``interval`` seconds and key, and ``burst`` times per interval in all."""

    def __init__(self, interval: float, burst: int = 64, keys: int = 1024) -> None:
        self._interval, self._burst, self._keys = interval, burst, keys
        self._admitted: dict[Hashable, float] = {}
        self._window = float("-inf")
        self._count = 0
        self.suppressed = 0

    def admit(self, key: Hashable, now: float) -> bool:
        """Return whether ``key`` may pass at ``now``; counts in ``suppressed`` if not."""
        last = self._admitted.get(key)
        if now - self._window >= self._interval:
            self._window, self._count = now, 0
        if (last is not None and now - last < self._interval) or self._count >= self._burst:
            self.suppressed += 1
            return False
        if len(self._admitted) >= self._keys:
            self._admitted.clear()  # forgetting lets a fact through early; the burst still holds
        self._admitted[key] = now
        self._count += 1
        return True
