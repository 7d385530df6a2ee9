"""Connects to one PostgreSQL server and looks whether it may be an arbiter.

Promises to hand out only connections to a server that takes writes, keeps what it acknowledged, and is the one
that answers: no standby, no ``fsync = off``, no unlogged table, no connection pooler in between. Where several
servers are named, a failover is meant to happen; then the acknowledged writes have to be on another server
already, so a primary without synchronous standbys is refused.

``Server.identity`` names the history this server writes: PostgreSQL's system identifier and timeline. A promoted
standby begins a new timeline, on which acknowledged writes may be missing. The identity is a part of every
version, so that on another history no record is the one that was seen before: whoever waits for silence begins to
wait anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Any

import asyncpg

from arbiters.failures import NotSent
from arbiters.options import split_host_port
from arbiters.postgresql.failures import explain_no_connection
from arbiters.postgresql.settings import Settings
from arbiters.postgresql.statements import INTRODUCTION, Statements
from haagent.arbiter import Misconfigured, Record

LOG = logging.getLogger("haagent.arbiters.postgresql")

CONNECT_TIMEOUT = 2.0  # seconds for TCP, TLS, the login and the introduction
_LOSES_WRITES = (
    "has no synchronous standby, though several servers are named: a failover would lose acknowledged writes"
)
_WEAK = ("off", "local", "remote_write")  # of synchronous_commit; "on" and "remote_apply" wait for the disks


@dataclass(frozen=True, slots=True)
class Server:
    """An open connection to a server that was found fit; ``identity`` is the history it writes."""

    connection: Any  # asyncpg is untyped
    target: str
    identity: str

    def version(self, number: int) -> str:
        """Return the version of a row with this number."""
        return f"{self.identity}.{number}"

    def record(self, row: Any) -> Record:
        """Return what a row with ``value`` and ``number`` holds."""
        return Record(row["value"].encode(), self.version(row["number"]))


async def connect(settings: Settings, target: str) -> Server:
    """Return a connection to ``target``. Raises NotSent or Misconfigured within CONNECT_TIMEOUT."""
    connection = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            connection = await _open(settings, target)
            found = await connection.fetchrow(INTRODUCTION)
            _examine(found, connection.get_server_pid(), settings, target)
            if found["synchronous_commit"] in _WEAK:
                await connection.execute("SET synchronous_commit = on")
            await _find_table(connection, settings, target)
    except TimeoutError:
        _drop(connection)
        raise NotSent(f"no connection to postgresql {target}: no answer in {CONNECT_TIMEOUT:g} s") from None
    except Exception as error:
        _drop(connection)
        raise explain_no_connection(error, target) from error
    except asyncio.CancelledError:
        _drop(connection)
        raise
    timeline = int(found["wal_file"][:8], 16)
    return Server(connection, target, f"{found['system'] & 0xFFFFFFFF:08x}-{timeline}")


async def _open(settings: Settings, target: str) -> Any:
    host, port = split_host_port(target)
    return await asyncpg.connect(
        host=host,
        port=port,
        user=settings.username,
        password=settings.password,
        database=settings.database,
        ssl=settings.tls or False,
        timeout=CONNECT_TIMEOUT,
        server_settings={
            "application_name": f"haagent/{settings.domain}/{settings.node}"[:63],
            "search_path": "pg_catalog",
            "client_min_messages": "warning",  # a commit that was not replicated is told by a warning only
            "default_transaction_isolation": "read committed",
            "default_transaction_read_only": "off",
            "idle_session_timeout": "0",
            "statement_timeout": "0",  # would end the wait for a standby, and call that a success
            "lock_timeout": "1000",  # ms; else every renewal leaves one more session behind a row that is stuck
            "tcp_keepalives_idle": "10",  # s; a session whose peer is cut off must not stay for two hours
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        },
    )


def _examine(found: Any, backend: int, settings: Settings, target: str) -> None:
    """Refuse a server that cannot be an arbiter (Misconfigured), or not now (NotSent)."""
    if found["standby"]:
        raise NotSent(f"postgresql {target} is a standby")
    if found["read_only"] == "on":
        raise NotSent(f"postgresql {target} takes no writes (read-only)")
    several = len(settings.targets) > 1
    for bad, what in (
        (found["encoding"] != "UTF8", f"keeps text as {found['encoding']}: name a database in UTF8"),
        (found["fsync"] != "on", "runs with fsync = off: a crash would lose acknowledged writes"),
        (
            backend != found["backend"],
            "is behind a connection pooler: name the server itself, so that what was checked is what answers",
        ),
        (
            several and not found["synchronous_standby_names"],
            f"{_LOSES_WRITES}; set synchronous_standby_names, or name one server only",
        ),
    ):
        if bad:
            raise Misconfigured(f"postgresql {target} {what}")
    if found["replicated"] and not found["synchronous_standby_names"]:
        LOG.warning(
            "postgresql %s has standbys, none of them synchronous: promoting one loses writes", target
        )


async def _find_table(connection: Any, settings: Settings, target: str) -> None:
    """See that there is a table of registers that survives a crash; make it where we may."""
    statements = Statements(settings.schema)
    if (persistence := await connection.fetchval(statements.persistence)) is None:
        await _make_table(connection, statements)
    elif persistence != "p":
        raise Misconfigured(
            f"postgresql {target}: {settings.schema}.registers is unlogged: a crash would empty it"
        )


async def _make_table(connection: Any, statements: Statements) -> None:
    """Make schema and table. Another node may do the same at this moment: whose is first does not matter."""
    made = (asyncpg.DuplicateSchemaError, asyncpg.DuplicateTableError, asyncpg.UniqueViolationError)
    not_ours = (
        *made,
        asyncpg.InsufficientPrivilegeError,
    )  # the schema may be there, with the right to use it
    with contextlib.suppress(*not_ours):
        await connection.execute(statements.create_schema)
    with contextlib.suppress(*made):
        await connection.execute(statements.create_table)


def _drop(connection: Any) -> None:
    if connection is not None:
        connection.terminate()
