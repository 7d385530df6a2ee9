"""A clock that moves only when told to."""

from __future__ import annotations

from haagent.core.units import SECOND, Duration, Now

START = Now(1_000 * SECOND, 1_000 * SECOND)


class ManualClock:
    """Gives the pair of readings the core decides with. Starts well above zero, as real clocks do."""

    def __init__(self, start: Now = START) -> None:
        self._now = start

    def now(self) -> Now:
        """Return the current reading."""
        return self._now

    def advance(self, fast: Duration, slow: Duration | None = None) -> Now:
        """Move on by ``fast``, the ``slow`` timeline by ``slow`` (default: as much), and return the reading.

        Raises ValueError where a real clock could not go: backwards, or slow faster than fast.
        """
        slow = fast if slow is None else slow
        if not 0 <= slow <= fast:
            raise ValueError(f"a clock cannot advance by fast={fast} slow={slow}")
        self._now = Now(self._now.fast + fast, self._now.slow + slow)
        return self._now

    def advance_to(self, fast: Duration) -> Now:
        """Move on until the ``fast`` timeline reads ``fast``, both at the same rate; never backwards."""
        return self.advance(max(0, fast - self._now.fast))
