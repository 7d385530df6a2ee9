"""The gate's calls of one worker, and what follows when the host refuses one.

Promises:

* A gate that was put back closed, or that could not be extended or opened, is told to the core: it proves its claims and
  opens again. Until then nothing passes, or only what passed before, to the old deadline.
* A claim whose gate cannot be closed is not let go of, and nothing goes on with a gate that does not guard what it should:
  then the worker ends, nobody renews, and the gate runs out with its deadline.

Decides nothing about claims.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from haagent.agent.parameters import guards
from haagent.config.model import Configuration
from haagent.core.actions import CloseGate, ExtendGate, OpenGate
from haagent.core.events import GateLost
from haagent.effects.clock import Reading
from haagent.errors import EffectError

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.agent")


class Gatekeeper:
    """Works the gate of one worker. Every EffectError that it raises is to end the worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def perform(self, action: ExtendGate | OpenGate | CloseGate, reading: Reading) -> None:
        """Do what the core asks."""
        gate = self._worker.gate
        try:
            match action:
                case ExtendGate(until):
                    gate.extend(max(0, reading.boottime(until)) if until else 0)
                case OpenGate(claim, epoch):
                    gate.open(claim, epoch)
                case CloseGate(claim):
                    gate.close(claim)
        except EffectError as error:
            if isinstance(action, CloseGate):
                gate.close(action.claim)  # or go no further: next the address goes, and the claim is released
            self.lost(error)

    def guard(self, configuration: Configuration) -> None:
        """Have the gate guard what ``configuration`` has; one that was put back closed takes it at the second attempt."""
        guarded = guards(configuration)
        try:
            self._worker.gate.reconfigure(guarded)
        except EffectError as error:
            self._worker.gate.reconfigure(guarded)
            self.lost(error)

    def lost(self, error: EffectError) -> None:
        """Have the core prove the claims and open again, in a turn of its own."""
        LOG.error("gate: %s", error)
        self._worker.loop.call_soon(self._worker.deliver, GateLost(f"the gate was lost: {error}"))
