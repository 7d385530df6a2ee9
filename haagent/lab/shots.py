"""What a random campaign does and when, from a seed; pure.

Promises that a seed gives the same shots for ever, for every daemon, mode and number of nodes: a shot names its victim by
role ("the owner of that moment"), and whoever fires it finds the node.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from haagent.core.units import MILLISECOND, Duration

Role = Literal["owner", "other", "arbiter"]

# fault, role -> weight. What keepalived users fear most comes most often.
WEIGHTS: dict[tuple[str, Role], int] = {
    ("kill", "owner"): 4,
    ("freeze", "owner"): 5,
    ("stop", "owner"): 2,
    ("cut-vrrp", "owner"): 3,
    ("mute", "owner"): 2,
    ("deaf", "owner"): 2,
    ("partition", "owner"): 5,
    ("isolate", "owner"): 3,
    ("cut-lan", "owner"): 2,
    ("cut-arbiter", "owner"): 3,
    ("reset-arbiter", "owner"): 2,
    ("cut-mgmt", "owner"): 2,
    ("link-down", "owner"): 2,
    ("delete-address", "owner"): 2,
    ("lose-30", "owner"): 2,
    ("kill", "other"): 1,
    ("freeze", "other"): 1,
    ("mute", "other"): 1,
    ("deaf", "other"): 2,
    ("partition", "other"): 1,
    ("cut-arbiter", "other"): 1,
    ("freeze-arbiter-1", "arbiter"): 2,
    ("freeze-arbiter-all", "arbiter"): 3,
    ("kill-arbiter-1", "arbiter"): 1,
    ("kill-arbiter-2", "arbiter"): 2,
    ("kill-leader-loop", "arbiter"): 1,
    ("wipe-arbiter", "arbiter"): 1,
}
# What may happen to another node while the first fault lasts, in one shot of PAIRED.
SECONDS: tuple[str, ...] = ("cut-vrrp", "cut-arbiter", "cut-mgmt", "freeze", "kill", "deaf")
PAIRED = 8
HOLD: tuple[Duration, Duration] = (300 * MILLISECOND, 4000 * MILLISECOND)
REST: tuple[Duration, Duration] = (200 * MILLISECOND, 1000 * MILLISECOND)


@dataclass(frozen=True, slots=True)
class Shot:
    """One fault for ``hold``, healed, then ``rest``. ``pick`` chooses among several others; ``second`` hits one, too."""

    number: int
    fault: str
    role: Role
    pick: int
    hold: Duration
    rest: Duration
    second: str | None = None

    @property
    def label(self) -> str:
        """Return what is counted together in a report."""
        return f"{self.fault} {self.role}" + (f" + {self.second} other" if self.second else "")


def shots(seed: int, hold: tuple[Duration, Duration] = HOLD) -> Iterator[Shot]:
    """Yield the endless campaign of ``seed``; ``hold`` is the shortest and the longest time a fault lasts."""
    chance = random.Random(seed)
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    number = 0
    while True:
        number += 1
        fault, role = chance.choices(kinds, weights)[0]
        pick = chance.randrange(1 << 16)
        lasts, rests = _between(chance, hold), _between(chance, REST)
        paired, second = chance.randrange(PAIRED) == 0, chance.choice(SECONDS)
        # only with a fault of the owner: two faults of one node or of the arbiter would undo each other
        yield Shot(number, fault, role, pick, lasts, rests, second if paired and role == "owner" else None)


def _between(chance: random.Random, limits: tuple[Duration, Duration]) -> Duration:
    low, high = (limit // MILLISECOND for limit in limits)
    return chance.randint(low, high) * MILLISECOND
