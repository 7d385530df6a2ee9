"""A witness on the loopback interface among strangers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from haagent.witness.server import MOST_STRANGERS, Options, Witness
from haagent.witness.store import Store
from haagent.witness.wire import Channel, Request, greet
from tests.unit.control.test_http import free_port

KEY = b"0123456789abcdef"


async def strangers(port: int) -> list[asyncio.StreamWriter]:
    """Return as many connections as there may be, and as many again, from a host of their own."""
    opened = [
        await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        for _ in range(2 * MOST_STRANGERS)
    ]
    return [writer for _, writer in opened]


async def greeted(port: int) -> Channel:
    """Return a client's connection that was greeted slowly: as many strangers as there may be came in between."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0)
    flood = await strangers(port)
    channel = await greet(reader, writer, KEY)
    channel.send(Request(1, "open", "web/n1").encode())
    assert (await channel.receive())["number"] == 1
    for one in flood:
        one.close()
    return channel


async def test_strangers_from_one_host_do_not_push_a_client_out(tmp_path: Path) -> None:
    port, stop = free_port(), asyncio.Event()
    witness = Witness(Store(tmp_path / "registers"), Options((("127.0.0.1", port),), KEY))
    running = asyncio.create_task(witness.run(stop))
    try:
        await asyncio.sleep(0.2)
        channel = await asyncio.wait_for(greeted(port), 3)
        channel.writer.close()
    finally:
        stop.set()
        await running
