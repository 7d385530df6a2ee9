"""A majority of arbiters as an arbiter: ``arbiter quorum { etcd { ... } zookeeper { ... } file { ... } }``.

Promises what ``haagent.arbiter`` asks for while more than half of the members answer; losing, restarting or wiping any
one of three changes nothing for the nodes. Members are ordinary arbiters, found through the entry points anyone uses.
"""

from __future__ import annotations

from arbiters.quorum.members import open_members
from arbiters.quorum.registers import QuorumArbiter
from haagent.arbiter import Arbiter, ArbiterOptions, Misconfigured

__all__ = ["QuorumArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return a quorum whose members open in the background. Raises Misconfigured for a quorum that cannot work."""
    if len(options.members) < 2:
        raise Misconfigured("arbiter quorum: needs at least two members; three survive the loss of one")
    if options.endpoints or options.settings:
        raise Misconfigured("arbiter quorum: has no endpoints and no words of its own, only members")
    return QuorumArbiter(open_members(options.members))
