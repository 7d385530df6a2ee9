"""What stands behind the virtual address on a lab node: ``python -m haagent.lab.backend``.

HTTP on an address of the node for HAProxy (``/`` says the node's name, ``/health`` 200, or 503 while the file
``--unhealthy`` exists), and a UDP echo on the virtual address itself: datagram in, datagram plus node name out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
from pathlib import Path
from typing import cast

from haagent.lab.timekeeping import keeping_time

IP_FREEBIND, IPV6_FREEBIND = 15, 78


class Echo(asyncio.DatagramProtocol):
    """Answers every datagram with itself and the node's name."""

    def __init__(self, node: str) -> None:
        self._node = node.encode()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a cast, not isinstance: before Python 3.12 asyncio's own class does not derive from DatagramTransport
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | None, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data + self._node, addr)


def response(request_line: str, node: str, *, healthy: bool) -> bytes:
    """Return the HTTP/1.0 reply to a request line."""
    words = request_line.split()
    path = words[1] if len(words) > 1 else "/"
    status, text = ("200 OK", node) if path != "/health" or healthy else ("503 Service Unavailable", "down")
    body = f"{text}\n".encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def serve(
    node: str, http: tuple[str, int] | None, echoes: list[tuple[str, int]], unhealthy: Path | None
) -> None:
    """Serve until cancelled: HTTP if it has an address, and every echo."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await asyncio.wait_for(reader.readline(), 5)).decode("latin-1")
            while (await asyncio.wait_for(reader.readline(), 5)).strip():
                pass
            writer.write(response(line, node, healthy=unhealthy is None or not unhealthy.exists()))
            await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # the client went away; the next one is served
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    for echo in echoes:
        await loop.create_datagram_endpoint(lambda: Echo(node), sock=_echo_socket(echo))
    if http is None:
        await asyncio.Event().wait()
    else:
        await (await asyncio.start_server(answer, *http)).serve_forever()


def _echo_socket(address: tuple[str, int]) -> socket.socket:
    """Return a socket bound to an address that may not be here now."""
    family, level, option = (
        (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_FREEBIND)
        if ":" in address[0]
        else (socket.AF_INET, socket.SOL_IP, IP_FREEBIND)
    )
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.setsockopt(level, option, 1)
    udp.bind(address)
    return udp


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="the service behind a lab's virtual address")
    parser.add_argument("--node", required=True)
    parser.add_argument("--http", type=_endpoint, metavar="ADDRESS:PORT")
    parser.add_argument("--udp", type=_endpoint, action="append", default=[], metavar="ADDRESS:PORT")
    parser.add_argument("--unhealthy", type=Path, metavar="FILE")
    words = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), keeping_time():
        asyncio.run(serve(words.node, words.http, words.udp, words.unhealthy))


if __name__ == "__main__":
    main()
