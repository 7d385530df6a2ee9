"""Two namespaces and a wire for the gate's tests: ``a`` has the gate, ``b`` is the peer that judges from outside."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from haagent.effects.gate import Guard, GuardedRouter

VIP4, VIP6, LINK_LOCAL = "10.77.0.100", "fd77::100", "fe80::77"
A4, B4, A6, B6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"
MCAST4, MCAST6 = "224.0.0.18", "ff02::12"
VRID, OTHER_VRID = 77, 78
MAC_A, MAC_B = bytes.fromhex("02a000000001"), bytes.fromhex("02b000000002")
BROADCAST = b"\xff" * 6
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Be in a namespace: sockets opened here stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        if _libc.setns(home, _CLONE_NEWNET):
            os._exit(70)
        os.close(home)
        os.close(there)


class Wire:
    """Namespaces ``<prefix>a`` and ``<prefix>b`` joined by ``extra + 1`` veth pairs g0, g1, ..."""

    def __init__(self, prefix: str, extra: int = 0) -> None:
        self.a, self.b = f"{prefix}a", f"{prefix}b"
        self.pairs = [f"g{number}" for number in range(extra + 1)]

    def build(self) -> None:
        self.destroy()
        for namespace in (self.a, self.b):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        for name in self.pairs:
            self.join(name)
        for namespace, v4, v6 in ((self.a, A4, A6), (self.b, B4, B6)):
            run("ip", "-n", namespace, "addr", "add", f"{v4}/24", "dev", "g0")
            run("ip", "-n", namespace, "addr", "add", f"{v6}/64", "dev", "g0", "nodad")

    def join(self, name: str) -> None:
        run("ip", "link", "add", name, "netns", self.a, "type", "veth", "peer", "name", name, "netns", self.b)
        for namespace, mac in ((self.a, MAC_A), (self.b, MAC_B)):
            if name == "g0":
                run("ip", "-n", namespace, "link", "set", name, "address", mac.hex(":"))
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0")
            run("ip", "-n", namespace, "link", "set", name, "up")

    def hold_addresses(self, namespace: str | None = None) -> None:
        where = namespace or self.a
        run("ip", "-n", where, "addr", "add", f"{VIP4}/32", "dev", "g0")
        for address in (VIP6, LINK_LOCAL):
            run("ip", "-n", where, "addr", "add", f"{address}/128", "dev", "g0", "nodad")

    def destroy(self) -> None:
        for namespace in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True, timeout=20)

    def raw(self, namespace: str, interface: str = "g0") -> socket.socket:
        with inside(namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            opened.bind((interface, 3))
            return opened

    def udp(self, namespace: str, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(namespace):
            opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.bind((address, 0))
        opened.settimeout(0.3)
        return opened


def guard(
    claim: str = "web", *, interface: str = "g0", vrid: int = VRID, unicast: bool = False, octet: int = 100
) -> Guard:
    """A claim of one IPv4 and one IPv6 virtual router on one interface."""
    own4, own6 = ip_address(f"10.77.0.{octet}"), ip_address(f"fd77::{octet}")
    to4, to6 = (B4, B6) if unicast else (MCAST4, MCAST6)
    return Guard(
        claim,
        (
            GuardedRouter(vrid, 4, interface, (ip_address(to4),), (own4,)),
            GuardedRouter(vrid, 6, interface, (ip_address(to6),), (ip_address(LINK_LOCAL), own6)),
        ),
    )


def ether(payload: bytes, kind: int, destination: bytes = BROADCAST, source: bytes = MAC_A) -> bytes:
    return destination + source + struct.pack(">H", kind) + payload


def arp(
    sender: str, target: str, *, op: int = 1, source: bytes = MAC_A, destination: bytes = BROADCAST
) -> bytes:
    body = (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, op)
        + source
        + ip_address(sender).packed
        + bytes(6)
        + ip_address(target).packed
    )
    return ether(body, 0x0806, destination, source).ljust(60, b"\0")


def ipv4(
    source: str, destination: str, protocol: int, body: bytes, options: bytes = b"", fragment: int = 0
) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 4 * words + len(body), 1, fragment, 255, protocol, 0)
    head += ip_address(source).packed + ip_address(destination).packed + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def ipv6(source: str, destination: str, following: int, body: bytes) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(body), following, 255)
    return head + ip_address(source).packed + ip_address(destination).packed + body


def icmpv6(source: str, destination: str, body: bytes) -> bytes:
    pseudo = ip_address(source).packed + ip_address(destination).packed + struct.pack(">II", len(body), 58)
    return body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]


def solicitation(source: str, target: str, hardware: bytes) -> bytes:
    group = "ff02::1:ff" + ip_address(target).exploded[-7:]
    body = bytes((135, 0, 0, 0)) + bytes(4) + ip_address(target).packed + bytes((1, 1)) + hardware
    multicast = b"\x33\x33" + ip_address(group).packed[-4:]
    return ether(ipv6(source, group, 58, icmpv6(source, group, body)), 0x86DD, multicast, hardware)


def announcement(source: str, target: str, hardware: bytes) -> bytes:
    body = bytes((136, 0, 0, 0, 0x20, 0, 0, 0)) + ip_address(target).packed + bytes((2, 1)) + hardware
    return ether(
        ipv6(source, "ff02::1", 58, icmpv6(source, "ff02::1", body)), 0x86DD, b"\x33\x33\0\0\0\1", hardware
    )


def advert(
    priority: int,
    *,
    family: int = 4,
    vrid: int = VRID,
    destination: str | None = None,
    source: str | None = None,
) -> bytes:
    body = bytes((0x31, vrid, priority, 1, 0, 100, 0, 0)) + (bytes(4) if family == 4 else bytes(16))
    if family == 4:
        return ether(ipv4(source or A4, destination or MCAST4, 112, body), 0x0800, MAC_B)
    return ether(ipv6(source or A6, destination or MCAST6, 112, body), 0x86DD, MAC_B)


def checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def arrives(frame: bytes, sender: socket.socket, receiver: socket.socket, within: float = 0.15) -> bool:
    """Send a frame and return whether it comes out at the other end."""
    try:
        sender.send(frame)
    except OSError:  # nftables tells the sender
        return False
    return bool(heard(receiver, lambda got: got == frame, within))


def heard(receiver: socket.socket, wanted: object, within: float = 0.3) -> bytes | None:
    """Return the first frame ``wanted`` accepts, or None."""
    end = time.monotonic() + within
    while (left := end - time.monotonic()) > 0:
        receiver.settimeout(left)
        try:
            got = receiver.recv(4096)
        except OSError:
            return None
        if wanted(got):  # type: ignore[operator]
            return got
    return None
