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

IP_FREEBIND = 15


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


async def serve(node: str, http: tuple[str, int], echo: tuple[str, int], unhealthy: Path) -> None:
    """Serve until cancelled."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await asyncio.wait_for(reader.readline(), 5)).decode("latin-1")
            while (await asyncio.wait_for(reader.readline(), 5)).strip():
                pass
            writer.write(response(line, node, healthy=not unhealthy.exists()))
            await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # the client went away; the next one is served
        finally:
            writer.close()

    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    udp.bind(echo)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: Echo(node), sock=udp)
    server = await asyncio.start_server(answer, *http)
    await server.serve_forever()


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="the service behind a lab's virtual address")
    parser.add_argument("--node", required=True)
    parser.add_argument("--http", type=_endpoint, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--udp", type=_endpoint, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--unhealthy", type=Path, required=True, metavar="FILE")
    words = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(words.node, words.http, words.udp, words.unhealthy))


if __name__ == "__main__":
    main()
