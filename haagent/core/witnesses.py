"""Whose word is needed before a claim is taken whose record was lost, and when that word counts.

Somebody may delete the record of one claim under a holder that goes on renewing its session and hears nothing of it. So
every session names what its node holds or may hold, from before the swap that takes it is answered until its gate is
closed; and a claim found missing, vacant or older than it was is taken only when every other session known has been
*cleared*. That has no time limit. A session is cleared by one of these, each later than the record that lies there now:

* it carries that record's *mark*: its node has seen this very record, and holds nothing by another one;
* this node ended it by a swap of its own: whatever ran under it begins anew, and has to look first;
* it does not name the claim, in a record that replaced one that first appeared HEARSAY after the loss was seen. Reads and
  hints may be old, and a record seen for the first time may be as old as the node's last sign of life; this is for nodes
  that do not take part in the claim, and it is the only place where the age of news matters.

Whoever is cleared once may be believed for as long as that record lies there, and its successors of the same epoch (a bid, a
release, which clears its writer, too): it can be passed by only with a swap on them.
"""

from __future__ import annotations

from haagent.core.neighbours import Neighbours
from haagent.core.observation import SessionObservation, patience
from haagent.core.records import Holder
from haagent.core.units import SECOND, Duration, Instant

HEARSAY: Duration = 11 * SECOND  # older than any news that is still under way


class Witnesses:
    """The other sessions, as witnesses to the loss of a claim's record."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    def known(self) -> tuple[str, ...]:
        """Return the other nodes that are known at all: the electors, and whoever was heard of."""
        parameters = self._neighbours.session.parameters
        nodes = {*self._neighbours.observations, *parameters.electors}
        return tuple(sorted(nodes - {parameters.node}))

    def wait(self) -> Duration:
        """Return how long to wait in any case: longer where a holder may exist that we could not have heard of."""
        session = self._neighbours.session
        complete = self._neighbours.hinted or bool(session.parameters.electors)
        return patience(session.longest_lease) + (0 if complete else HEARSAY)

    def awaited(self, claim: str, marked: str, since: Instant, cleared: set[str]) -> list[SessionObservation]:
        """Return the sessions that are not cleared, and add those that are to ``cleared``, node by node.

        ``since`` (``slow``) is when the record ``marked`` so was first seen.
        """
        observations = [self._neighbours.observe(node) for node in self.known() if node not in cleared]
        cleared.update(seen.node for seen in observations if _cleared(seen, claim, marked, since))
        return [seen for seen in observations if seen.node not in cleared]


def holder_of(observation: SessionObservation) -> Holder:
    """Return whose session it is, as far as it says so."""
    session = observation.session
    return Holder(observation.node, "unknown") if session is None else session.holder


def _cleared(seen: SessionObservation, claim: str, marked: str, since: Instant) -> bool:
    if seen.ended_at is not None and seen.ended_at >= since:
        return True
    session = seen.session
    if session is None:
        return False
    if not session.ended and marked in session.vacant:
        return True
    if session.ended:
        return seen.since >= since + HEARSAY
    return not session.names(claim) and seen.replaced is not None and seen.replaced >= since + HEARSAY
