"""etcd as an arbiter: ``arbiter etcd``, over etcd's own gRPC API, versions 3.4 and later.

Promises what ``haagent.arbiter`` asks for and nothing more. The plugin is loaded only when it is configured,
which is also the moment its client library is imported.
"""

from __future__ import annotations

import arbiters.etcd.quiet  # noqa: F401  gRPC reads its environment when it is imported
from arbiters.etcd.registers import EtcdArbiter
from arbiters.etcd.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["EtcdArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that connects in the background. Raises Misconfigured for settings that cannot work."""
    return EtcdArbiter(read_settings(options))
