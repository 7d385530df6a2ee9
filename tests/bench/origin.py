"""What stands behind HAProxy in tests and benchmarks: ``python tests/bench/origin.py NAME ADDRESS:PORT``.

Every answer is ``NAME EPOCH`` (the X-HA-Epoch of the request, or ``-``). ``/slow?SECONDS`` takes its time. A request
to upgrade is answered with 101 and an echo of every byte, or on ``/ticks`` with a byte every 50 ms. Run as a file: it imports nothing of the project.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _answer(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.strip().split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (one.partition(":") for one in fields)}
        target = line.split()[1]
        if target.startswith("/slow?"):
            await asyncio.sleep(float(target.removeprefix("/slow?")))
        if "upgrade" in headers:
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: stream\r\n\r\n"
            )
            if target == "/ticks":
                await _tick(writer)
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            return
        body = f"{name} {headers.get('x-ha-epoch', '-')}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def _tick(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def serve(name: str, address: str, port: int) -> None:
    """Serve until cancelled."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await _answer(name, reader, writer)
        writer.close()

    async with await asyncio.start_server(connection, address, port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    where, _, number = sys.argv[2].rpartition(":")
    asyncio.run(serve(sys.argv[1], where, int(number)))
