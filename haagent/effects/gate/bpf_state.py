"""The memory the BPF programs and this process share: one deadline, the claims, and what belongs to which claim.

The deadline and the claims' states are mapped memory, each written by one aligned 8-byte store, so the kernel sees
the old value or the new one. The maps live as long as a program names them, also after this process; their names
carry the layout's version, so that another version of haagent does not mistake them for its own.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterable, Mapping

from haagent.effects.gate import bpf_syscall as bpf
from haagent.effects.gate.bpf_program import MapDescriptors
from haagent.effects.gate.bpf_syscall import MMAPABLE, NO_PREALLOC, MapInfo, MapType
from haagent.effects.gate.model import ClaimGate, Guard, GuardedRouter, IPAddress, scopes

MAX_CLAIMS = 4096
_NAME_BYTES = 256
_SLOT = struct.Struct("=I")
_LAYOUT = {
    "lease": MapInfo("haagent1_lease", MapType.ARRAY, 4, 8, 1, MMAPABLE),
    "claims": MapInfo("haagent1_claims", MapType.ARRAY, 4, 8, MAX_CLAIMS, MMAPABLE),
    "names": MapInfo("haagent1_names", MapType.HASH, 4, _NAME_BYTES, MAX_CLAIMS, NO_PREALLOC),
    "addresses": MapInfo("haagent1_addrs", MapType.HASH, 20, 4, 65536, NO_PREALLOC),
    "routers": MapInfo("haagent1_router", MapType.HASH, 24, 4, 16384, NO_PREALLOC),
}


class SharedState:
    """The five maps, opened. Close it when done; the kernel keeps what programs use."""

    def __init__(self, descriptors: Mapping[str, int]) -> None:
        self.descriptors = MapDescriptors(**descriptors)
        self._lease = Words(self.descriptors.lease, 1)
        self._claims = Words(self.descriptors.claims, MAX_CLAIMS)

    @classmethod
    def create(cls) -> SharedState:
        """Make new maps: deadline 0, nothing guarded. Raises OSError."""
        opened: dict[str, int] = {}
        try:
            for role, info in _LAYOUT.items():
                opened[role] = bpf.map_create(info)
            return cls(opened)
        except OSError:
            _close_all(opened.values())
            raise

    @classmethod
    def existing(cls, map_ids: Iterable[int]) -> SharedState | None:
        """Open the maps a program left behind, or return None if they are not of this layout. Raises OSError."""
        roles = {info: role for role, info in _LAYOUT.items()}
        opened: dict[str, int] = {}
        try:
            for map_id in map_ids:
                fd = bpf.map_by_id(map_id)
                role = roles.get(bpf.map_info(fd))
                if role is None or role in opened:
                    os.close(fd)
                else:
                    opened[role] = fd
            if opened.keys() == _LAYOUT.keys():
                return cls(opened)
        except OSError:
            _close_all(opened.values())
            raise
        _close_all(opened.values())
        return None

    @property
    def deadline(self) -> int:
        return self._lease.words[0]

    @deadline.setter
    def deadline(self, until_boot_ns: int) -> None:
        self._lease.words[0] = until_boot_ns

    def claim(self, slot: int) -> ClaimGate:
        word = self._claims.words[slot]
        return ClaimGate(bool(word & 1), word >> 1)

    def set_claim(self, slot: int, *, opened: bool, epoch: int) -> None:
        self._claims.words[slot] = epoch << 1 | opened

    def names(self) -> dict[str, int]:
        """Return the slot of every named claim."""
        items = bpf.map_items(self.descriptors.names, _LAYOUT["names"])
        return {value.rstrip(b"\0").decode(errors="replace"): _SLOT.unpack(key)[0] for key, value in items}

    def name(self, slot: int, claim: str) -> None:
        bpf.map_update(self.descriptors.names, _SLOT.pack(slot), claim.encode().ljust(_NAME_BYTES, b"\0"))

    def forget(self, slot: int) -> None:
        bpf.map_delete(self.descriptors.names, _SLOT.pack(slot))

    def addresses(self) -> dict[bytes, int]:
        return self._slots(self.descriptors.addresses, "addresses")

    def routers(self) -> dict[bytes, int]:
        return self._slots(self.descriptors.routers, "routers")

    def replace_keys(self, fd: int, before: Mapping[bytes, int], wanted: Mapping[bytes, int]) -> None:
        """Bring a hash map from ``before`` to ``wanted``: first what is new or moved, then what is gone."""
        for key, slot in wanted.items():
            if before.get(key) != slot:
                bpf.map_update(fd, key, _SLOT.pack(slot))
        for key in before.keys() - wanted.keys():
            bpf.map_delete(fd, key)

    def close(self) -> None:
        self._lease.close()
        self._claims.close()
        _close_all(getattr(self.descriptors, role) for role in _LAYOUT)

    def _slots(self, fd: int, role: str) -> dict[bytes, int]:
        return {key: _SLOT.unpack(value)[0] for key, value in bpf.map_items(fd, _LAYOUT[role])}


class Words:
    """An array map of u64, mapped into this process."""

    def __init__(self, fd: int, count: int) -> None:
        self._mapping = mmap.mmap(fd, -(-count * 8 // mmap.PAGESIZE) * mmap.PAGESIZE)
        self.words = (ctypes.c_uint64 * count).from_buffer(self._mapping)

    def close(self) -> None:
        del self.words  # the array exports the mapping's buffer
        self._mapping.close()


def address_keys(router: GuardedRouter, ifindexes: Mapping[str, int]) -> list[bytes]:
    """Return the keys of the router's addresses; interfaces without an index have none."""
    return [
        struct.pack("=I", ifindexes[scope] if scope else 0) + _wire(address)
        for address in router.addresses
        for scope in scopes(router, address)
        if not scope or scope in ifindexes
    ]


def router_keys(router: GuardedRouter, ifindexes: Mapping[str, int]) -> list[bytes]:
    """Return the keys under which the router's own advertisements are found, and its virtual MACs (VRID 0)."""
    stations = [
        struct.pack("=IBBH", ifindexes[interface], 0, 0, 0) + mac.ljust(16, b"\0")
        for interface, mac in router.stations
        if interface in ifindexes
    ]
    ifindex = ifindexes.get(router.interface)
    if ifindex is None:
        return stations
    return stations + [
        struct.pack("=IBBH", ifindex, router.vrid, router.family, 0) + _wire(where)
        for where in router.destinations
    ]


def wanted_keys(
    guards: Iterable[Guard], slots: Mapping[str, int], ifindexes: Mapping[str, int]
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Return the address keys and the router keys of all guards with their claims' slots."""
    addresses: dict[bytes, int] = {}
    routers: dict[bytes, int] = {}
    for guard in guards:
        for router in guard.routers:
            addresses.update(dict.fromkeys(address_keys(router, ifindexes), slots[guard.claim]))
            routers.update(dict.fromkeys(router_keys(router, ifindexes), slots[guard.claim]))
    return addresses, routers


def _wire(address: IPAddress) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _close_all(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)
