"""What a PostgreSQL arbiter was told, checked. Reads the certificate files once; opens no connection.

Words of the ``arbiter`` block: ``username`` (as which role to log in; our own user's name where it is missing)
and ``password``, ``database``, ``schema``, ``ca``, ``cert``, ``key`` (paths of PEM files), ``tls yes`` (encrypt
with the system's own authorities). Endpoints are host:port. Without a password PostgreSQL's own sources are
asked: PGPASSWORD, the file named by PGPASSFILE, ~/.pgpass.
"""

from __future__ import annotations

import getpass
import re
import ssl
from dataclasses import dataclass, field

from arbiters.options import TLS_WORDS, check_words, host_port, tls_context
from haagent.arbiter import ArbiterOptions, Misconfigured

KIND = "postgresql"
DEFAULT_PORT = 5432
WORDS = TLS_WORDS | {"username", "password", "database", "schema"}
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need; ``password`` None: PostgreSQL's own sources are asked."""

    targets: tuple[str, ...]
    domain: str
    node: str
    username: str
    password: str | None = field(repr=False)
    database: str
    schema: str
    tls: ssl.SSLContext | None


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    check_words(KIND, options, WORDS, per="server")
    words = options.settings
    username = words.get("username") or getpass.getuser()
    schema = words.get("schema", "haagent")
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise Misconfigured(
            f"arbiter postgresql: schema {schema!r}; accepted: lower-case letters, digits and underscores"
        )
    return Settings(
        targets=tuple(host_port(KIND, endpoint, DEFAULT_PORT) for endpoint in options.endpoints),
        domain=options.domain,
        node=options.node,
        username=username,
        password=words.get("password"),
        database=words.get("database", username),
        schema=schema,
        tls=tls_context(KIND, words),
    )
