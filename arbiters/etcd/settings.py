"""What an etcd arbiter was told, checked. Reads the certificate files once; opens no connection.

Words of the ``arbiter`` block: ``username``, ``password``; ``ca``, ``cert``, ``key`` (paths of PEM files),
``server_name`` (what the server's certificate must say, when it is not the endpoint's host), ``tls yes``
(encrypt with the system's own authorities). Endpoints are host:port, or URLs as etcdctl takes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from haagent.arbiter import ArbiterOptions, Misconfigured

DEFAULT_PORT = 2379
WORDS = frozenset({"username", "password", "ca", "cert", "key", "server_name", "tls"})
SHORTEST_TTL = 2  # seconds; etcd grants no less at its default election timeout
TTL_PER_LEASE = 3  # the janitor comes only after every contender had ample time to do its job


@dataclass(frozen=True, slots=True)
class Account:
    """A user of etcd's own authentication."""

    username: str
    password: str = field(repr=False)


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
    _check_words(options)
    return Settings(
        targets=tuple(_target(endpoint) for endpoint in options.endpoints),
        prefix=f"/haagent/{options.domain}/",
        session=f"sessions/{options.node}",
        ttl=max(SHORTEST_TTL, math.ceil(options.ttl_hint * TTL_PER_LEASE)),
        account=_account(options.settings),
        certificates=_certificates(options),
    )


def _check_words(options: ArbiterOptions) -> None:
    if not options.endpoints:
        raise Misconfigured("arbiter etcd: no endpoint given; accepted: one host:port per member")
    if not options.domain or "/" in options.domain:
        raise Misconfigured(f"arbiter etcd: domain {options.domain!r} must be a name without slashes")
    if unknown := sorted(set(options.settings) - WORDS):
        raise Misconfigured(
            f"arbiter etcd: unknown setting {unknown[0]!r}; accepted: {', '.join(sorted(WORDS))}"
        )


def _target(endpoint: str) -> str:
    """Return ``endpoint`` as host:port, without a scheme."""
    target = endpoint.split("://", 1)[-1].rstrip("/")
    host, colon, port = target.rpartition(":")
    bracketed = target.startswith("[")
    if not colon or (bracketed and target.endswith("]")):
        return f"{target}:{DEFAULT_PORT}"
    if not host or not port.isdecimal() or (":" in host and not bracketed):
        raise Misconfigured(
            f"arbiter etcd: endpoint {endpoint!r} is not host:port, [v6address]:port or a URL"
        )
    return target


def _account(settings: Mapping[str, str]) -> Account | None:
    username, password = settings.get("username"), settings.get("password")
    if username is None and password is None:
        return None
    if not username or password is None:
        raise Misconfigured("arbiter etcd: username and password go together; only one of them is given")
    return Account(username, password)


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
    if ("cert" in settings) != ("key" in settings):
        raise Misconfigured("arbiter etcd: cert and key go together; only one of them is given")
    ca, cert, key = (_read(settings, word) for word in ("ca", "cert", "key"))
    return Certificates(ca, cert, key, settings.get("server_name", ""))


def _read(settings: Mapping[str, str], word: str) -> bytes | None:
    path = settings.get(word)
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Misconfigured(f"arbiter etcd: {word} {path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise Misconfigured(f"arbiter etcd: {word} {path}: not a PEM file")
    return content
