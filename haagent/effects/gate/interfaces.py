"""Names, indexes and link types of this network namespace's interfaces. Reads only."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable

from haagent.effects.gate.model import Guard

_SIOCGIFHWADDR = 0x8927
_WITH_ETHERNET_HEADER = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK


def guarded_interfaces(guards: Iterable[Guard]) -> list[str]:
    """Return every interface the guards name, without repeats, in their order."""
    return list(
        dict.fromkeys(name for guard in guards for router in guard.routers for name in router.interfaces)
    )


def interface_indexes(names: Iterable[str]) -> dict[str, int]:
    """Return the indexes of those interfaces that exist."""
    known = {name: index for index, name in socket.if_nameindex()}
    return {name: known[name] for name in names if name in known}


def link_type(interface: str) -> int:
    """Return the interface's ARPHRD_* number. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    return int(struct.unpack_from("=H", answer, 16)[0])


def has_ethernet_header(interface: str) -> bool:
    """Return whether the interface's frames start with an Ethernet header. Raises OSError."""
    return link_type(interface) in _WITH_ETHERNET_HEADER
