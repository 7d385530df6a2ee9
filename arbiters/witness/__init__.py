"""``haagent witness`` as an arbiter: ``arbiter witness``, one small process in a third place.

Promises what ``haagent.arbiter`` asks for and nothing more. The server is ``haagent.witness``; there is exactly one
of it, so its host is all that has to live. Where that is not enough, make it a member of ``arbiter quorum``.
"""

from __future__ import annotations

from arbiters.witness.registers import WitnessArbiter
from arbiters.witness.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["WitnessArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that connects when it is first asked. Raises Misconfigured for settings that cannot work."""
    return WitnessArbiter(read_settings(options))
