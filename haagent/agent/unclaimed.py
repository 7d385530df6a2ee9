"""A MASTER that holds no claim of ours: keepalived, or an agent that calls the same thing by another name.

The arbiter keeps two nodes apart only if they ask it for the same claim, and a claim is called as its group or instance is
(docs/safety/index.md, "One thing, one claim"). Here that is noticed: somebody advertises, and nobody holds the claim.
It is told, in the log and as a warning of the status, and nothing is decided by it: VRRP alone keeps the two apart.

Promises to speak only after ``SURE_AFTER`` without a break, so that neither a handover nor an answer on its way is taken for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from haagent.core.instance import Instance
from haagent.core.node import Node
from haagent.core.records import SHORTENED
from haagent.core.units import SECOND, Duration, Instant, Now
from haagent.core.virtual_router import Backup

LOG = logging.getLogger("haagent.agent")
SURE_AFTER: Duration = 10 * SECOND


class UnclaimedMasters:
    """Whom ``look`` has heard of lately; ``warnings`` says it to the operator, one sentence for each instance."""

    def __init__(self) -> None:
        self.warnings: tuple[str, ...] = ()
        self._since: dict[str, Instant] = {}  # on ``slow``, by instance
        self._told: frozenset[str] = frozenset()

    def look(self, node: Node, now: Now) -> None:
        """Take note of what is heard now; call it every second or so."""
        heard = {member.name: (claim, member) for claim, member in _unclaimed(node, now)}
        self._since = {name: self._since.get(name, now.slow) for name in heard}
        sure = [name for name, since in self._since.items() if now.slow - since >= SURE_AFTER]
        claimed = _claims_of_others(node, now) if sure else ""
        self.warnings = tuple(_say(*heard[name], claimed) for name in sure)
        for name, warning in zip(sure, self.warnings, strict=True):
            if name not in self._told:
                LOG.warning("%s", warning)
        told, self._told = self._told, frozenset(sure)
        if told and not sure:
            LOG.info("every MASTER that is heard holds its claim again, or is silent")


def _unclaimed(node: Node, now: Now) -> Iterator[tuple[str, Instance]]:
    """Yield the members that hear a MASTER of a claim that nobody holds, with the name of that claim."""
    # Only what the arbiter tells of by itself: without hints a BACKUP reads a claim once, and knows no more of it.
    told = node.parameters.arbitrated and node.neighbours.hinted
    for group in node.groups.values() if told else ():
        claim = group.claim
        if claim.known and not claim.unreadable and claim.holder is None and claim.pending is None:
            yield from ((group.name, member) for member in group.members if _hears_a_master(member, now))


def _hears_a_master(member: Instance, now: Now) -> bool:
    state = member.router.state
    return (
        isinstance(state, Backup)
        and bool(member.master and member.master[1])
        and now.fast < state.master_down_at
    )


def _say(claim: str, member: Instance, claimed: str) -> str:
    source, _priority = member.master or ("somebody", 0)
    return (
        f"{source} is MASTER of {member.name}, but nobody holds the claim {claim!r}: that is keepalived, or a haagent with another"
        f" arbiter, domain, or name for it{claimed}. In a split both would be MASTER: names must be the same on all nodes"
    )


def _claims_of_others(node: Node, now: Now) -> str:
    """Return who else is alive and what it claims, as far as that is none of our claims, in brackets."""
    found = []
    for seen in sorted(node.observations.values(), key=lambda seen: seen.node):
        names = seen.session.claims if seen.session is not None and seen.alive(now.slow) else ()
        foreign = [name for name in names if name not in node.groups and not name.startswith(SHORTENED)]
        found += [f"{seen.node} claims {', '.join(foreign)}"] if foreign else []
    return f" ({', '.join(found)})" if found else ""
