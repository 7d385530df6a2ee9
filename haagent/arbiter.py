"""What an arbiter is: a set of linearizable compare-and-swap registers outside the pair.

This is the only module of haagent a plugin imports. A plugin maps one store to ``Arbiter`` and one opening
function to the entry-point group ``haagent.arbiters``; it contains no timing, no retries and no election::

    [project.entry-points."haagent.arbiters"]
    mystore = "mypackage:open_arbiter"

What haagent relies on:

* A *successful* ``swap`` is linearizable: it took effect at one instant between its call and its return, the
  register held exactly ``expected`` just before, and no two swaps succeed on the same record.
* Reads and ``changes`` may be stale, late or missing. They are hints; safety never rests on their freshness. But
  what they show was decided: never a value whose swap may still turn out not to have happened.
* Every failure is one of three. ``Conflict``: the register did not hold ``expected`` and does not hold
  ``value``. ``Misconfigured``: no retry will help. ``Unavailable``: *nothing is known*, the write may or may
  not have happened, now or later. Anything unclassified is Unavailable.
* Values written by haagent are unique per write. So an arbiter that sends a swap twice (a hedge, a retry
  inside one call) and finds the register holding exactly ``value`` reports success.
* Versions may repeat after a store was wiped or restored; where the store can, compare value *and* version.

Registers are named ``sessions/<node>`` and ``claims/<name>``, under a domain that belongs to one cluster of
nodes. Values are small JSON texts (under 4 KiB), readable with the store's own tools.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from haagent.core.register import Record

__all__ = [
    "ENDS_BY_ITSELF",
    "Arbiter",
    "ArbiterError",
    "ArbiterOptions",
    "Conflict",
    "Erasable",
    "Misconfigured",
    "OpenArbiter",
    "Record",
    "Unavailable",
]

# In the environment of a plugin's process, with any value: it ends by itself when the agent is gone, and must not be
# killed before, for what it was asked to write would outlive it.
ENDS_BY_ITSELF = "HAAGENT_ENDS_BY_ITSELF"


class ArbiterError(Exception):
    """The root of what an arbiter may raise."""


class Conflict(ArbiterError):  # noqa: N818 - what happened, in the contract's words
    """Somebody else wrote: the register does not hold ``expected``, and our write has not and will not happen."""


class Unavailable(ArbiterError):  # noqa: N818 - as above
    """Nothing is known: the operation may have happened, may yet happen, or may never happen."""


class Misconfigured(ArbiterError):  # noqa: N818 - as above
    """Trying again is pointless: wrong credentials, no permission, not a store of this kind. Says what to change."""


@runtime_checkable
class Arbiter(Protocol):
    """An open connection to the registers of one domain. Safe for concurrent calls from one event loop.

    Every call returns or raises within the ``timeout`` it is given (seconds); on the way it may try several
    endpoints, and a peer that swallows packets must not cost more than that one call. Cancelling a call
    leaves its outcome unknown and the arbiter usable.
    """

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds, or None if it is absent. May be stale. Raises ArbiterError."""

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` if the register holds ``expected`` (None: is absent); return the new version.

        Raises Conflict, Unavailable or Misconfigured, with the meanings above.
        """

    def changes(self) -> AsyncIterator[tuple[str, Record | None]]:
        """Yield (name, record) as registers change; None for a register that went away. May end or yield nothing.

        An iterator that ends or raises is asked for again after a pause by the caller.
        """

    async def aclose(self) -> None:
        """Close every connection and file. Does not release anything in the store. Idempotent."""


@runtime_checkable
class Erasable(Protocol):
    """What an arbiter may offer besides, for ``haagent arbiter check``. The agent never erases anything."""

    async def erase(self) -> None:
        """Remove every register of this domain from the store. Raises ArbiterError."""


@dataclass(frozen=True, slots=True)
class ArbiterOptions:
    """What ``open_arbiter`` is given: one ``arbiter`` block or URL, already split, secrets already read.

    ``endpoints`` are host:port texts or paths in the order given; ``domain`` names the cluster (no slashes);
    ``node`` is this node's name; ``lease`` is the lease in seconds: how quickly news is wanted.
    ``settings`` are the block's other words, for example ``{"username": "ha", "ca": "/path"}``.
    ``members`` are the kind and the options of each arbiter that an arbiter made of arbiters is made of.
    ``keep`` is how many seconds a store that collects the dead by itself must leave the record of a silent session; it
    may be hours where peers keep a session alive without the store's knowing. 0: the store judges by the lease alone.
    """

    endpoints: tuple[str, ...]
    domain: str
    node: str
    lease: float
    settings: Mapping[str, str]
    members: tuple[tuple[str, ArbiterOptions], ...] = ()
    keep: float = 0.0


class OpenArbiter(Protocol):
    """The entry point's type. Called inside the event loop; may raise Misconfigured at once, never blocks long."""

    async def __call__(self, options: ArbiterOptions) -> Arbiter: ...
