"""How long the janitor lets a call hang: with failsafe the lease it keeps is one of hours. No server is needed for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arbiters.etcd.endpoint import Endpoint
from arbiters.etcd.janitor import KEEPALIVES_PER_TTL, LONGEST_CALL, Janitor
from arbiters.rotation import Rotation


@pytest.mark.parametrize("ttl", [2, 8 * 3600])
async def test_a_grant_or_keepalive_that_hangs_is_given_up_within_seconds(ttl: int) -> None:
    timeouts: list[float] = []
    twice = asyncio.Event()

    async def ask(_question: Callable[..., object], timeout: float) -> Any:
        timeouts.append(timeout)
        if len(timeouts) == 2:
            twice.set()
        return SimpleNamespace(ID=7)

    janitor = Janitor(cast("Rotation[Endpoint]", SimpleNamespace(ask=ask)), ttl)
    running = asyncio.create_task(janitor.run())
    async with asyncio.timeout(5):
        while janitor.lease != 7:
            await asyncio.sleep(0)
        janitor.lose(7)
        await twice.wait()
    running.cancel()
    assert timeouts == [min(ttl / KEEPALIVES_PER_TTL, LONGEST_CALL)] * 2
