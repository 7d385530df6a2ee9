"""What a worker takes over from the one before it, what it sweeps, and in which order everything goes at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from haagent.agent.parameters import Timing
from haagent.agent.remains import Remains
from haagent.agent.worker import Worker
from haagent.core.units import SECOND
from haagent.effects.gate.model import Adopted

NOW = 100 * SECOND


class Noted:
    """Notes every call that reaches it by the name of what it stands for."""

    def __init__(self, name: str, calls: list[str], **answers: object) -> None:
        self._name, self._calls, self._answers = name, calls, answers

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: object, **named: object) -> object:
            words = (*arguments, *named.values())
            self._calls.append(" ".join(map(str, (f"{self._name}.{method}", *words))))
            return self._answers.get(method)

        return call


class LeftWorker:
    """As much of a worker as its remains concern: two claims, "a" of two members and "b"."""

    def __init__(self, *, resumed: bool, deadline: int = NOW + 1, resume: tuple[str, ...] = ()) -> None:
        self.calls: list[str] = []
        self.run = SimpleNamespace(resumed=resumed)
        self.clock = SimpleNamespace(read=lambda: SimpleNamespace(boot=NOW))
        self.timing = Timing(lease=2 * SECOND, renew=SECOND // 2, guard=SECOND // 10)
        self.gate = Noted("gate", self.calls, adopt=Adopted(deadline, {"a": 7}))
        self.addresses = Noted("addresses", self.calls, sweep=["192.0.2.1"])
        self.routes = Noted("routes", self.calls)
        self.accept_filter, self.settings = Noted("filter", self.calls), Noted("settings", self.calls)
        self.node = SimpleNamespace(
            parameters=SimpleNamespace(resume=tuple((claim, 7) for claim in resume)),
            groups={"a": _group("a", "a1", "a2"), "b": _group("b", "b")},
        )

    @property
    def remains(self) -> Remains:
        return Remains(cast("Worker", self))


def _group(name: str, *members: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, members=[SimpleNamespace(name=member) for member in members])


@pytest.mark.parametrize(
    ("resumed", "deadline", "taken"),
    [(True, NOW + 1, (("a", 7),)), (True, NOW, ()), (False, NOW + 1, ())],
    ids=["open", "its deadline has come", "another run's"],
)
def test_only_what_is_still_open_is_taken_over_and_only_within_a_run(resumed, deadline, taken) -> None:
    assert LeftWorker(resumed=resumed, deadline=deadline).remains.resumable() == taken


@pytest.mark.parametrize(
    ("left", "calls"),
    [
        (9 * SECOND, ["gate.adopt", f"gate.extend {NOW + 19 * SECOND // 10}"]),
        (19 * SECOND // 10, ["gate.adopt"]),
    ],
    ids=["longer", "as long"],
)
def test_a_gate_left_under_a_longer_lease_is_brought_down_to_ours(left: int, calls: list[str]) -> None:
    """The next record tells the others to wait for our lease, not for the one the gate was opened under."""
    worker = LeftWorker(resumed=True, deadline=NOW + left)
    assert worker.remains.resumable() == (("a", 7),)
    assert worker.calls == calls


def test_a_new_run_closes_and_removes_everything() -> None:
    worker = LeftWorker(resumed=False)
    worker.remains.sweep()
    assert worker.calls == [
        "routes.sweep []",
        "addresses.sweep",
        "gate.close a",
        "addresses.remove a1",
        "addresses.remove a2",
        "gate.close b",
        "addresses.remove b",
    ]


def test_a_resumed_claim_keeps_its_gate_its_addresses_and_its_routes() -> None:
    worker = LeftWorker(resumed=True, resume=("a",))
    worker.remains.sweep()
    assert worker.calls == ["routes.sweep ['a1', 'a2']", "gate.close b", "addresses.remove b"]


def test_at_the_end_addresses_go_while_the_gate_is_closed_and_the_gate_goes_last(caplog) -> None:
    worker = LeftWorker(resumed=False)
    worker.remains.remove()
    first, *_, last = worker.calls
    assert (first, last) == ("gate.close_all", "gate.remove")
    assert worker.calls.index("addresses.sweep") < worker.calls.index("addresses.remove_interfaces")
    assert "192.0.2.1" in caplog.text
