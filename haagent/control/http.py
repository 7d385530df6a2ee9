"""One HTTP request, one answer, and the connection is closed. h11 reads and writes the protocol; nothing here changes.

Promises: only GET, HEAD and OPTIONS; a request of more than ``LIMIT`` bytes or with a body is refused before it is read;
whatever is not HTTP is answered with 400 and dropped. May not know what is answered: ``respond`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

import h11

LIMIT = 8192  # bytes of request line and headers
_METHODS = (b"GET", b"HEAD", b"OPTIONS")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. ``headers`` are further ones, beside those that every answer has."""

    status: HTTPStatus
    body: str
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())


Respond: TypeAlias = Callable[[str], Awaitable[Response]]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond) -> None:
    """Read one request and write the answer that ``respond`` gives for its target. Raises OSError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
    try:
        request = await _request(connection, reader)
    except h11.RemoteProtocolError as error:
        status = HTTPStatus(error.error_status_hint)
        _write(connection, writer, Response(status, f"{status.phrase}\n", "text/plain"), head=False)
        return
    if request is not None:
        answer = await _answer(request, respond)
        _write(connection, writer, answer, head=request.method != b"GET")


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Return the request, or None if the client left without one. Raises h11.RemoteProtocolError."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(LIMIT))


async def _answer(request: h11.Request, respond: Respond) -> Response:
    if request.method not in _METHODS:
        allowed = (("Allow", b", ".join(_METHODS).decode()),)
        return Response(
            HTTPStatus.METHOD_NOT_ALLOWED, "only reading is possible here\n", "text/plain", allowed
        )
    names = dict(request.headers)
    if b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0":
        return Response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request has no body here\n", "text/plain")
    return await respond(request.target.decode("ascii", "replace"))


def _write(
    connection: h11.Connection, writer: asyncio.StreamWriter, response: Response, *, head: bool
) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = response.body.encode()
    headers = [
        ("Content-Type", f"{response.content_type}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *response.headers,
    ]
    data = connection.send(
        h11.Response(status_code=response.status, headers=headers, reason=response.status.phrase.encode())
    )
    writer.write(data or b"")
    if not head:
        writer.write(connection.send(h11.Data(data=body)) or b"")
