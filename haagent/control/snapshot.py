"""The status document on disk: what is left to read when the agent is dead.

Promises that a reader finds a complete document or none: written beside its place, then renamed. May not be used for
decisions; it is on a tmpfs (/run), so writing does not wait for a disk and does not outlive a boot.
"""

from __future__ import annotations

import json
import os

from haagent.control.document import Status

RUN_DIRECTORY = "/run/haagent"


def socket_path(name: str, directory: str = RUN_DIRECTORY) -> str:
    """Return the control socket of the agent called ``name``."""
    return os.path.join(directory, f"{name}.sock")


def snapshot_path(name_or_socket: str, directory: str = RUN_DIRECTORY) -> str:
    """Return the snapshot beside a control socket, or of the agent called by that name."""
    path = name_or_socket if "/" in name_or_socket else socket_path(name_or_socket, directory)
    return path.removesuffix(".sock") + ".json"


def write_snapshot(path: str, status: Status) -> None:
    """Put ``status`` at ``path``, readable by everybody. Raises OSError."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)  # whatever the umask: no secrets, and meant to be read when we are gone
        json.dump(status.to_json(), file)
    os.replace(beside, path)


def read_snapshot(path: str) -> Status | None:
    """Return the document at ``path``, or None if there is none. Raises ValueError if it is not one."""
    try:
        with open(path, encoding="utf-8") as file:
            return Status.from_json(json.load(file))
    except FileNotFoundError:
        return None
