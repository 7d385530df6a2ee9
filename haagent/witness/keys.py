"""The key that a witness and its clients share, and what TLS needs: read from files, checked, never shown."""

from __future__ import annotations

import ssl

from haagent.config import secrets
from haagent.config.messages import Messages
from haagent.effects.peer_messages import LEAST_KEY
from haagent.errors import ConfigError, Place


def read_key(path: str, where: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the key in a file and what is to be warned of. Raises ConfigError; ``where`` says who asks."""
    messages, place = Messages(), Place(where)
    key = secrets.from_file(path, "key_file", place, messages).encode()
    if len(key) < LEAST_KEY:
        raise ConfigError(
            f"the key in {path} has {len(key)} characters",
            place,
            f"at least {LEAST_KEY}, the same at the witness and on every node",
        )
    return key, tuple(map(str, messages.warnings))


def server_tls(cert: str, key: str) -> ssl.SSLContext:
    """Return what a witness encrypts with. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"witness: cannot use certificate {cert} with key {key}: {error}") from error
    return context


def client_tls(ca: str) -> ssl.SSLContext:
    """Return what a client trusts: only what ``ca`` signed. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca {ca}: {error}") from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as for arbiters: see arbiters/options.py
    return context
