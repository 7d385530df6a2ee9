"""Makes voting files: all of a domain at once, or one that was lost from a majority of the others, while agents run.

Promises that a file is complete before it can be taken for one, and that a re-created file keeps every promise that
counted while its predecessor lived. Blocking; meant for the command line.
"""

from __future__ import annotations

import os
import secrets
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from arbiters.shared_file.ballot import EMPTY, NODES_AT_MOST, Block, View
from arbiters.shared_file.block import BLOCK, Damaged, encode, seal
from arbiters.shared_file.block_io import VotingFileIO
from arbiters.shared_file.layout import (
    FILES,
    REGISTERS_AT_MOST,
    SLOTS,
    Header,
    NotAVotingFile,
    check_original,
    no_presence,
    read_header,
    seal_header,
)
from arbiters.shared_file.views import Reader

_EMPTY_PAYLOAD = encode(EMPTY)


class CannotMake(Exception):  # noqa: N818
    """Says what is in the way, and what would be accepted."""


def plan(
    paths: Sequence[str], domain: str, nodes: Sequence[str], *, spare: int = 1, registers: int = 64
) -> list[Header]:
    """Return the headers of a new domain, one per path. Raises CannotMake."""
    if len(paths) not in FILES or len({os.path.realpath(path) for path in paths}) != len(paths):
        raise CannotMake(f"{len(paths)} voting files; accepted: 1, 3 or 5, all different")
    if not nodes or len(set(nodes)) != len(nodes) or not 0 <= spare <= NODES_AT_MOST - len(nodes):
        raise CannotMake(
            f"{len(nodes)} nodes and {spare} spare places; accepted: together at most {NODES_AT_MOST}"
        )
    if not 2 <= registers <= REGISTERS_AT_MOST:
        raise CannotMake(f"{registers} registers; accepted: 2 to {REGISTERS_AT_MOST}")
    members = tuple(secrets.randbits(63) for _ in paths)
    one = Header(domain, uuid.uuid4().hex, 0, members, 1, tuple(nodes), len(nodes) + spare, registers)
    return [replace(one, index=index) for index in range(len(paths))]


def make_all(paths: Sequence[str], headers: Sequence[Header], *, force: bool = False) -> None:
    """Write every file of a new domain. Raises CannotMake, before anything is written, if one is in use; OSError."""
    for path in paths:
        if not force and (found := _occupant(path)):
            raise CannotMake(f"{path}: {found}; --force overwrites it, and with it every register")
    for path, header in zip(paths, headers, strict=True):
        make(path, header, {})


def make(path: str, header: Header, blocks: dict[tuple[int, int], Block]) -> None:
    """Write one file: ``blocks`` by register and node, the header last. A regular file appears under its name complete."""
    device = _is_device(path)
    target = path if device else f"{path}.new"
    if not device:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _mode(path))
        os.posix_fallocate(descriptor, 0, header.size)  # later writes need no space, and change no metadata
        os.close(descriptor)
    with opened(target) as file:
        if device and _device_size(target) < header.size:
            raise CannotMake(f"{path}: the device has {_device_size(target)} bytes; needed: {header.size}")
        file.exchange(0, bytes(SLOTS * BLOCK), [])
        front = b"".join(no_presence(header, node) for node in range(header.places))
        file.exchange(header.presence_at(0), front, [])
        for register in range(header.registers):
            file.exchange(header.register_at(register), _register(header, register, blocks), [])
        file.exchange(0, seal_header(replace(header, inode=file.inode)) * SLOTS, [])
    if not device:
        os.rename(target, path)
        _sync_directory(path)


def lost_index(target: str, headers: Sequence[Header]) -> int:
    """Return which file of the domain ``target`` is to be: what it says itself, or the only one not there."""
    with suppress(OSError, NotAVotingFile), opened(target, os.O_RDONLY) as file:
        there, _ = read_header(file.exchange(0, b"", [(0, SLOTS * BLOCK)]))
        if there.uuid == headers[0].uuid:
            return there.index
    missing = set(range(len(headers[0].members))) - {header.index for header in headers}
    if len(missing) != 1:
        names = ", ".join(str(index + 1) for index in sorted(missing))
        raise CannotMake(
            f"which of the voting files {names} is {target} to be? name all the others, or give --index"
        )
    return missing.pop()


def replace_file(target: str, others: Sequence[str], index: int | None = None) -> Header:
    """Re-create voting file ``target`` from ``others``; return its header. Raises CannotMake, OSError, NotAVotingFile.

    The order is what makes it safe. First a majority learns that the lost file no longer counts; only then are their
    blocks read. So whatever was counted with the lost file had been written to one of these before it was read.
    """
    headers = [_header(path) for path in others]
    _check_others(headers)
    lost = lost_index(target, headers) if index is None else index
    if lost in {header.index for header in headers}:
        raise CannotMake(f"voting file {lost + 1} is among the files to copy from")
    newest = max(headers, key=lambda header: header.members_seq)
    members = list(newest.members)
    members[lost] = secrets.randbits(63)
    after = replace(newest, members=tuple(members), members_seq=newest.members_seq + 1)
    for path, header in zip(others, headers, strict=True):
        _rewrite_header(path, replace(after, index=header.index, inode=header.inode))
    header = replace(after, index=lost)
    make(target, header, _gather(others, header))
    return header


def _check_others(headers: Sequence[Header]) -> None:
    count = len(headers[0].members)
    if len({header.uuid for header in headers}) != 1 or len({header.index for header in headers}) != len(
        headers
    ):
        raise CannotMake("the files to copy from are not different files of one domain")
    if len(headers) < count // 2 + 1:
        raise CannotMake(
            f"{len(headers)} files to copy from; needed: {count // 2 + 1} of the {count}, without the lost one"
        )
    newest = max(headers, key=lambda header: header.members_seq)
    for header in headers:
        if header.file_id != newest.members[header.index]:
            raise CannotMake(f"voting file {header.index + 1} was itself replaced: this is its predecessor")


def _gather(others: Sequence[str], header: Header) -> dict[tuple[int, int], Block]:
    """Return each node's newest block of every register, from at least a majority of files for each."""
    blocks: dict[tuple[int, int], Block] = {}
    seen = [0] * header.registers
    for path in others:
        for register, view in registers_of(path):
            if not isinstance(view, View):
                continue
            seen[register] += 1
            for node, block in enumerate(view.blocks):
                blocks[register, node] = blocks.get((register, node), EMPTY).merged(block)
    needed = len(header.members) // 2 + 1
    for register, count in enumerate(seen):
        if count < needed:
            raise CannotMake(
                f"register {register} is undamaged in only {count} of the other files; needed: {needed}"
            )
    return blocks


def registers_of(path: str) -> Iterator[tuple[int, View | Exception]]:
    """Yield every register of a file, or what is wrong with it. Raises OSError, NotAVotingFile."""
    reader = Reader(_header(path))
    with opened(path, os.O_RDONLY) as file:
        for register in range(reader.header.registers):
            raw = file.exchange(0, b"", reader.ranges((register,)))
            reader.look_at_front(raw)
            yield register, reader.views(raw, (register,))[register]


@contextmanager
def opened(path: str, flags: int = os.O_RDWR) -> Iterator[VotingFileIO]:
    """Open a file for ourselves alone: the agents' locks are not in the way. Raises OSError."""
    file = VotingFileIO()
    try:
        file.open(path, "", flags)
        yield file
    finally:
        file.close()


def _header(path: str) -> Header:
    with opened(path, os.O_RDONLY) as file:
        header = read_header(file.exchange(0, b"", [(0, SLOTS * BLOCK)]))[0]
        check_original(header, file.inode)
        return header


def _rewrite_header(path: str, header: Header) -> None:
    """Write ``header`` over the older of the two; the newer stays until the next time."""
    with opened(path) as file:
        _, newest = read_header(file.exchange(0, b"", [(0, SLOTS * BLOCK)]))
        file.exchange((1 - newest) * BLOCK, seal_header(header), [])


def _register(header: Header, register: int, blocks: dict[tuple[int, int], Block]) -> bytes:
    pieces = []
    for node in range(header.places):
        block = blocks.get((register, node))
        payload = encode(block) if block is not None else _EMPTY_PAYLOAD
        pieces.append(seal(payload, header.place(register, node, 0)))
        pieces.append(seal(_EMPTY_PAYLOAD, header.place(register, node, 1)))
    return b"".join(pieces)


def _occupant(path: str) -> str:
    """Return what is in the way at ``path``; nothing if it is free."""
    try:
        header = _header(path)
    except FileNotFoundError:
        return ""
    except (NotAVotingFile, Damaged) as error:
        return f"there is something already ({error})"
    except OSError as error:
        return "" if _is_empty(path) else f"{error.strerror}"
    return f"it is voting file {header.index + 1} of domain {header.domain}"


def _is_empty(path: str) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(os.stat(path).st_mode) and os.stat(path).st_size == 0
    return False


def _is_device(path: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISBLK(os.stat(path).st_mode)
    return False


def _device_size(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def _mode(path: str) -> int:
    """Return the permissions of the file that is replaced, or those of a new one."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(os.stat(path).st_mode)
    return 0o600


def _sync_directory(path: str) -> None:
    descriptor = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
