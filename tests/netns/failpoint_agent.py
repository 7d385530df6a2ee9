"""``haagent`` that stops or kills itself at a named point: run this file in place of ``python -m haagent``.

The real agent, whose worker looks for an order at every step; while none waits, nothing differs from the product. A *point* is
something the agent does (``gate opened``, ``renewal``, ...) and a *moment* of it:

* ``before`` and ``after`` the action is performed: written to the kernel, put on the wire, handed to the arbiter's client;
* ``sent``: a moment later, when the client has sent it and the arbiter is likely to be busy with it;
* ``arrived``: its answer is there, the clock has not been read; ``timed``: the clock has been read, nothing is decided;
  ``decided``: everything is decided, nothing of it performed.

The order is one line of JSON in the file that the environment names: point, moment, the how manyeth time, and whether to
stop (SIGSTOP), kill (SIGKILL of the worker) or crash (SIGKILL of supervisor and worker). It is taken back when it is hit.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haagent.agent import worker
from haagent.agent.parameters import Run
from haagent.agent.sources import Sources
from haagent.agent.worker import Worker
from haagent.cli import main
from haagent.config.model import Configuration
from haagent.core.actions import (
    Action,
    Actions,
    AnnounceAddresses,
    CloseGate,
    ExtendGate,
    InstallAddresses,
    OpenGate,
    RemoveAddresses,
    SendAdvertisement,
    SendToPeer,
    SwapRegister,
)
from haagent.core.events import AddressesInstalled, AddressesRemoved, Event, PeerHeard, RegisterSwapped
from haagent.core.failsafe import PromiseReply, PromiseRequest
from haagent.core.node import Node
from haagent.core.records import SESSIONS, ClaimRecord, ClaimState, SessionRecord
from haagent.core.units import Now
from haagent.effects.clock import Reading

ORDER = "HAAGENT_FAILPOINT"
# Seconds from handing a swap over: longer than sending it takes, shorter than a sync to disk.
ON_THE_WAY = 0.0003


class Failpoint:
    """Carries out the order in ``path``; keeps count from the time the order was given."""

    def __init__(self, path: Path) -> None:
        self._path, self._hit = path, path.with_suffix(".hit")
        self._order, self._passed = "", 0

    def reached(self, point: str, moment: str) -> None:
        """Stop or die here if that is the order."""
        if not point or not self._path.exists():
            return
        text = self._path.read_text()
        if text != self._order:
            self._order, self._passed = text, 0
        order = json.loads(text)
        if (order["point"], order["moment"]) != (point, moment):
            return
        self._passed += 1
        if self._passed == order["nth"]:
            self._carry_out(order["act"])

    def _carry_out(self, act: str) -> None:
        self._path.unlink()
        written = self._hit.with_suffix(".new")
        written.write_text(json.dumps({"pid": os.getpid(), "at": time.monotonic_ns()}))
        written.rename(self._hit)
        if act == "crash":
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGSTOP if act == "stop" else signal.SIGKILL)


class Points:
    """Names what an agent does; remembers whether it is going up, for the first advertisement has a name of its own."""

    def __init__(self, node: str) -> None:
        self._node, self._rising = node, False

    def of_action(self, action: Action) -> str:
        """Return the point of an action, empty if it has none."""
        match action:
            case SwapRegister(name, value):
                return self._of_record(name, value)
            case SendAdvertisement(_, priority):
                return self._of_advertisement(priority)
            case AnnounceAddresses():
                return "announcement"
            case InstallAddresses():
                return "address added"
            case RemoveAddresses():
                return "address removed"
            case OpenGate():
                self._rising = True
                return "gate opened"
            case CloseGate():
                return "gate closed"
            case ExtendGate():
                return "deadline"
            case SendToPeer(_, PromiseRequest()):
                return "promise"
            case SendToPeer(_, PromiseReply()):
                return "grant"
        return ""

    def of_event(self, event: Event) -> str:
        """Return the point that an event answers, empty if it has none."""
        match event:
            case RegisterSwapped(name, record):
                return self._of_record(name, record.value)
            case AddressesInstalled():
                return "address added"
            case AddressesRemoved():
                return "address removed"
            case PeerHeard(_, PromiseReply()):
                return "promise"
            case PeerHeard(_, PromiseRequest()):
                return "grant"
        return ""

    def _of_advertisement(self, priority: int) -> str:
        first, self._rising = self._rising, False
        if not priority:
            return "resignation"
        return "first advertisement" if first else "advertisement"

    def _of_record(self, name: str, value: bytes) -> str:
        if name.startswith(SESSIONS):
            ended, own = SessionRecord.decode(value).ended, name == SESSIONS + self._node
            return ("session's end" if own else "other's end") if ended else "renewal"
        claim = ClaimRecord.decode(value)
        if claim.state is not ClaimState.HELD:
            return "release" if claim.state is ClaimState.RELEASED else "creation"
        if claim.holder is not None and claim.holder.node == self._node:
            return "claim"
        return "bid" if claim.bid is not None else "bid withdrawn"


class WatchedNode:
    """The core of a worker, with a moment before and after each decision. Everything else is the core's own."""

    def __init__(self, node: Node, points: Points, failpoint: Failpoint) -> None:
        self._node, self._points, self._failpoint = node, points, failpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def handle(self, event: Event, now: Now) -> Actions:
        """Decide as the core does."""
        point = self._points.of_event(event)
        self._failpoint.reached(point, "timed")
        actions = self._node.handle(event, now)
        self._failpoint.reached(point, "decided")
        return actions


def install(order: Path) -> None:
    """Wrap what performs actions, takes events in, and decides."""
    failpoint = Failpoint(order)

    class FailpointWorker(Worker):
        def __init__(
            self, sources: Sources, configuration: Configuration, run: Run, reload_front: Callable[[], object]
        ) -> None:
            self._points = Points(run.node)
            super().__init__(sources, configuration, run, reload_front)
            self.node = WatchedNode(self.node, self._points, failpoint)  # type: ignore[assignment]

        def deliver(self, event: Event) -> None:
            failpoint.reached(self._points.of_event(event), "arrived")
            super().deliver(event)

        def _perform_one(self, action: Action, reading: Reading) -> None:
            point = self._points.of_action(action)
            failpoint.reached(point, "before")
            super()._perform_one(action, reading)
            failpoint.reached(point, "after")
            if isinstance(action, SwapRegister):
                self.loop.call_later(ON_THE_WAY, failpoint.reached, point, "sent")

    worker.Worker = FailpointWorker  # type: ignore[misc]


if __name__ == "__main__":
    install(Path(os.environ[ORDER]))
    main(prog_name="haagent")
