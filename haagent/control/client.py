"""Asks a running agent: one request, one reply, within one deadline. Synchronous; needs no event loop.

Promises to tell three silences apart: nobody is there, somebody is there but does not answer, the answer is no.
"""

from __future__ import annotations

import glob
import json
import os
import socket
import time
from typing import Any

from haagent.control.snapshot import RUN_DIRECTORY, socket_path
from haagent.errors import ControlError

TIMEOUT = 2.0
ANSWER_LIMIT = 16 << 20


class NotRunningError(ControlError):
    """Nobody listens at the socket."""


class NotAnsweringError(ControlError):
    """A process has the socket open but does not answer: it is stopped, starved or hung."""


class RefusedError(ControlError):
    """The agent's answer is no; ``kind`` is the protocol's word."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def request(path: str, command: str, *, timeout: float = TIMEOUT, **arguments: Any) -> dict[str, Any]:
    """Send ``command`` to the agent at ``path`` and return its result, within ``timeout`` seconds in all.

    Raises NotRunningError, NotAnsweringError, RefusedError, or ControlError for anything else.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(timeout)
        try:
            channel.connect(path)
            channel.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            line = _receive_line(channel, deadline)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(f"haagent is not running: nobody listens at {path}") from None
        except (TimeoutError, BlockingIOError):
            raise NotAnsweringError(f"haagent at {path} does not answer within {timeout:g} s") from None
        except OSError as error:
            raise ControlError(f"control socket {path}: {error.strerror or error}") from None
    return _result(path, line)


def _receive_line(channel: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        piece = channel.recv(65_536)
        if not piece or len(received) > ANSWER_LIMIT:
            raise ConnectionError("the connection ended before the answer did")
        received += piece
    return bytes(received)


def _result(path: str, line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError:
        reply = None
    match reply:
        case {"ok": True, "result": dict(result)}:
            return result
        case {"ok": False, "error": str(error)}:
            raise RefusedError(error, str(reply.get("kind", "failed")))
        case _:
            raise ControlError(f"control socket {path}: the answer is not haagent's")


def find_socket(name: str | None = None, directory: str = RUN_DIRECTORY) -> str:
    """Return the socket of the agent called ``name``, or of the only one that runs or ran on this host.

    Raises NotRunningError if there is none, ControlError if a name is needed to choose.
    """
    if name:
        return name if "/" in name else socket_path(name, directory)
    stems = {
        os.path.splitext(found)[0]
        for kind in ("sock", "json")
        for found in glob.glob(f"{directory}/*.{kind}")
    }
    if not stems:
        raise NotRunningError(f"haagent is not running: there is no socket in {directory}")
    if len(stems) > 1:
        names = ", ".join(sorted(os.path.basename(stem) for stem in stems))
        raise ControlError(f"several agents have run on this host; name one of: {names}")
    return f"{stems.pop()}.sock"
