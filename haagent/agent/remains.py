"""What a run of this node leaves on the host: taken over by the next worker, swept by the next run, gone after a stop.

Promises:

* Only a worker that replaces a dead one of the same run takes anything over, and only claims whose gate is still open.
  It passes for no longer than this worker's own lease from here on: that is what the next record tells the others to wait.
  The other claims' gates are closed and their addresses and routes removed before the core hears of anything.
* After ``remove`` nothing of ours is left: addresses go while the gate is closed, and the gate goes last.

Decides nothing about claims: whether what was taken over may be used is for the core.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.agent")


class Remains:
    """What is left on the host of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def resumable(self) -> tuple[tuple[str, int], ...]:
        """Return the claims, and their epochs, that the gate of the worker before us still has open.

        A deadline counted from a longer lease, which the file has not any more, is brought down. Raises EffectError.
        """
        worker = self._worker
        if not worker.run.resumed:
            return ()
        adopted, boot = worker.gate.adopt(), worker.clock.read().boot
        if adopted.deadline <= boot:
            return ()
        latest = boot + worker.timing.lease - worker.timing.guard
        if adopted.deadline > latest:
            worker.gate.extend(latest)
        return tuple(adopted.epochs.items())

    def sweep(self) -> None:
        """Close and remove what is there of claims that are not resumed."""
        worker = self._worker
        resumed = {claim for claim, _ in worker.node.parameters.resume}
        groups = [group for group in worker.node.groups.values() if group.name in resumed]
        worker.routes.sweep(keep=[member.name for group in groups for member in group.members])
        if not resumed:
            left = worker.addresses.sweep()
            if left:
                LOG.info("removed addresses left by an earlier run: %s", ", ".join(left))
        for group in worker.node.groups.values():
            if group.name not in resumed:
                worker.gate.close(group.name)
                for member in group.members:
                    worker.addresses.remove(member.name)

    def remove(self) -> None:
        """Close, remove, and only then take the gate away."""
        worker = self._worker
        worker.gate.close_all()
        worker.routes.close()
        left = worker.addresses.sweep()
        if left:
            LOG.warning("removed addresses that were still there: %s", ", ".join(left))
        worker.addresses.remove_interfaces()
        worker.accept_filter.close()
        worker.settings.close()
        worker.gate.remove()
