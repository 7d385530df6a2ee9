"""The file of a witness: every register, in one SQLite database, written through to the disk before anybody is told.

Promises that a batch of swaps is applied whole or not at all, that what ``apply`` returned survives the loss of
power, and that no other process serves the same file. Versions never repeat, not even after the file was replaced
by an older copy: each ends with a random word of the run that gave it.

Readable with the database's own tools: ``sqlite3 FILE 'select domain, name, cast(value as text) from registers'``.
While it is open there are two more files next to it (``-wal``, ``-shm``): swaps are appended to the first, which
takes one write through to the disk instead of three. A clean end leaves the one file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from haagent.arbiter import Record
from haagent.errors import HaagentError

APPLICATION_ID = 0x48415731  # "HAW1", as `file` shows it
MOST_REGISTERS = 10_000
_SCHEMA = """
create table registers (
    domain text not null, name text not null, value blob not null, version text not null,
    primary key (domain, name)
) without rowid;
create table state (revision integer not null);
insert into state values (0);
"""


class StoreError(HaagentError):
    """The file cannot serve: it is in use, something else, or the disk refuses. Says which."""

    exit_code = 74  # EX_IOERR


class Full(Exception):  # noqa: N818 - what it is
    """Nothing was written, because there is no room: on the disk, or for one more register."""


@dataclass(frozen=True, slots=True)
class SwapOf:
    """Write ``value`` into a register if it holds ``expected``."""

    domain: str
    name: str
    value: bytes
    expected: Record | None


@dataclass(frozen=True, slots=True)
class ReadOf:
    """Return what a register holds."""

    domain: str
    name: str


@dataclass(frozen=True, slots=True)
class EraseOf:
    """Remove every register of a domain."""

    domain: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a register holds after a request; ``written`` says that it is by this request, or was already."""

    record: Record | None
    written: bool = False


Task: TypeAlias = SwapOf | ReadOf | EraseOf
Result: TypeAlias = Held | Full


class Store:
    """An open file; not safe for concurrent use, from any one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self.made = path, False
        self._run = secrets.token_hex(4)
        self._lock = _lock(path)
        try:
            self._base = _open(path)
            self.made = _prepare(self._base, path)
            self._count = int(self._base.execute("select count(*) from registers").fetchone()[0])
            self._revision = int(self._base.execute("select revision from state").fetchone()[0])
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise StoreError(f"{path}: {error}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def apply(self, tasks: Sequence[Task]) -> list[Result]:
        """Perform all, in this order, as one write to the disk. Raises Full, or StoreError: it is unknown what happened."""
        before = self._count, self._revision
        try:
            self._base.execute("begin immediate")
            results = [self._perform(task) for task in tasks]
            if self._revision != before[1]:
                self._base.execute("update state set revision = ?", (self._revision,))
            self._base.execute("commit")
        except sqlite3.Error as error:
            self._count, self._revision = before
            self._roll_back()
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise Full(str(error)) from error
            raise StoreError(f"{self.path}: {error}") from error
        except BaseException:
            self._roll_back()
            raise
        return results

    def registers(self, domain: str) -> list[tuple[str, Record]]:
        """Return what a domain holds, by name."""
        rows = self._base.execute(
            "select name, value, version from registers where domain = ? order by name", (domain,)
        )
        return [(name, Record(value, version)) for name, value, version in rows]

    def close(self) -> None:
        """Close the file, leaving nothing next to it, and let others have it. Idempotent."""
        self._base.close()
        if self._lock >= 0:
            os.close(self._lock)  # last: closing any descriptor of a file gives up SQLite's own locks on it
            self._lock = -1

    def _perform(self, task: Task) -> Result:
        match task:
            case ReadOf():
                return Held(self._held(task.domain, task.name))
            case EraseOf():
                self._count -= self._base.execute(
                    "delete from registers where domain = ?", (task.domain,)
                ).rowcount
                return Held(None, written=True)
            case SwapOf():
                return self._swap(task)

    def _swap(self, task: SwapOf) -> Result:
        held = self._held(task.domain, task.name)
        if held is not None and held.value == task.value:
            return Held(held, written=True)
        if held != task.expected:
            return Held(held)
        if held is None and self._count >= MOST_REGISTERS:
            return Full(f"{MOST_REGISTERS} registers, which is the most")
        self._revision += 1
        record = Record(task.value, f"{self._revision}-{self._run}")
        self._base.execute(
            "insert or replace into registers values (?, ?, ?, ?)",
            (task.domain, task.name, record.value, record.version),
        )
        self._count += held is None
        return Held(record, written=True)

    def _held(self, domain: str, name: str) -> Record | None:
        row = self._base.execute(
            "select value, version from registers where domain = ? and name = ?", (domain, name)
        ).fetchone()
        return None if row is None else Record(*row)

    def _roll_back(self) -> None:
        if self._base.in_transaction:
            self._base.execute("rollback")


@dataclass(frozen=True, slots=True)
class Row:
    """One register, as ``--show`` prints it."""

    domain: str
    name: str
    version: str
    value: bytes


def show(path: Path) -> list[Row]:
    """Return what a file holds, also while a witness serves it. Raises StoreError."""
    try:
        base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)
        try:
            _check_kind(base, path)
            rows = base.execute("select domain, name, version, value from registers order by domain, name")
            return [Row(*row) for row in rows]
        finally:
            base.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _lock(path: Path) -> int:
    """Return a descriptor that keeps other witnesses from the file. Raises StoreError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        in_use = isinstance(error, BlockingIOError)
        raise StoreError(
            f"{path}: {'another witness serves this file' if in_use else error.strerror}"
        ) from None
    return descriptor


def _open(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    base.execute("pragma synchronous = full")
    base.execute("pragma trusted_schema = off")
    return base


def _prepare(base: sqlite3.Connection, path: Path) -> bool:
    """Make the tables in an empty file, or see that they are there; return whether it was empty."""
    empty = not base.execute("select count(*) from sqlite_master").fetchone()[0]
    if empty:
        base.executescript(f"begin; pragma application_id = {APPLICATION_ID}; {_SCHEMA} commit;")
        _sync(path.parent)
    else:
        _check_kind(base, path)
    base.execute("pragma journal_mode = wal")
    return bool(empty)


def _check_kind(base: sqlite3.Connection, path: Path) -> None:
    if base.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path}: not a file of a witness")


def _sync(directory: Path) -> None:
    """Make the new file's name durable, too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
