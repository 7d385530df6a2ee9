"""What a failed call to etcd means. Decides nothing else.

Whether a write may have happened depends on this module: an error is definite only where etcd or gRPC say so
in a way that has one meaning. Everything unknown stays ``Unavailable``.
"""

from __future__ import annotations

import grpc

from arbiters.failures import NotDone, NotSent, Untrusted
from haagent.arbiter import ArbiterError, Misconfigured, Unavailable

WANTS_A_USER = "this etcd wants a user; give username and password"
_NO_CONNECTION = ("failed to connect", "DNS resolution failed")
_UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed", "WRONG_VERSION_NUMBER")
_QUESTIONS = (  # a server that is just dying looks the same, so these stay Unavailable
    ("Handshake read failed", "does this endpoint speak TLS?"),
    ("Unwrap failed", "does this server want a client certificate (cert, key)?"),
    ("Socket closed", "does this server want TLS (ca)?"),
)
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old")


class StaleToken(NotDone):
    """The member does not know our token (any more)."""


class LeaseNotFound(NotDone):
    """The etcd lease is gone."""


def explain(error: grpc.aio.AioRpcError, target: str) -> ArbiterError:
    """Return what ``error``, met at ``target``, means."""
    code, details = error.code(), error.details() or ""
    text = f"{target}: {details or code.name}"
    match code:
        case grpc.StatusCode.UNAVAILABLE if details.startswith(_NO_CONNECTION):
            return _not_connected(text)
        case grpc.StatusCode.NOT_FOUND if "requested lease not found" in details:
            return LeaseNotFound(text)
        case grpc.StatusCode.UNAUTHENTICATED:
            return StaleToken(text)
        case grpc.StatusCode.INVALID_ARGUMENT if any(phrase in details for phrase in _STALE_TOKEN):
            return StaleToken(text)
        case grpc.StatusCode.INVALID_ARGUMENT if "user name is empty" in details:
            return Misconfigured(f"{text}: {WANTS_A_USER}")
        case grpc.StatusCode.INVALID_ARGUMENT if "authentication failed" in details:
            return Misconfigured(f"{text}: check username and password")
        case grpc.StatusCode.PERMISSION_DENIED:
            return Misconfigured(f"{text}: grant this user readwrite on our prefix, /haagent/<domain>/")
        case grpc.StatusCode.UNIMPLEMENTED:
            return Misconfigured(f"{text}: this is not an etcd with the v3 API")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(f"{target}: no answer in time")
    return Unavailable(text)


def _not_connected(text: str) -> NotSent:
    if any(phrase in text for phrase in _UNTRUSTED):
        return Untrusted(f"{text}: check ca, server_name and whether this endpoint speaks TLS")
    questions = (question for phrase, question in _QUESTIONS if phrase in text)
    return NotSent(": ".join((text, *questions)))
