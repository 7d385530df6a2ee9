"""PostgreSQL as an arbiter: ``arbiter postgresql``, over asyncpg, for PostgreSQL 14 and later.

Promises what ``haagent.arbiter`` asks for and nothing more. The plugin is loaded only when it is configured,
which is also the moment its client library is imported.
"""

from __future__ import annotations

from arbiters.postgresql.registers import PostgresqlArbiter
from arbiters.postgresql.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["PostgresqlArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that connects in the background. Raises Misconfigured for settings that cannot work."""
    return PostgresqlArbiter(read_settings(options))
