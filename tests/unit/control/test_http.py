"""The HTTP listener against clients that are slow, large, many or no HTTP clients at all."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from haagent.config.model import Listen
from haagent.control.http import LIMIT, Response, serve
from haagent.control.listener import Listener


async def respond(target: str) -> Response:
    return Response(HTTPStatus.OK, f"asked for {target}\n", "text/plain", (("X-Own", "yes"),))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def port() -> AsyncIterator[int]:
    number = free_port()
    listener = Listener(
        Listen("127.0.0.1", number), functools.partial(serve, respond=respond), deadline=1.0, most=4
    )
    await listener.start()
    yield number
    await listener.aclose()


async def ask(port: int, data: bytes, *, half_close: bool = False) -> bytes:
    """Send everything, then read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), 5)
        return b""
    finally:
        writer.close()


def status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


async def test_a_get_a_head_and_an_old_client(port) -> None:
    answer = await ask(port, b"GET /primary HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (status(answer), body) == (200, b"asked for /primary\n")
    assert b"\r\nContent-Length: 19\r\n" in head
    assert b"\r\nConnection: close" in head
    assert b"\r\nX-Own: yes" in head
    assert (await ask(port, b"HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"\r\n\r\n")
    assert status(await ask(port, b"OPTIONS /primary HTTP/1.0\r\n\r\n")) == 200  # as HAProxy asks by default


async def test_one_answer_a_connection(port) -> None:
    both = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    assert (await ask(port, both)).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\x00\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"SSH-2.0-client\r\n\r\n", 400),
        (b"\x00" * 64 + b"\r\n\r\n", 400),
        (b"GET /" + b"a" * 2 * LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * LIMIT + b"\r\n", 431),
    ],
)
async def test_what_is_refused(port, request_bytes, expected) -> None:
    assert status(await ask(port, request_bytes)) == expected
    assert status(await ask(port, b"GET / HTTP/1.0\r\n\r\n")) == 200


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_client_that_leaves_before_its_request_is_complete(port, sent) -> None:
    assert status(await ask(port, sent, half_close=True)) in (0, 400)
    assert status(await ask(port, b"GET / HTTP/1.0\r\n\r\n")) == 200


async def test_a_slow_client_is_dropped_at_the_deadline(port) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"a" * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)
            if reader.at_eof():
                break
    assert 0.8 < time.monotonic() - begun < 2.5
    writer.close()


async def test_a_client_that_does_not_read_is_dropped_at_the_deadline() -> None:
    async def large(_target: str) -> Response:
        return Response(HTTPStatus.OK, "x" * (32 << 20), "text/plain")

    number = free_port()
    listener = Listener(Listen("127.0.0.1", number), functools.partial(serve, respond=large), deadline=0.3)
    await listener.start()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", number, limit=1024)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await asyncio.sleep(0.6)
        assert not listener._open
        writer.close()
    finally:
        await listener.aclose()


async def test_idle_connections_cannot_keep_a_health_check_out(port) -> None:
    idle = [
        await asyncio.open_connection("127.0.0.1", port) for _ in range(12)
    ]  # three times what is allowed
    begun = time.monotonic()
    assert status(await ask(port, b"GET /primary HTTP/1.0\r\n\r\n")) == 200
    assert time.monotonic() - begun < 0.5
    for _, writer in idle:
        writer.close()


async def test_a_flood_from_another_host_does_not_push_a_request_out(port) -> None:
    async def crowd() -> list[asyncio.StreamWriter]:
        return [
            (await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)))[1]
            for _ in range(12)
        ]

    flood = await crowd()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /primary HTTP/1.0\r\n")
    flood += await crowd()  # three times what is allowed, while the request is under way
    writer.write(b"\r\n")
    assert status(await asyncio.wait_for(reader.read(), 5)) == 200
    for one in (writer, *flood):
        one.close()


async def test_a_defect_in_an_answer_ends_one_connection_only(caplog) -> None:
    async def broken(target: str) -> Response:
        if target == "/bad":
            raise RuntimeError("a defect")
        return await respond(target)

    number = free_port()
    listener = Listener(Listen("127.0.0.1", number), functools.partial(serve, respond=broken))
    await listener.start()
    try:
        assert await ask(number, b"GET /bad HTTP/1.0\r\n\r\n") == b""
        assert status(await ask(number, b"GET / HTTP/1.0\r\n\r\n")) == 200
    finally:
        await listener.aclose()
    assert "a connection to 127.0.0.1" in caplog.text


async def test_an_address_that_is_not_there_yet_can_be_listened_on() -> None:
    for host in ("192.0.2.1", "2001:db8::1"):
        listener = Listener(Listen(host, free_port()), functools.partial(serve, respond=respond))
        await listener.start()
        await listener.aclose()
        await listener.aclose()
