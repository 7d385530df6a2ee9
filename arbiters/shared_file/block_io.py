"""The process that reads and writes one voting file. Run as a script; knows nothing of what the blocks mean.

A read or write of a hung server can neither be interrupted nor timed out, and a process whose thread is stuck in one
cannot end. So each file has a process of its own. Whoever uses it can stop waiting, and end, at any time; the stuck
process ends as soon as its one operation has returned. Until then it holds an abstract socket named after the file and
the node, so that the node's next run cannot write to this file while an old write may still land.

Protocol, over the socket whose number is the only argument: see ``pack_open``, ``pack_exchange`` and ``ANSWER``.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from typing import BinaryIO

REQUEST = struct.Struct(">BQII")  # operation, offset to write at, bytes to write, ranges to read
RANGE = struct.Struct(">QI")  # offset, bytes
ANSWER = struct.Struct(">iBI")  # errno or 0, flags, bytes that follow: what was read, or the error's text
INODE = struct.Struct(">Q")  # 0: it is a block device
OPEN, EXCHANGE = 1, 2
DIRECT = 1  # flag: the file is read and written past the page cache
PAGE = 4096


def pack_open(path: str, lock: str) -> bytes:
    """Return the request to open ``path`` anew; the answer is INODE. ``lock`` is held until the process ends."""
    text = f"{path}\0{lock}".encode()
    return REQUEST.pack(OPEN, 0, len(text), 0) + text


def pack_exchange(at: int, data: bytes, ranges: Sequence[tuple[int, int]]) -> bytes:
    """Return the request to write ``data`` (empty: nothing), then to read ``ranges``; all multiples of 4096."""
    head = REQUEST.pack(EXCHANGE, at, len(data), len(ranges))
    return head + b"".join(RANGE.pack(*one) for one in ranges) + data


class VotingFileIO:
    """One open file, one aligned buffer, one lock."""

    def __init__(self) -> None:
        self._file = -1
        self._lock: socket.socket | None = None
        self._buffer = mmap.mmap(-1, 64 * PAGE)
        self.flags = 0

    def open(self, path: str, lock: str, flags: int = os.O_RDWR) -> None:
        """Open ``path`` anew. Raises OSError; EADDRINUSE means that another process holds ``lock`` (empty: none)."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if lock and self._lock is None:
            self._lock = _taken(lock)
        self._file, self.flags = open_direct(path, flags | os.O_DSYNC)

    @property
    def inode(self) -> int:
        """Return the number of the file's inode, which a copy does not share; 0 for a block device."""
        status = os.fstat(self._file)
        return status.st_ino if stat.S_ISREG(status.st_mode) else 0

    def close(self) -> None:
        """Close the file. The lock stays until the process ends."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def exchange(self, at: int, data: bytes, ranges: Sequence[tuple[int, int]]) -> bytes:
        """Write ``data`` durably, then return what ``ranges`` hold. Raises OSError."""
        status = os.fstat(self._file)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            raise OSError(errno.ENOENT, "the file was removed")
        if data:
            self._write(at, data)
        if not self.flags & DIRECT:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        return b"".join(self._read(at, size) for at, size in ranges)

    def _write(self, at: int, data: bytes) -> None:
        view = self._reserve(len(data))
        view[:] = data
        if os.pwritev(self._file, [view], at) != len(data):
            raise OSError(errno.EIO, "only part of the block could be written")

    def _read(self, at: int, size: int) -> bytes:
        view = self._reserve(size)
        if os.preadv(self._file, [view], at) != size:
            raise OSError(errno.ENODATA, "the file is shorter than its header says: it was truncated")
        return bytes(view)

    def _reserve(self, size: int) -> memoryview:
        if size > len(self._buffer):
            self._buffer = mmap.mmap(-1, size)
        return memoryview(self._buffer)[:size]


def _taken(lock: str) -> socket.socket:
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind("\0" + lock)
    except OSError:
        holder.close()
        raise
    return holder


def open_direct(path: str, flags: int) -> tuple[int, int]:
    """Open ``path`` past the page cache, or through it if the file system cannot; return (descriptor, DIRECT or 0)."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC), DIRECT
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags | os.O_CLOEXEC), 0


def serve(stream: BinaryIO) -> None:
    """Answer requests until the other side is gone."""
    file = VotingFileIO()
    while len(head := stream.read(REQUEST.size)) == REQUEST.size:
        operation, at, length, count = REQUEST.unpack(head)
        ranges = [RANGE.unpack(stream.read(RANGE.size)) for _ in range(count)]
        data = stream.read(length)
        try:
            if operation == OPEN:
                path, _, lock = data.decode().partition("\0")
                file.open(path, lock)
                found = INODE.pack(file.inode)
            else:
                found = file.exchange(at, data, ranges)
            answer = ANSWER.pack(0, file.flags, len(found)) + found
        except OSError as error:
            text = (error.strerror or str(error)).encode()
            answer = ANSWER.pack(error.errno or errno.EIO, file.flags, len(text)) + text
        stream.write(answer)
        stream.flush()


if __name__ == "__main__":
    try:
        with socket.socket(fileno=int(sys.argv[1])) as connection:
            serve(connection.makefile("rwb"))  # type: ignore[arg-type]
    except (BrokenPipeError, ConnectionError, KeyboardInterrupt):
        os._exit(0)
