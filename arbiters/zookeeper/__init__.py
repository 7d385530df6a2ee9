"""ZooKeeper as an arbiter: ``arbiter zookeeper``, over kazoo, for ZooKeeper 3.5 and later.

Promises what ``haagent.arbiter`` asks for and nothing more. The plugin is loaded only when it is configured,
which is also the moment its client library is imported.
"""

from __future__ import annotations

from arbiters.zookeeper.registers import ZooKeeperArbiter
from arbiters.zookeeper.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["ZooKeeperArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that connects in the background. Raises Misconfigured for settings that cannot work."""
    return ZooKeeperArbiter(read_settings(options))
