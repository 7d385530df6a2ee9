"""Who has to leave when one connection more than there may be comes in.

Promises that the origin (a host, a user) with the most places loses one of them, the oldest first: one that connects as
fast as it can displaces itself, and keeps nobody else out. Only more origins than there are places can. May not close
anything: the caller does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Crowd(Generic[T]):
    """At most ``most`` members (more only until those told to leave have left), each with the origin it came from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._members: dict[T, str] = {}  # in order of arrival
        self._places: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, member: T, origin: str) -> T | None:
        """Take ``member`` in; return who has to leave for it and is no member any more, None if there was room."""
        leaving = None
        if len(self._members) >= self._most:
            crowded = max(self._places.values())
            leaving = next(one for one, its in self._members.items() if self._places[its] == crowded)
            self.leave(leaving)
        self._members[member] = origin
        self._places[origin] += 1
        return leaving

    def leave(self, member: T) -> None:
        """Forget ``member``. Idempotent."""
        origin = self._members.pop(member, None)
        if origin is None:
            return
        self._places[origin] -= 1
        if not self._places[origin]:
            del self._places[origin]


def host_of(writer: asyncio.StreamWriter) -> str:
    """Return the host at the other end: its IPv4 address, or the /64 of which an IPv6 host has every address."""
    peer = writer.get_extra_info("peername")
    if not peer:
        return ""  # it has left already
    address = ip_address(peer[0])
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or address.packed[:8].hex())
    return str(address)
