"""The SQL of the PostgreSQL arbiter: one table, one row per register, one statement per compare-and-swap.

``number`` comes from an identity column, so it is never given twice, not even to a row that was deleted and made
anew; its sequence needs no privilege of its own. Values are text, for people to read; they and the names sort
bytewise, so that no change of the system's collations can damage the index. Rows are rewritten all day: the pages
leave room for that.
"""

# ruff: noqa: S608 - what is put into the statements is a checked, plain name

from __future__ import annotations

CHANNEL = "haagent"


class Statements:
    """The statements for one schema (a checked, plain name)."""

    def __init__(self, schema: str) -> None:
        table = f"{schema}.registers"
        self.create_schema = f"CREATE SCHEMA {schema}"
        self.create_table = f"""CREATE TABLE {table} (
    domain text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (domain, name)
) WITH (fillfactor = 50)"""
        self.read = f"SELECT value, number FROM {table} WHERE domain = $1 AND name = $2"
        self.list = f"SELECT name, value, number FROM {table} WHERE domain = $1"
        self.erase = f"DELETE FROM {table} WHERE domain = $1"
        told = f"SELECT number, pg_notify('{CHANNEL}', $1 || '/' || $2) FROM written"
        self.insert = (
            f"WITH written AS (INSERT INTO {table} (domain, name, value) VALUES ($1, $2, $3)"
            f" ON CONFLICT (domain, name) DO NOTHING RETURNING number) {told}"
        )
        self.update = (
            f"WITH written AS (UPDATE {table} SET value = $3, number = DEFAULT"
            f" WHERE domain = $1 AND name = $2 AND number = $4 AND value = $5 RETURNING number) {told}"
        )
        self.persistence = (
            "SELECT c.relpersistence::text FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            f" WHERE n.nspname = '{schema}' AND c.relname = 'registers' AND c.relkind = 'r'"
        )


# What a server is asked when we have just connected. pg_control_checkpoint() has the timeline of the last checkpoint,
# which is an old one just after a promotion; the name of the current WAL file has the one in force.
INTRODUCTION = """SELECT pg_is_in_recovery() AS standby,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync') AS fsync,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    EXISTS (SELECT FROM pg_stat_replication) AS replicated,
    pg_backend_pid() AS backend,
    (SELECT system_identifier FROM pg_control_system()) AS system,
    CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,
    current_setting('transaction_read_only') AS read_only"""
