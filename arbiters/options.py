"""What the arbiters of this package check alike in what they were told: words, endpoints, users, certificates.

Every error is a ``Misconfigured`` that names the kind of arbiter, what was found and what is accepted. Reads
files named in the settings once; opens no connection. Secrets never appear in an error or a ``repr``.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from haagent.arbiter import ArbiterOptions, Misconfigured

TLS_WORDS = frozenset({"ca", "cert", "key", "tls"})


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the store."""

    username: str
    password: str = field(repr=False)


def check_words(
    kind: str, options: ArbiterOptions, words: Collection[str], *, per: str = "", need_endpoints: bool = True
) -> None:
    """Refuse options without an endpoint (of which there is one ``per`` server), a bad domain, an unknown word."""
    if need_endpoints and not options.endpoints:
        raise Misconfigured(f"arbiter {kind}: no endpoint given; accepted: one host:port per {per}")
    if not options.domain or "/" in options.domain or options.domain in {".", ".."}:
        raise Misconfigured(f"arbiter {kind}: domain {options.domain!r} must be a name without slashes")
    if unknown := sorted(set(options.settings) - set(words)):
        raise Misconfigured(
            f"arbiter {kind}: unknown setting {unknown[0]!r}; accepted: {', '.join(sorted(words))}"
        )


def host_port(kind: str, endpoint: str, default: int, remark: str = "") -> str:
    """Return ``endpoint`` as host:port, a v6 address in brackets; ``remark`` ends the error."""
    host, colon, port = endpoint.rpartition(":")
    bracketed = endpoint.startswith("[")
    if (not colon and endpoint) or (bracketed and endpoint.endswith("]")):
        host, port = endpoint, str(default)
    if not host or not port.isdecimal() or set(host) & set("/,") or (":" in host and not bracketed):
        raise Misconfigured(
            f"arbiter {kind}: endpoint {endpoint!r} is not host:port or [v6address]:port{remark}"
        )
    return f"{host}:{port}"


def split_host_port(target: str) -> tuple[str, int]:
    """Return the host (no brackets) and the port of what ``host_port`` returned."""
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)


def account(kind: str, settings: Mapping[str, str]) -> Account | None:
    """Return the user, None where neither word is given; half a user is refused."""
    username, password = settings.get("username"), settings.get("password")
    if username is None and password is None:
        return None
    if not username or not password:
        raise Misconfigured(f"arbiter {kind}: username and password go together; only one of them is given")
    return Account(username, password)


def as_text(kind: str, value: bytes) -> str:
    """Return ``value`` as text, for stores that keep nothing else. Raises Misconfigured for bytes that are none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Misconfigured(f"arbiter {kind}: a value that is not UTF-8 text cannot be kept")
    return text


def pem(kind: str, settings: Mapping[str, str], word: str) -> bytes | None:
    """Return what the PEM file named by ``word`` holds, None where the word is not given."""
    path = settings.get(word)
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Misconfigured(f"arbiter {kind}: {word} {path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise Misconfigured(f"arbiter {kind}: {word} {path}: not a PEM file")
    return content


def check_pair(kind: str, settings: Mapping[str, str]) -> None:
    """Refuse a client certificate without its key, and a key without its certificate."""
    if ("cert" in settings) != ("key" in settings):
        raise Misconfigured(f"arbiter {kind}: cert and key go together; only one of them is given")


def tls_context(kind: str, settings: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return what ``ca``, ``cert``, ``key`` and ``tls yes`` ask for; None (plain TCP) where they ask for nothing."""
    if settings.get("tls", "no") not in {"yes", "no"}:
        raise Misconfigured(f"arbiter {kind}: tls {settings['tls']!r}; accepted: yes, no")
    check_pair(kind, settings)
    ca, cert, key = (pem(kind, settings, word) for word in ("ca", "cert", "key"))
    if settings.get("tls", "no") == "no" and ca is None and cert is None:
        return None
    return make_context(kind, ca, cert, key)


def make_context(kind: str, ca: bytes | None, cert: bytes | None, key: bytes | None) -> ssl.SSLContext:
    """Return a context that verifies chain and host name. PEM texts; ``ca`` None: the system's authorities."""
    try:
        context = ssl.create_default_context(cadata=None if ca is None else ca.decode("ascii", "replace"))
        # From Python 3.13 on an authority as "openssl req -x509" makes it, without a key usage, would be refused.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cert is not None and key is not None:
            with _in_memory(cert) as cert_path, _in_memory(key) as key_path:
                context.load_cert_chain(cert_path, key_path, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise Misconfigured(f"arbiter {kind}: ca, cert or key cannot be used: {error}") from error
    return context


def _no_passphrase() -> str:
    """Refuse a protected key, instead of asking for its passphrase on the terminal."""
    raise ValueError("the key is protected by a passphrase; give one that is not")


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Yield a path under which OpenSSL finds ``content``; nothing is written to a disk."""
    descriptor = os.memfd_create("haagent-pem", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
