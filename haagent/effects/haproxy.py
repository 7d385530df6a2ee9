"""HAProxy's Runtime API: questions over its stats socket, and what it says about itself.

Promises one deadline for connecting, asking and answering together, and a bound on the length of an answer, so that a
HAProxy that is stopped, hung or not a HAProxy at all costs its caller ``timeout`` and no memory. An answer that is not
complete or not understood is an error, never a guess. Blocks: for a thread of its own. May not judge what it read.
"""

from __future__ import annotations

import csv
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from haagent.errors import EffectError

LIMIT = 4 << 20  # bytes of one answer: about 8,000 proxies
_FRONTENDS_AND_BACKENDS = 1 | 2  # of "show stat": 4 would add every server
QUESTION = ("show info", f"show stat -1 {_FRONTENDS_AND_BACKENDS} -1")
_COLUMNS = ("pxname", "svname", "status", "act", "bck")


class HaproxyError(EffectError):
    """HAProxy could not be asked, or its answer is none; the text says which."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend: its status word, and how many servers may be given a request (active and backup ones)."""

    status: str
    usable: int


@dataclass(frozen=True, slots=True)
class HaproxyState:
    """One HAProxy process. ``frontends`` are status words by name. ``stopping``: it serves what it has, and ends."""

    pid: int
    stopping: bool
    frontends: Mapping[str, str]
    backends: Mapping[str, Backend]


def ask(path: str, commands: Iterable[str], timeout: float, limit: int = LIMIT) -> str:
    """Return the answer to ``commands`` from the HAProxy at ``path`` within ``timeout`` seconds. Raises HaproxyError."""
    deadline = time.monotonic() + timeout
    request = ";".join(commands).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.settimeout(timeout)
            channel.connect(path)
            channel.sendall(request)
            answer = b"".join(_receive(channel, deadline, limit))
        except (TimeoutError, BlockingIOError):
            raise HaproxyError(f"{path} does not answer within {timeout:g} s") from None
        except OSError as error:
            raise HaproxyError(f"{path}: {error.strerror or error}") from None
    return answer.decode("utf-8", "replace")


def _receive(channel: socket.socket, deadline: float, limit: int) -> Iterator[bytes]:
    """Yield what comes until HAProxy closes, as it does after one line of commands."""
    received = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        piece = channel.recv(65_536)
        if not piece:
            return
        received += len(piece)
        if received > limit:
            raise HaproxyError(f"the answer is longer than {limit} bytes")
        yield piece


def read_state(answer: str) -> HaproxyState:
    """Return what the answer to ``QUESTION`` says. Raises HaproxyError."""
    info_text, found, table = answer.partition("# pxname,")
    info = dict(line.split(": ", 1) for line in info_text.splitlines() if ": " in line)
    if not found or not info.get("Pid", "").isdecimal():
        raise HaproxyError(f"the answer is not HAProxy's: {answer.strip()[:80]!r}")
    frontends: dict[str, str] = {}
    backends: dict[str, Backend] = {}
    for row in _rows(f"pxname,{table}"):
        name, status = row["pxname"], row["status"].split(" ")[0]
        if row["svname"] == "FRONTEND":
            frontends[name] = status
        elif row["svname"] == "BACKEND":
            backends[name] = Backend(status, _count(row["act"]) + _count(row["bck"]))
    return HaproxyState(int(info["Pid"]), info.get("Stopping", "0") != "0", frontends, backends)


def _rows(table: str) -> Iterator[dict[str, str]]:
    """Yield the rows of "show stat"; one that is cut short is an error: it may be the one that matters."""
    reader = csv.reader(table.strip("\n").splitlines(), strict=True)
    try:
        header = next(reader)
        missing = [column for column in _COLUMNS if column not in header]
        if missing:
            raise HaproxyError(f"show stat has no column {', '.join(missing)}")
        for fields in reader:
            if len(fields) != len(header):
                raise HaproxyError(f"show stat: a line has {len(fields)} fields instead of {len(header)}")
            yield dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise HaproxyError(f"show stat: {error}") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise HaproxyError(f"show stat: {text!r} is not a number of servers")
    return int(text)
