"""What a ZooKeeper arbiter was told, checked. Looks at the certificate files once; opens no connection.

Words of the ``arbiter`` block: ``username`` and ``password`` (ZooKeeper's ``digest`` scheme: every znode we make is
then readable and writable by this user only), ``auth sasl`` (DIGEST-MD5 with the same two words; needs pure-sasl),
``ca``, ``cert``, ``key`` (paths of PEM files; ``ca`` switches TLS on), ``chroot`` (a path below which everything
is kept). Endpoints are host:port.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from haagent.arbiter import ArbiterOptions, Misconfigured

DEFAULT_PORT = 2181
WORDS = frozenset({"username", "password", "auth", "ca", "cert", "key", "chroot"})


@dataclass(frozen=True, slots=True)
class Account:
    """A user; ``sasl`` says by which scheme it is shown to be one."""

    username: str
    password: str = field(repr=False)
    sasl: bool


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: the authorities to trust, and the client's certificate and key, if it has them."""

    ca: str
    cert: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need; ``root`` is the domain's znode and ends without a slash."""

    targets: tuple[str, ...]
    root: str
    node: str
    account: Account | None
    certificates: Certificates | None


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    _check_words(options)
    return Settings(
        targets=tuple(_target(endpoint) for endpoint in options.endpoints),
        root=f"{_chroot(options.settings)}/haagent/{options.domain}",
        node=options.node,
        account=_account(options.settings),
        certificates=_certificates(options.settings),
    )


def _check_words(options: ArbiterOptions) -> None:
    if not options.endpoints:
        raise Misconfigured("arbiter zookeeper: no endpoint given; accepted: one host:port per server")
    if not options.domain or "/" in options.domain or options.domain in {".", ".."}:
        raise Misconfigured(f"arbiter zookeeper: domain {options.domain!r} must be a name without slashes")
    if unknown := sorted(set(options.settings) - WORDS):
        raise Misconfigured(
            f"arbiter zookeeper: unknown setting {unknown[0]!r}; accepted: {', '.join(sorted(WORDS))}"
        )


def _target(endpoint: str) -> str:
    """Return ``endpoint`` as host:port."""
    host, colon, port = endpoint.rpartition(":")
    bracketed = endpoint.startswith("[")
    if not colon or (bracketed and endpoint.endswith("]")):
        return f"{endpoint}:{DEFAULT_PORT}"
    if (
        not host
        or not port.isdecimal()
        or "/" in endpoint
        or "," in endpoint
        or (":" in host and not bracketed)
    ):
        raise Misconfigured(
            f"arbiter zookeeper: endpoint {endpoint!r} is not host:port or [v6address]:port; a path goes into chroot"
        )
    return endpoint


def _chroot(settings: Mapping[str, str]) -> str:
    """Return the path to put before ours: empty, or beginning with a slash and not ending in one."""
    chroot = settings.get("chroot", "").rstrip("/")
    if chroot and (not chroot.startswith("/") or {"", ".", ".."} & set(chroot[1:].split("/"))):
        raise Misconfigured(f"arbiter zookeeper: chroot {chroot!r} is not an absolute path, such as /ha")
    return chroot


def _account(settings: Mapping[str, str]) -> Account | None:
    username, password, auth = (
        settings.get("username"),
        settings.get("password"),
        settings.get("auth", "digest"),
    )
    if auth not in {"digest", "sasl"}:
        raise Misconfigured(f"arbiter zookeeper: auth {auth!r}; accepted: digest, sasl")
    if username is None and password is None and "auth" not in settings:
        return None
    if not username or not password:
        raise Misconfigured("arbiter zookeeper: username and password go together; only one of them is given")
    if ":" in username:
        raise Misconfigured("arbiter zookeeper: username contains a colon")
    if auth == "sasl" and importlib.util.find_spec("puresasl") is None:
        raise Misconfigured(
            "arbiter zookeeper: auth sasl needs the library pure-sasl; run: pip install pure-sasl"
        )
    return Account(username, password, auth == "sasl")


def _certificates(settings: Mapping[str, str]) -> Certificates | None:
    """Return what TLS needs, or None for plain TCP."""
    ca, cert, key = (_pem(settings, word) for word in ("ca", "cert", "key"))
    if (cert is None) != (key is None):
        raise Misconfigured("arbiter zookeeper: cert and key go together; only one of them is given")
    if ca is None:
        if cert is not None:
            raise Misconfigured("arbiter zookeeper: cert without ca; name the authority of the servers")
        return None
    return Certificates(ca, cert, key)


def _pem(settings: Mapping[str, str], word: str) -> str | None:
    path = settings.get(word)
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Misconfigured(f"arbiter zookeeper: {word} {path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise Misconfigured(f"arbiter zookeeper: {word} {path}: not a PEM file")
    return path
