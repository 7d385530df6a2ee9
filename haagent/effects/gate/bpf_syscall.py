"""bpf(2) without libbpf: the dozen commands the gate uses, as functions of file descriptors and bytes.

Every function raises OSError with the kernel's errno; nothing is interpreted here, and nothing retried but the load
of a program whose verification a signal interrupted. File descriptors returned are close-on-exec. Layouts: ``union
bpf_attr`` in the kernel's include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

_SYSCALL = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "ppc64": 361,
    "s390x": 351,
}
_ATTR_SIZE = 128
_NAME_SIZE = 16
_SCHED_CLS = 3
_LOG_SIZE = 1 << 20
_LOAD_ATTEMPTS = 5  # as libbpf; a signal every time is a storm, not bad luck
LICENSE = b"Apache-2.0"


class MapType(IntEnum):
    HASH = 1
    ARRAY = 2


class Hook(IntEnum):
    """``enum bpf_attach_type`` of TCX."""

    INGRESS = 46
    EGRESS = 47


NO_PREALLOC, MMAPABLE = 1 << 0, 1 << 10
_REPLACE, _BEFORE = 1 << 2, 1 << 3

(
    _MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD, _OBJ_PIN, _OBJ_GET, _PROG_ATTACH, _PROG_DETACH,
    _PROG_TEST_RUN, _PROG_NEXT_ID, _MAP_NEXT_ID, _PROG_FD_BY_ID, _MAP_FD_BY_ID, _INFO_BY_FD, _PROG_QUERY,
) = range(17)  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What a map is; two maps with equal infos are interchangeable."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A loaded program, and the ids of the maps it names."""

    id: int
    name: str
    map_ids: tuple[int, ...]


def supported() -> bool:
    """Return whether the number of bpf(2) is known for this machine."""
    return platform.machine() in _SYSCALL


def raise_memlock_limit() -> None:
    """Let maps be created on kernels before 5.11, which count them against RLIMIT_MEMLOCK."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def map_create(info: MapInfo) -> int:
    """Create a map and return its descriptor."""
    fields = (info.type, info.key_size, info.value_size, info.max_entries, info.flags)
    return _bpf(_MAP_CREATE, struct.pack("=5IIi16s", *fields, 0, 0, _name(info.name)))


def map_update(fd: int, key: bytes, value: bytes) -> None:
    """Insert or overwrite one element."""
    keys, values = _buffer(key), _buffer(value)
    _bpf(_MAP_UPDATE, _element(fd, keys, values))


def map_delete(fd: int, key: bytes) -> None:
    """Delete one element; a missing one is FileNotFoundError."""
    keys = _buffer(key)
    _bpf(_MAP_DELETE, _element(fd, keys))


def map_items(fd: int, info: MapInfo) -> Iterator[tuple[bytes, bytes]]:
    """Yield every (key, value) of a hash map. Not a snapshot: elements changed meanwhile may be missed."""
    key, following, value = None, _buffer(bytes(info.key_size)), _buffer(bytes(info.value_size))
    for _ in range(2 * info.max_entries):
        try:
            _bpf(_MAP_NEXT_KEY, _element(fd, key, following))
        except FileNotFoundError:
            return
        key = _buffer(following.raw)
        with suppress(FileNotFoundError):
            _bpf(_MAP_LOOKUP, _element(fd, key, value))
            yield key.raw, value.raw


def program_load(name: str, code: bytes) -> int:
    """Load a tc classifier and return its descriptor. An OSError carries the end of the verifier's log, if any."""
    instructions, license_text = _buffer(code), _buffer(LICENSE + b"\0")
    quiet = struct.pack(
        "=IIQQIIQII16s",
        _SCHED_CLS,
        len(code) // 8,
        _address(instructions),
        _address(license_text),
        0,
        0,
        0,
        0,
        0,
        _name(name),
    )
    try:
        return _load(quiet)
    except OSError as error:
        if error.errno not in {13, 22}:  # EACCES, EINVAL: the verifier may have more to say
            raise
        log = ctypes.create_string_buffer(_LOG_SIZE)
        talking = quiet[:24] + struct.pack("=IIQ", 1, _LOG_SIZE, _address(log)) + quiet[40:]
        with suppress(OSError):
            return _load(talking)
        reason = " / ".join(log.value.decode(errors="replace").strip().splitlines()[-3:])
        raise OSError(
            error.errno, f"{os.strerror(error.errno)}: {reason}" if reason else error.strerror
        ) from error


def _load(attributes: bytes) -> int:
    """Load a program; the verifier gives up with EAGAIN when a signal arrives, which says nothing about the program."""
    for _ in range(_LOAD_ATTEMPTS - 1):
        with suppress(BlockingIOError):
            return _bpf(_PROG_LOAD, attributes)
    return _bpf(_PROG_LOAD, attributes)


def program_test_run(fd: int, frame: bytes, ifindex: int = 1) -> int:
    """Run a program on one frame (at least 15 bytes) as if on interface ``ifindex``; return its verdict, signed."""
    data = _buffer(frame)
    context = bytearray(192)
    struct.pack_into("=I", context, 40, ifindex)
    skb = _buffer(bytes(context))
    attributes = struct.pack(
        "=IIIIQQIIIIQQ", fd, 0, len(frame), 0, _address(data), 0, 1, 0, len(context), 0, _address(skb), 0
    )
    _, attributes = _bpf_out(_PROG_TEST_RUN, attributes)
    return int(struct.unpack_from("=i", attributes, 4)[0])


def program_attach(fd: int, ifindex: int, hook: Hook, *, replace: int | None = None) -> None:
    """Attach by TCX (kernel 6.6) as the first program, or atomically in the place of the program ``replace``."""
    flags = _BEFORE if replace is None else _REPLACE
    _bpf(_PROG_ATTACH, struct.pack("=IIIII", ifindex, fd, hook, flags, replace or 0))


def program_detach(fd: int, ifindex: int, hook: Hook) -> None:
    """Detach one TCX program; one that is not there is FileNotFoundError."""
    _bpf(_PROG_DETACH, struct.pack("=IIII", ifindex, fd, hook, 0))


def attached_programs(ifindex: int, hook: Hook) -> tuple[int, ...]:
    """Return the ids of the TCX programs of an interface in the order they run."""
    ids = ctypes.create_string_buffer(4 * 64)
    attributes = struct.pack("=IIIIQII", ifindex, hook, 0, 0, _address(ids), 64, 0)
    _, attributes = _bpf_out(_PROG_QUERY, attributes)
    count = min(64, struct.unpack_from("=I", attributes, 24)[0])
    return tuple(struct.unpack_from(f"={count}I", ids.raw))


def program_by_id(program_id: int) -> int:
    """Return a descriptor of a loaded program (needs CAP_SYS_ADMIN)."""
    return _bpf(_PROG_FD_BY_ID, struct.pack("=III", program_id, 0, 0))


def map_by_id(map_id: int) -> int:
    """Return a descriptor of an existing map (needs CAP_SYS_ADMIN)."""
    return _bpf(_MAP_FD_BY_ID, struct.pack("=III", map_id, 0, 0))


def map_info(fd: int) -> MapInfo:
    """Describe a map."""
    raw = _info(fd, bytes(80))
    kind, _, key_size, value_size, entries, flags = struct.unpack_from("=6I", raw)
    return MapInfo(_text(raw[24:40]), kind, key_size, value_size, entries, flags)


def program_info(fd: int) -> ProgramInfo:
    """Describe a program."""
    ids = ctypes.create_string_buffer(4 * 64)
    request = bytearray(128)
    struct.pack_into("=IQ", request, 52, 64, _address(ids))  # nr_map_ids, map_ids
    raw = _info(fd, bytes(request))
    count = min(64, struct.unpack_from("=I", raw, 52)[0])
    return ProgramInfo(
        struct.unpack_from("=I", raw, 4)[0],
        _text(raw[64:80]),
        tuple(struct.unpack_from(f"={count}I", ids.raw)),
    )


def _info(fd: int, request: bytes) -> bytes:
    buffer = _buffer(request)
    _bpf(_INFO_BY_FD, struct.pack("=IIQ", fd, len(request), _address(buffer)))
    return buffer.raw


def _element(
    fd: int, key: ctypes.Array[ctypes.c_char] | None, value: ctypes.Array[ctypes.c_char] | None = None
) -> bytes:
    return struct.pack("=IIQQQ", fd, 0, _address(key) if key else 0, _address(value) if value else 0, 0)


def _bpf(command: int, attributes: bytes) -> int:
    return _bpf_out(command, attributes)[0]


def _bpf_out(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Return what the kernel answered and the attributes as it left them."""
    buffer = ctypes.create_string_buffer(attributes.ljust(_ATTR_SIZE, b"\0"), _ATTR_SIZE)
    if not supported():
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known")
    result = _libc.syscall(_SYSCALL[platform.machine()], command, buffer, _ATTR_SIZE)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result), buffer.raw


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def _name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) >= _NAME_SIZE:
        raise ValueError(f"{name!r}: names in bpf(2) have at most {_NAME_SIZE - 1} bytes")
    return encoded


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")
