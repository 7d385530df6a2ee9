"""The simulation's dice: the draws of ``random.Random``, without what its general methods cost.

A seed must mean the same under every version of Python: ``getrandbits`` and ``random`` are what Python promises to
keep, and the rest is made of them here. The seed is a text, so that every purpose can have dice of its own.
"""

from __future__ import annotations

from random import Random


class Chance:
    """A source of randomness for one purpose."""

    def __init__(self, seed: str) -> None:
        random = Random(seed)
        self._bits, self._share = random.getrandbits, random.random

    def below(self, bound: int) -> int:
        """Return a whole number from 0 to ``bound`` - 1; ``bound`` is at least 1."""
        width = bound.bit_length()
        drawn = self._bits(width)
        while drawn >= bound:
            drawn = self._bits(width)
        return drawn

    def between(self, least: int, most: int) -> int:
        """Return a whole number from ``least`` to ``most``, both included."""
        return least + self.below(most - least + 1)

    def happens(self, chance: float) -> bool:
        """Tell whether something with this chance (0 to 1) happens now."""
        return self._share() < chance
