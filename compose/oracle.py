"""The witness: runs in the client container, believes nobody, writes what it sees as JSON lines to its output.

Every PERIOD it asks all nodes at once, in broadcast frames, who has the address: by ARP, and by an ICMP echo, which every
node answers that would accept packets for it. Between, an ordinary HTTP client asks through the address for X-Node, and
VRRP adverts are counted. Needs CAP_NET_RAW. Ends when its input is closed. Started by nemesis.py.

    {"round": 7, "at": s, "arp": [mac, ...], "echo": [mac, ...]}     one finished round
    {"http": "node1" or null, "at": s, "took": s}                    one request; null: no good answer within HTTP_PATIENCE
    {"advert": mac, "priority": 150, "at": s}                        one VRRP advert on the wire
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
import threading
import time
from ipaddress import IPv4Address
from typing import Any

PERIOD = 0.05
HTTP_PERIOD, HTTP_PATIENCE = 0.1, 0.25
FIRST_SOURCE, SOURCES = IPv4Address("192.0.2.192"), 32  # a question's round is the address its answer goes to
IDENTIFIER = 0x6863
ARP, IPV4, ICMP, VRRP, OUTGOING, ETH_P_ALL = 0x0806, 0x0800, 1, 112, 4, 3
BROADCAST = b"\xff" * 6
lock = threading.Lock()


def tell(**what: Any) -> None:
    """Write one line; times are this machine's monotonic clock, in s."""
    with lock:
        print(json.dumps(what), flush=True)


def checksum(data: bytes) -> int:
    """Return the internet checksum of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def arp_question(mac: bytes, vip: IPv4Address, number: int) -> bytes:
    """Ask who has ``vip``."""
    source = FIRST_SOURCE + number % SOURCES
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1)
    return BROADCAST + mac + struct.pack("!H", ARP) + head + mac + source.packed + bytes(6) + vip.packed


def echo_question(mac: bytes, own: IPv4Address, vip: IPv4Address, number: int) -> bytes:
    """Ask every holder of ``vip`` for an echo."""
    body = struct.pack("!BBHHH", 8, 0, 0, IDENTIFIER, number & 0xFFFF)
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, ICMP, 0, own.packed, vip.packed)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return BROADCAST + mac + struct.pack("!H", IPV4) + header + body


class Witness:
    """Asks and listens on one interface."""

    def __init__(self, vip: IPv4Address, device: str) -> None:
        self.vip = vip
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((device, 0))
        self.mac = self.socket.getsockname()[4]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
            route.connect((str(vip), 9))
            self.own = IPv4Address(route.getsockname()[0])
        self.number, self.asked = 0, 0.0
        self.answers: dict[str, set[str]] = {"arp": set(), "echo": set()}

    def run(self, stop: threading.Event) -> None:
        """Ask a round, listen until the next is due."""
        while not stop.is_set():
            self.ask()
            until = self.asked + PERIOD
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                try:
                    frame, origin = self.socket.recvfrom(2048)
                except TimeoutError:
                    break
                if origin[2] != OUTGOING:
                    self.take(frame)
            # what came while this process did not run still belongs to this round
            self.drain()
            tell(
                round=self.number,
                at=self.asked,
                **{name: sorted(macs) for name, macs in self.answers.items()},
            )

    def ask(self) -> None:
        """Send one broadcast question per probe."""
        self.number, self.asked = self.number + 1, time.monotonic()
        self.answers = {"arp": set(), "echo": set()}
        self.socket.settimeout(1)
        self.socket.send(arp_question(self.mac, self.vip, self.number))
        self.socket.send(echo_question(self.mac, self.own, self.vip, self.number))

    def drain(self) -> None:
        """Read what is waiting."""
        self.socket.setblocking(False)
        try:
            while True:
                frame, origin = self.socket.recvfrom(2048)
                if origin[2] != OUTGOING:
                    self.take(frame)
        except BlockingIOError:
            pass

    def take(self, frame: bytes) -> None:
        """Read one frame: an answer of this round, or an advert."""
        if len(frame) < 42:
            return
        mac, kind, rest = frame[6:12].hex(":"), int.from_bytes(frame[12:14], "big"), frame[14:]
        if kind == ARP and rest[6:8] == b"\0\x02" and rest[14:18] == self.vip.packed:
            if rest[24:28] == (FIRST_SOURCE + self.number % SOURCES).packed:
                self.answers["arp"].add(mac)
        elif kind == IPV4:
            payload = rest[(rest[0] & 15) * 4 :]
            if rest[9] == VRRP and len(payload) >= 8:
                tell(advert=mac, priority=payload[2], at=time.monotonic())
            elif rest[9] == ICMP and rest[12:16] == self.vip.packed and payload[:1] == b"\0":
                mine = struct.pack("!HH", IDENTIFIER, self.number & 0xFFFF)
                self.answers["echo"].update([mac] if payload[4:8] == mine else [])


def ask_by_http(vip: str, stop: threading.Event) -> None:
    """Ask as an ordinary client does, a new connection each time."""
    while not stop.wait(HTTP_PERIOD):
        begun, node = time.monotonic(), None
        connection = http.client.HTTPConnection(vip, 80, timeout=HTTP_PATIENCE)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            node = answer.getheader("X-Node") if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        tell(http=node, at=begun, took=round(time.monotonic() - begun, 4))


def main() -> None:
    """Watch until the input is closed."""
    vip, device = sys.argv[1], sys.argv[2]
    stop = threading.Event()
    witness = Witness(IPv4Address(vip), device)
    threads = [
        threading.Thread(target=witness.run, args=(stop,), daemon=True),
        threading.Thread(target=ask_by_http, args=(vip, stop), daemon=True),
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(timeout=3)


if __name__ == "__main__":
    main()
