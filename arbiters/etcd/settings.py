"""What an etcd arbiter was told, checked. Reads the certificate files once; opens no connection.

Words of the ``arbiter`` block: ``username``, ``password``; ``ca``, ``cert``, ``key`` (paths of PEM files),
``server_name`` (what the server's certificate must say, when it is not the endpoint's host), ``tls yes``
(encrypt with the system's own authorities). Endpoints are host:port, or URLs as etcdctl takes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from arbiters.options import Account, account, check_pair, check_words, host_port, pem
from haagent.arbiter import ArbiterOptions, Misconfigured

DEFAULT_PORT = 2379
WORDS = frozenset({"username", "password", "ca", "cert", "key", "server_name", "tls"})
SHORTEST_TTL = 2  # seconds; etcd grants no less at its default election timeout
TTL_PER_LEASE = 3  # the janitor comes only after every contender had ample time to do its job


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts: the authorities to trust (None: the system's), and the client's certificate and key."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None = field(repr=False)
    server_name: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need; ``prefix`` ends in a slash, ``ttl`` is in seconds."""

    targets: tuple[str, ...]
    prefix: str
    session: str
    ttl: int
    account: Account | None
    certificates: Certificates | None


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    check_words("etcd", options, WORDS, per="member")
    return Settings(
        targets=tuple(_target(endpoint) for endpoint in options.endpoints),
        prefix=f"/haagent/{options.domain}/",
        session=f"sessions/{options.node}",
        ttl=max(SHORTEST_TTL, math.ceil(max(options.lease * TTL_PER_LEASE, options.keep))),
        account=account("etcd", options.settings),
        certificates=_certificates(options),
    )


def _target(endpoint: str) -> str:
    """Return ``endpoint`` as host:port, without a scheme."""
    return host_port("etcd", endpoint.split("://", 1)[-1].rstrip("/"), DEFAULT_PORT)


def _certificates(options: ArbiterOptions) -> Certificates | None:
    """Return what TLS needs, or None for plain TCP."""
    settings = options.settings
    schemes = {endpoint.split("://", 1)[0] for endpoint in options.endpoints if "://" in endpoint}
    if unknown := sorted(schemes - {"http", "https"}):
        raise Misconfigured(
            f"arbiter etcd: endpoints of scheme {unknown[0]!r}; accepted: http, https or none"
        )
    wanted = (
        "https" in schemes or settings.get("tls", "no") == "yes" or "ca" in settings or "cert" in settings
    )
    if not wanted:
        return None
    if "http" in schemes:
        raise Misconfigured("arbiter etcd: TLS is asked for, but an endpoint begins with http://")
    check_pair("etcd", settings)
    ca, cert, key = (pem("etcd", settings, word) for word in ("ca", "cert", "key"))
    return Certificates(ca, cert, key, settings.get("server_name", ""))
