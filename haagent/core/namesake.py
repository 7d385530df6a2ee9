"""Another agent under this node's own name: after a reboot an earlier run of this one, otherwise a mistake.

Two machines must not run under one node name: to the arbiter they are one node that was restarted. ``host`` in the
session's record, the running kernel and network namespace, tells them apart. An agent that starts waits for what another
host wrote last, and one that loses its session to another host says so.

Promises to tell, and how long to wait. It cannot promise that the wait is enough: with failsafe the other one may live
on promises without ever writing (docs/safety, "what is not promised").
"""

from __future__ import annotations

from haagent.core.actions import Actions, Tell
from haagent.core.observation import patience
from haagent.core.records import SessionRecord
from haagent.core.reports import SessionChanged
from haagent.core.units import Duration


def patience_with(session: SessionRecord) -> Duration:
    """Return how long a namesake's record must stay as it is before its writer counts as gone.

    One that names electors and claims may be a holder's that lives on promises: it is written in its own rhythm only.
    """
    promised = bool(session.electors and session.claims)
    return patience(session.lease) + (session.renew * 3 // 2 if promised else 0)


class Namesakes:
    """What ``node`` on ``host`` has to say about others of its name. Each host is told of once."""

    def __init__(self, node: str, host: str) -> None:
        self._node, self._host = node, host
        self._told = ""

    def in_the_way(self, session: SessionRecord | None) -> Actions:
        """Tell that a namesake's session is waited for."""
        if session is None or session.ended or not self._is_one(session) or session.host == self._told:
            return ()
        self._told = session.host
        detail = f"another agent named {self._node} was seen on host {session.host}; waiting until it writes no more"
        return (Tell(SessionChanged("occupied", detail)),)

    def took_over(self, session: SessionRecord | None) -> Actions:
        """Tell that ``session``, for which this node lost its own, is a namesake's, if it is."""
        if session is None or not self._is_one(session):
            return ()
        self._told = ""
        detail = (
            f"another agent named {self._node}, on host {session.host}, took it from this one, on host {self._host}: under"
            " one node name two machines can both have the addresses; stop one and give it a name of its own"
        )
        return (Tell(SessionChanged("usurped", detail)),)

    def _is_one(self, session: SessionRecord) -> bool:
        return session.holder.node == self._node and session.host != self._host
