"""An agent frozen or killed at every named point between renewal, gate, address and release: never two owners.

The agents are the real ones, on the real kernel, with a real etcd; failpoints.py has the points and failpoint_agent.py
what stops at them. A sample runs by default; ``make failpoints`` runs all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from failpoints import ARBITER_POINTS, PEER_POINTS, FailpointLab, Point, dying

from haagent.core.units import MILLISECOND

pytestmark = [pytest.mark.netns, pytest.mark.etcd, pytest.mark.timeout(90)]

FULL = bool(os.environ.get("HAAGENT_FULL"))
ALL = {
    "arbiter": (*ARBITER_POINTS, *dying(ARBITER_POINTS, "kill"), *dying(ARBITER_POINTS, "crash")),
    "peers": (*PEER_POINTS, *dying(PEER_POINTS, "kill")),
    "nftables": ARBITER_POINTS,
}
SAMPLE = {
    "arbiter": (
        Point("hold", "renewal", "before"),
        Point("hold", "renewal", "timed"),
        Point("hold", "deadline", "before"),
        Point("move", "gate closed", "before"),
        Point("move", "address removed", "before"),
        Point("move", "release", "sent"),
        Point("move", "claim", "timed"),
        Point("move", "gate opened", "before"),
        Point("move", "gate opened", "after"),
        Point("move", "address added", "timed"),
        Point("move", "first advertisement", "before"),
        Point("stop", "release", "decided"),
        Point("seize", "other's end", "sent"),
        Point("seize", "gate opened", "before"),
        Point("move", "claim", "after", "kill"),
        Point("move", "gate opened", "after", "crash"),
    ),
    "peers": (
        Point("hold", "promise", "timed"),
        Point("grant", "grant", "after"),
        Point("seize", "claim", "decided"),
    ),
    "nftables": (),
}
OPTIONS = {
    "arbiter": {},
    "peers": {"peers": True},
    "nftables": {"gate": "nftables"},
    "no gate": {"gate": "off"},
}
CASES = [(kind, point) for kind, points in (ALL if FULL else SAMPLE).items() for point in points]


class Labs:
    """One lab at a time, kept for as long as tests ask for its kind."""

    def __init__(self) -> None:
        self._stack, self._kind = ExitStack(), ""
        self._lab: FailpointLab | None = None

    def of(self, kind: str) -> FailpointLab:
        """Return the lab of a kind."""
        if self._lab is None or kind != self._kind:
            self.close()
            self._kind, self._lab = kind, FailpointLab(self._stack, **OPTIONS[kind])
        return self._lab

    def close(self) -> None:
        """Take down what there is."""
        self._lab = None
        self._stack.close()


@pytest.fixture(scope="module")
def labs() -> Iterator[Labs]:
    made = Labs()
    yield made
    made.close()


@pytest.mark.parametrize(("kind", "point"), CASES, ids=[f"{kind}: {point}" for kind, point in CASES])
def test_never_two_owners(labs: Labs, kind: str, point: Point):
    lab = labs.of(kind)
    seen = lab.pass_through(point)
    assert seen.dual == 0, f"{seen}\n{lab.logs()}"
    assert not seen.spoke, f"{seen}\n{lab.logs()}"


def test_without_the_gate_a_frozen_master_is_seen_beside_the_new_one(labs: Labs):
    """A test of the test: the observers would notice."""
    lab = labs.of("no gate")
    assert lab.pass_through(Point("hold", "renewal", "before")).dual > 100 * MILLISECOND


def test_the_sample_is_part_of_the_whole():
    assert all(set(SAMPLE[kind]) <= set(ALL[kind]) for kind in ALL)
