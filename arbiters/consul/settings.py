"""What a Consul arbiter was told, checked. Reads the certificate files once; opens no connection.

Words of the ``arbiter`` block: ``password`` (an ACL token), ``datacenter``, ``ca``, ``cert``, ``key`` (paths of PEM
files), ``tls yes`` (encrypt with the system's own authorities). Endpoints are host:port of agents or servers.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from arbiters.consul.keys import encode
from arbiters.options import TLS_WORDS, check_words, host_port, tls_context
from haagent.arbiter import ArbiterOptions

KIND = "consul"
DEFAULT_PORT = 8500
WORDS = TLS_WORDS | {"password", "datacenter"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need; ``prefix`` of all keys ends in a slash."""

    bases: tuple[str, ...]
    prefix: str
    token: str = field(repr=False)
    datacenter: str
    tls: ssl.SSLContext | None


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    check_words(KIND, options, WORDS, per="agent or server")
    tls = tls_context(KIND, options.settings)
    scheme = "http" if tls is None else "https"
    targets = (host_port(KIND, endpoint, DEFAULT_PORT) for endpoint in options.endpoints)
    return Settings(
        bases=tuple(f"{scheme}://{target}" for target in targets),
        prefix=f"haagent/{encode(options.domain)}/",
        token=options.settings.get("password", ""),
        datacenter=options.settings.get("datacenter", ""),
        tls=tls,
    )
