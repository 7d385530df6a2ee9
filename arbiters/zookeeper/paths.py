"""How registers look as znodes: their paths, versions and seals, and the znodes above them."""

from __future__ import annotations

import contextlib
import hashlib
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError, NotEmptyError

from arbiters.zookeeper.connection import Connection
from haagent.arbiter import Misconfigured, Record


async def make_parents(connection: Connection, path: str, timeout: float) -> None:
    """Make every znode above ``path`` that is not there, each with our ACL."""
    parts = path.split("/")[1:-1]
    for depth in range(1, len(parts) + 1):
        parent = "/" + "/".join(parts[:depth])
        try:
            await connection.call(partial(_create, parent), timeout)
        except NodeExistsError:
            continue
        except Misconfigured:
            if depth == len(parts):
                raise  # further up others may have made it for us, with no right to create beside it


async def remove_tree(connection: Connection, path: str, timeout: float) -> None:
    """Remove a znode and all below it, whatever of it is there; what somebody makes meanwhile stays."""
    with contextlib.suppress(NoNodeError, NotEmptyError):
        for child in await connection.call(lambda client: client.get_children_async(path), timeout):
            await remove_tree(connection, f"{path}/{child}", timeout)
        await connection.call(lambda client: client.delete_async(path), timeout)


def _create(path: str, client: KazooClient) -> Any:
    return client.create_async(path)


def version(number: int, value: bytes) -> str:
    """Return our version: ZooKeeper's, and enough of the digest to tell a znode from its successor."""
    return f"{number}-{seal(value)[:8]}"


def record(value: bytes, stat: Any) -> Record:
    """Return what a znode holds."""
    return Record(value, version(stat.version, value))


def seal(value: bytes) -> str:
    """Return the name of the child that a register holding ``value`` has."""
    return hashlib.sha256(value).hexdigest()[:32]


def encode_name(name: str) -> str:
    """Return a register's name as a path: its kind, a slash, and one part that ZooKeeper accepts."""
    kind, _, rest = name.partition("/")
    quoted = quote(rest, safe="@:+=, ")
    return f"{kind}/{quoted.replace('.', '%2E') if quoted in {'.', '..'} else quoted}"


def decode_name(path: str) -> str:
    """Return the name of the register at ``path``, which is relative to the domain."""
    kind, _, rest = path.partition("/")
    return f"{kind}/{unquote(rest)}"
