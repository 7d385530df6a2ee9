"""When the next member is asked too, and which member is asked first. No server is needed to decide that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from arbiters.etcd.endpoint import Endpoint
from arbiters.etcd.settings import read_settings
from arbiters.rotation import SHORTEST_HEDGE, Rotation
from haagent.arbiter import ArbiterOptions

TARGETS = ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")


@pytest.fixture
async def rotation() -> AsyncIterator[Rotation[Endpoint]]:
    settings = read_settings(ArbiterOptions(TARGETS, "d", "n", 0.5, {}))
    endpoints = [Endpoint(target, settings) for target in TARGETS]
    yield Rotation(endpoints)
    for endpoint in endpoints:
        await endpoint.aclose()


async def test_the_one_that_answered_is_asked_first_from_then_on(rotation: Rotation[Endpoint]) -> None:
    assert [endpoint.target for endpoint in rotation.order()] == list(TARGETS)
    rotation.prefer(rotation.endpoints[1], 0.003)
    assert [endpoint.target for endpoint in rotation.order()] == [TARGETS[1], TARGETS[2], TARGETS[0]]


async def test_hedge_follows_the_usual_latency(rotation: Rotation[Endpoint]) -> None:
    assert rotation.hedge_delay(1.0) == SHORTEST_HEDGE
    for _ in range(100):
        rotation.prefer(rotation.endpoints[0], 0.040)
    assert rotation.hedge_delay(1.0) == pytest.approx(0.080)


async def test_hedge_leaves_every_member_its_turn_within_the_call(rotation: Rotation[Endpoint]) -> None:
    for _ in range(100):
        rotation.prefer(rotation.endpoints[0], 0.5)
    assert rotation.hedge_delay(0.4) == pytest.approx(0.1)
    assert rotation.hedge_delay(0.05) < SHORTEST_HEDGE
