"""What the kernel says about an interface right now, and who this host is.

Promises: every answer is asked for afresh (two microseconds), so a recreated interface is never mistaken for
the old one, and is about the network namespace of the calling process.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from haagent.errors import EffectError

IFF_UP = 0x1
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_LOWER_UP = 0x10000

_SIOCGIFFLAGS = 0x8913
_SIOCGIFHWADDR = 0x8927


def index_of(interface: str) -> int:
    """Return the interface's index, 0 if there is no such interface."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def _ask(sock: socket.socket, request: int, interface: str) -> bytes | None:
    """Return the answer part of a ``struct ifreq``, or None if there is no such interface."""
    try:
        return fcntl.ioctl(sock, request, struct.pack("16s24x", interface.encode()))[16:]
    except OSError:
        return None


def flags_of(sock: socket.socket, interface: str) -> int:
    """Return the interface's low IFF_* flags (16 bits), 0 if it does not exist. ``sock`` is any socket."""
    answer = _ask(sock, _SIOCGIFFLAGS, interface)
    return int(struct.unpack_from("=H", answer)[0]) if answer else 0


def mac_of(sock: socket.socket, interface: str) -> bytes | None:
    """Return the interface's six-octet hardware address, None if it does not exist. ``sock`` is any socket."""
    answer = _ask(sock, _SIOCGIFHWADDR, interface)
    return answer[2:8] if answer else None


def forwards_ipv6(interface: str) -> bool:
    """Return whether the host routes IPv6 arriving on this interface."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/forwarding", encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:
        return False


def host_identity() -> str:
    """Return "boot id/network namespace inode": equal for two processes exactly if they share a network stack.

    Raises EffectError if /proc is not readable.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.stat('/proc/self/ns/net').st_ino}"
    except OSError as error:
        raise EffectError(f"cannot tell which host this is: {error}") from error
