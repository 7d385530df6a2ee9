"""What a failed call to PostgreSQL means. Decides nothing else.

Only errors that no retry can help are told apart. Everything else is ``Unavailable``, also what the server
answers: a session that was ended, or a server that went down, may have committed just before.
"""

from __future__ import annotations

import ssl

import asyncpg

from arbiters.failures import NotSent, Untrusted
from haagent.arbiter import ArbiterError, Misconfigured, Unavailable

OUTDATED = (
    "25006",
    "42P01",
)  # no writes here any more, no table any more: what we saw when we connected is past
_GRANTS = "make schema and table for this role, and grant what the page on arbiters lists"
_REMEDIES = {  # SQLSTATE: what to do about it
    "28P01": "check username and password",
    "28000": "check username, password, tls, and the server's pg_hba.conf",
    "3D000": "check database",
    "42501": _GRANTS,
    "3F000": _GRANTS,
    "42703": "the table registers in our schema is not haagent's",
    "42704": "haagent needs PostgreSQL 14 or later",  # it knows no setting idle_session_timeout
    "42883": "this is not a PostgreSQL that haagent knows",
}


def explain(error: BaseException, target: str) -> ArbiterError:
    """Return what ``error``, met on an open connection to ``target``, means."""
    if isinstance(error, ArbiterError):
        return error
    text = f"{target}: {_text(error)}"
    if (state := sqlstate(error)) in _REMEDIES:
        return Misconfigured(f"{text}: {_REMEDIES[state]}")
    return Unavailable(text)


def explain_no_connection(error: BaseException, target: str) -> ArbiterError:
    """Return why ``target`` could not be connected to: no question was asked, whatever it was."""
    if isinstance(error, ArbiterError):
        return error
    text = f"no connection to postgresql {target}: {_text(error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(f"{text}: check ca, and that the certificate names the endpoint's host")
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return Untrusted(f"{text}: this server speaks no TLS (ssl = on)")
    if (state := sqlstate(error)) in _REMEDIES:
        return Misconfigured(f"{text}: {_REMEDIES[state]}")
    if isinstance(error, asyncpg.ClientConfigurationError):  # of PGPASSFILE, say: never a matter of time
        return Misconfigured(text)
    return NotSent(text)


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of an answer from the server, empty for anything else."""
    return str(error.sqlstate) if isinstance(error, asyncpg.PostgresError) and error.sqlstate else ""


def _text(error: BaseException) -> str:
    """Return what ``error`` says on one line. asyncpg and PostgreSQL put no password into it."""
    return " ".join(str(error).split()) or type(error).__name__
