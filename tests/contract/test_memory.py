"""The arbiter in memory obeys the contract, and breaks it exactly as told."""

from __future__ import annotations

import asyncio

import pytest

from haagent.arbiter import Arbiter, Conflict, Misconfigured, Record, Unavailable
from haagent.testing.contract import ArbiterContract, unique, write
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore


class TestMemory(ArbiterContract):
    @pytest.fixture(autouse=True)
    def _stores(self) -> None:
        self.stores: dict[str, MemoryStore] = {}

    async def open(self, node: str) -> Arbiter:
        return MemoryArbiter(self.stores.setdefault(self.domain, MemoryStore()))


async def test_lost_request_did_not_happen() -> None:
    arbiter = MemoryArbiter(MemoryStore(), Faults(before=1))
    with pytest.raises(Unavailable):
        await write(arbiter, "claims/web", None)
    assert await arbiter.read("claims/web", timeout=1) is None


async def test_lost_answer_did_happen() -> None:
    arbiter, value = MemoryArbiter(MemoryStore(), Faults(after=1)), unique()
    with pytest.raises(Unavailable):
        await arbiter.swap("claims/web", value, None, timeout=1)
    assert await arbiter.read("claims/web", timeout=1) == Record(value, "1")


async def test_late_write_happens_after_the_answer() -> None:
    store = MemoryStore()
    arbiter = MemoryArbiter(store, Faults(late=1, delay=0.02))
    with pytest.raises(Unavailable):
        await write(arbiter, "claims/web", None)
    assert store.records == {}
    await asyncio.sleep(0.05)
    assert "claims/web" in store.records


async def test_hanging_call_ends_at_its_timeout() -> None:
    arbiter = MemoryArbiter(MemoryStore(), Faults(hang=-1))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(Unavailable):
        await arbiter.read("claims/web", timeout=0.05)
    assert 0.04 < loop.time() - begun < 0.2


async def test_stale_reads_show_the_past_while_swaps_do_not() -> None:
    store = MemoryStore()
    arbiter, other = MemoryArbiter(store), MemoryArbiter(store)
    first = await write(other, "claims/web", None)
    arbiter.faults.freeze_reads(store)
    second = await write(other, "claims/web", first)
    assert await arbiter.read("claims/web", timeout=1) == first
    with pytest.raises(Conflict):
        await write(arbiter, "claims/web", first)
    await write(arbiter, "claims/web", second)


async def test_misconfigured_is_said() -> None:
    arbiter = MemoryArbiter(MemoryStore(), Faults(misconfigured=1))
    with pytest.raises(Misconfigured):
        await arbiter.read("claims/web", timeout=1)


async def test_versions_repeat_after_a_restore_and_only_the_value_tells() -> None:
    store = MemoryStore()
    arbiter = MemoryArbiter(store)
    first = await write(arbiter, "claims/web", None)
    saved = store.snapshot()
    lost = await write(arbiter, "claims/web", first)
    store.restore(saved)
    again = await write(arbiter, "claims/web", first)
    assert again.version == lost.version
    with pytest.raises(Conflict):
        await write(arbiter, "claims/web", lost)


async def test_wipe_loses_everything() -> None:
    store = MemoryStore()
    arbiter = MemoryArbiter(store)
    record = await write(arbiter, "claims/web", None)
    store.wipe()
    assert await arbiter.read("claims/web", timeout=1) is None
    with pytest.raises(Conflict):
        await write(arbiter, "claims/web", record)
