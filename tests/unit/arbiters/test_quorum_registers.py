"""What the ballots of several nodes cost each other, over members in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from arbiters.quorum.acceptor import decode
from arbiters.quorum.members import Member
from arbiters.quorum.registers import QuorumArbiter, member_name
from haagent.arbiter import Arbiter, ArbiterOptions, Conflict, Record
from haagent.testing.contract import TIMEOUT, unique
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore

NAME = "claims/web"
OPTIONS = ArbiterOptions((), "domain", "node", TIMEOUT, {})


class CountingArbiter(MemoryArbiter):
    """Counts the swaps that were in vain."""

    conflicts = 0

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        try:
            return await super().swap(name, value, expected, timeout=timeout)
        except Conflict:
            type(self).conflicts += 1
            raise


@asynccontextmanager
async def quorum(stores: list[MemoryStore], *faults: Faults) -> AsyncIterator[QuorumArbiter]:
    """Yield one node's quorum of ``stores``, with the faults of its connection to each."""
    members = [
        Member(f"member {n}", opening(one, fault), OPTIONS)
        for n, (one, fault) in enumerate(zip(stores, faults, strict=True))
    ]
    arbiter = QuorumArbiter(members)
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


def opening(store: MemoryStore, faults: Faults):
    async def open_arbiter(_: ArbiterOptions) -> Arbiter:
        return CountingArbiter(store, faults)

    return open_arbiter


def well() -> list[Faults]:
    return [Faults() for _ in range(3)]


async def follow(arbiter: QuorumArbiter, seen: asyncio.Queue[Record | None]) -> None:
    async for name, record in arbiter.changes():
        assert name == NAME
        seen.put_nowait(record)


async def test_nodes_that_write_in_turn_after_a_hint_cost_each_other_no_ballot() -> None:
    stores = [MemoryStore() for _ in range(3)]
    CountingArbiter.conflicts = 0
    async with quorum(stores, *well()) as one, quorum(stores, *well()) as other:
        heard: dict[QuorumArbiter, asyncio.Queue[Record | None]] = {
            one: asyncio.Queue(),
            other: asyncio.Queue(),
        }
        tasks = [asyncio.create_task(follow(node, seen)) for node, seen in heard.items()]
        record: Record | None = None
        for turn in range(10):
            writer = (one, other)[turn % 2]
            value = unique()
            record = Record(value, await writer.swap(NAME, value, record, timeout=TIMEOUT))
            for seen in heard.values():
                assert await asyncio.wait_for(seen.get(), TIMEOUT) == record
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert CountingArbiter.conflicts == 0


async def test_a_read_waits_for_the_end_of_a_ballot_instead_of_outbidding_it() -> None:
    stores = [MemoryStore() for _ in range(3)]
    slow, gone = Faults(), Faults()
    async with (
        quorum(stores, Faults(), slow, gone) as writer,
        quorum(stores, Faults(), Faults(), Faults(hang=-1)) as reader,
    ):
        first = unique()
        held = Record(first, await writer.swap(NAME, first, None, timeout=TIMEOUT))
        slow.delay, gone.hang, second = 0.1, -1, unique()
        writing = asyncio.create_task(writer.swap(NAME, second, held, timeout=TIMEOUT))
        await asyncio.sleep(0.01)
        assert await reader.read(NAME, timeout=TIMEOUT) == Record(second, await writing)
        promised = [decode(store.records[member_name(NAME)].value, 3).promised for store in stores]
    assert len({ballot.proposer for ballot in promised}) == 1
