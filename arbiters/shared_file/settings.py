"""What a shared-file arbiter was told, checked, and who this run of this node is. Opens no file.

The ``arbiter file`` block has no words of its own besides ``endpoints``: everything else is in the files' headers.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from arbiters.shared_file.layout import FILES, Presence
from haagent.arbiter import ArbiterOptions, Misconfigured

POLLS_PER_LEASE = 10
QUICKEST_POLL, SLOWEST_POLL = 0.02, 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need; times in seconds."""

    paths: tuple[str, ...]
    domain: str
    presence: Presence
    poll: float
    grace: float


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    if options.settings:
        raise Misconfigured(
            f"arbiter file: unknown setting {min(options.settings)!r}; accepted: endpoints, domain"
        )
    for path in options.endpoints:
        if not path.startswith("/"):
            raise Misconfigured(f"arbiter file: {path!r} is not an absolute path")
    if len(options.endpoints) not in FILES or len(set(options.endpoints)) != len(options.endpoints):
        raise Misconfigured(
            f"arbiter file: {len(options.endpoints)} voting files; accepted: 1, 3 or 5, all different"
        )
    return Settings(
        paths=options.endpoints,
        domain=options.domain,
        presence=Presence(options.node, uuid.uuid4().hex[:16], host_identity(), socket.gethostname()),
        poll=min(max(options.lease / POLLS_PER_LEASE, QUICKEST_POLL), SLOWEST_POLL),
        grace=options.lease,
    )


def host_identity() -> str:
    """Return what two runs share if and only if one abstract socket keeps them apart: boot and network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat('/proc/self/ns/net').st_ino}"
