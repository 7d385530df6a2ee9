"""Housekeeping: what a worker does every second whether anything happens or not, and the status snapshot.

Promises:

* The addresses' own lifetimes are renewed while the session lives, and only then.
* What somebody takes off our interfaces of the gate is put back within ``INSPECT_EVERY`` rounds. What no mending helps
  against is complained about once. A gate that had to be put back closed is opened again by the core, with proof.
* The service manager's watchdog, the check of the routes and the look for MASTERs without a claim get their turn in every
  round, so a loop that stands still feeds none of them.
* A snapshot follows a report within ``SOON``, however many come together, and is never older than ``INSPECT_EVERY``
  rounds. One that cannot be written is complained about once and stops nothing.

May not decide anything about VRRP, claims or leases, and opens no gate: it repairs the one there is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from haagent.agent.parameters import guards
from haagent.agent.reporting import status_document
from haagent.control.snapshot import snapshot_path, write_snapshot
from haagent.effects.gate import Tier
from haagent.errors import EffectError

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.agent")
PERIOD = 1.0  # seconds between renewals of address lifetimes
INSPECT_EVERY = 5  # rounds between looks at the gate, and snapshots if nothing happens
SOON = 0.1  # seconds from a report to the snapshot that shows it


class Housekeeping:
    """The housekeeping of one worker. All methods belong to the event loop's thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._next: asyncio.TimerHandle | None = None
        self._snapshot_due: asyncio.TimerHandle | None = None
        self._snapshot_failed = False
        self._unmendable: tuple[str, ...] = ()  # what the gate still complained about after the last mending
        self._rounds = 0

    def start(self) -> None:
        """Begin with a round now."""
        self._round()

    def close(self) -> None:
        """Do no more rounds, and write no snapshot that is due."""
        for handle in (self._next, self._snapshot_due):
            if handle is not None:
                handle.cancel()
        self._next = None

    def reported(self) -> None:
        """Have a snapshot show what was just reported; before ``start`` there is none to keep up to date."""
        if self._snapshot_due is None and self._next is not None:
            self._snapshot_due = self._worker.loop.call_later(SOON, self._write_snapshot)

    def _round(self) -> None:
        worker = self._worker
        now = worker.clock.read().now
        if worker.node.session.live(now):
            worker.addresses.refresh(worker.timing.address_lifetime)
        worker.unclaimed.look(worker.node, now)
        worker.routes.check()
        worker.service.watchdog()
        self._rounds += 1
        if self._rounds % INSPECT_EVERY == 0:
            self._mend_gate()
            self._write_snapshot()
        self._next = worker.loop.call_later(PERIOD, self._round)

    def _mend_gate(self) -> None:
        """Put back what somebody took off our interfaces. Raises EffectError if the host does not let us."""
        worker = self._worker
        problems = worker.gate.status().mendable
        if not problems or problems == self._unmendable or worker.gate.tier in (Tier.LIFETIME, Tier.OFF):
            self._unmendable = problems
            return
        LOG.warning("mending the gate: %s", "; ".join(problems))
        try:
            worker.gate.reconfigure(guards(worker.reloader.in_force()))
        except EffectError as error:
            if worker.gate.status().mendable == problems:
                raise
            worker.gatekeeper.lost(error)
        self._unmendable = worker.gate.status().mendable

    def _write_snapshot(self) -> None:
        if self._snapshot_due is not None:
            self._snapshot_due.cancel()
            self._snapshot_due = None
        try:
            write_snapshot(snapshot_path(self._worker.socket_path), status_document(self._worker))
        except OSError as error:
            if not self._snapshot_failed:
                LOG.warning(
                    "status snapshot not written: %s; who reads the file takes this agent for dead", error
                )
            self._snapshot_failed = True
        else:
            self._snapshot_failed = False
