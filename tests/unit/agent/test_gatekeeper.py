"""What becomes of the worker and its claims when the host refuses something about the gate."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from haagent.agent.gatekeeper import Gatekeeper
from haagent.agent.worker import Worker
from haagent.config.model import Configuration, Daemon, GlobalDefs
from haagent.core.actions import CloseGate, ExtendGate, OpenGate
from haagent.core.events import GateLost
from haagent.effects.clock import Reading
from haagent.errors import EffectError

NOTHING = Configuration(GlobalDefs(), (), (), (), None, None, Daemon("n1"))
READING = cast("Reading", SimpleNamespace(boottime=lambda instant: instant))


class RefusingGate:
    """A gate that notes its calls, and refuses the next ones."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_arguments: self._call(name)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.refusals:
            self.refusals -= 1
            raise EffectError("refused")


class GatedWorker:
    """As much of a worker as its gatekeeper touches."""

    def __init__(self, refusals: int) -> None:
        self.gate = RefusingGate(refusals)
        self.delivered: list[object] = []
        self.loop: Any = SimpleNamespace(call_soon=lambda call, event: call(event))
        self.deliver = self.delivered.append

    @property
    def gatekeeper(self) -> Gatekeeper:
        return Gatekeeper(cast("Worker", self))


LOST = [GateLost("the gate was lost: refused")]


@pytest.mark.parametrize("action", [ExtendGate(1), ExtendGate(0), OpenGate("VI_1", 1)])
def test_a_gate_that_was_not_extended_or_opened_is_told_to_the_core(action) -> None:
    worker = GatedWorker(refusals=1)
    worker.gatekeeper.perform(action, READING)
    assert worker.delivered == LOST
    assert len(worker.gate.calls) == 1


def test_a_gate_that_closes_at_the_second_attempt_is_told_to_the_core() -> None:
    worker = GatedWorker(refusals=1)
    worker.gatekeeper.perform(CloseGate("VI_1"), READING)
    assert worker.gate.calls == ["close", "close"]
    assert worker.delivered == LOST


def test_a_gate_that_does_not_close_ends_the_worker_before_anything_is_let_go() -> None:
    worker = GatedWorker(refusals=2)
    with pytest.raises(EffectError):
        worker.gatekeeper.perform(CloseGate("VI_1"), READING)


def test_a_gate_that_was_put_back_closed_takes_new_guards_at_the_second_attempt() -> None:
    worker = GatedWorker(refusals=1)
    worker.gatekeeper.guard(NOTHING)
    assert worker.gate.calls == ["reconfigure", "reconfigure"]
    assert worker.delivered == LOST


def test_a_gate_that_does_not_take_new_guards_ends_the_worker() -> None:
    worker = GatedWorker(refusals=2)
    with pytest.raises(EffectError):
        worker.gatekeeper.guard(NOTHING)
    assert worker.delivered == []


def test_a_gate_that_does_as_it_is_told_is_no_news() -> None:
    worker = GatedWorker(refusals=0)
    worker.gatekeeper.perform(CloseGate("VI_1"), READING)
    worker.gatekeeper.guard(NOTHING)
    assert worker.gate.calls == ["close", "reconfigure"]
    assert worker.delivered == []
