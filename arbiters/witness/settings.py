"""What a witness arbiter was told, checked. Reads the key and the certificate once; opens no connection.

Words of the ``arbiter`` block: ``key_file`` (the witness's own, the same file), ``ca`` (PEM file of who signed the
witness's certificate; switches TLS on), ``server_name`` (what that certificate must say, if not the endpoint's host).
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field

from haagent.arbiter import ArbiterOptions, Misconfigured
from haagent.errors import ConfigError
from haagent.witness.keys import client_tls, read_key

LOG = logging.getLogger("haagent.arbiters.witness")
DEFAULT_PORT = 7419
WORDS = frozenset({"key_file", "ca", "server_name"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need."""

    host: str
    port: int
    introduction: str  # domain and node, as the witness is told them
    key: bytes = field(repr=False)
    tls: ssl.SSLContext | None
    server_name: str

    @property
    def target(self) -> str:
        """The witness, as errors call it."""
        return f"witness {self.host} port {self.port}"


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    words = options.settings
    if unknown := sorted(set(words) - WORDS):
        raise Misconfigured(
            f"arbiter witness: unknown setting {unknown[0]!r}; accepted: {', '.join(sorted(WORDS))}"
        )
    if len(options.endpoints) != 1:
        raise Misconfigured(
            f"arbiter witness: {len(options.endpoints)} endpoints; a witness is one process with one address "
            "(two of them would be two arbiters: use arbiter quorum)"
        )
    if "key_file" not in words:
        raise Misconfigured("arbiter witness: no key_file; accepted: the file the witness was started with")
    try:
        key, warnings = read_key(words["key_file"], "arbiter witness")
        tls = client_tls(words["ca"]) if "ca" in words else None
    except ConfigError as error:
        raise Misconfigured(str(error)) from None
    for warning in warnings:
        LOG.warning("%s", warning)
    host, port = _endpoint(options.endpoints[0])
    introduction = f"{options.domain}/{options.node}"
    return Settings(host, port, introduction, key, tls, words.get("server_name") or host)


def _endpoint(endpoint: str) -> tuple[str, int]:
    """Return host and port; the port may be left out, and a v6 address stands in brackets."""
    host, colon, port = endpoint.rpartition(":")
    if not colon or endpoint.endswith("]"):
        host, port = endpoint, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or (":" in host and host[0] != "["):
        raise Misconfigured(
            f"arbiter witness: endpoint {endpoint!r}; accepted: host:port or [v6address]:port"
        )
    return host.strip("[]"), int(port)
