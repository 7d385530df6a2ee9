"""Consul as an arbiter: ``arbiter consul``, over Consul's own HTTP API, versions 1.9 and later.

Promises what ``haagent.arbiter`` asks for and nothing more. The plugin is loaded only when it is configured,
which is also the moment its client library is imported.
"""

from __future__ import annotations

from arbiters.consul.registers import ConsulArbiter
from arbiters.consul.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["ConsulArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that connects when it is asked. Raises Misconfigured for settings that cannot work."""
    return ConsulArbiter(read_settings(options))
