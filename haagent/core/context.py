"""What the groups of a node share, and may ask of it. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from haagent.core.actions import Actions
from haagent.core.observation import SessionObservation
from haagent.core.records import Holder
from haagent.core.session import Session
from haagent.core.units import Duration, Instant, Now


@dataclass(slots=True)
class Context:
    """What a group may ask of its node: the session, other nodes' sessions, ending them, and promises given.

    ``end`` ends another node's expired session; ``bound_until`` is when a promise not to claim runs out (``slow``),
    0 if none; ``only_candidate`` is the other node if there is but one. ``declared_down`` are nodes that an operator
    vouches for being down. ``tenure`` is how long a holder keeps the claim before it considers a bid. ``paused`` freezes
    what may move: nothing is claimed, no bid is considered, and a holder keeps what it has whatever its health checks
    say; leases go on.
    """

    session: Session
    observe: Callable[[str], SessionObservation]
    end: Callable[[Holder, Now], Actions]
    bound_until: Callable[[str, str, int | None], Instant]
    only_candidate: Callable[[Now], str | None] = lambda _now: None
    earliest_claim: Instant = 0
    declared_down: set[str] = field(default_factory=set)
    tenure: Duration = 0
    paused: bool = False
    stopping: bool = False
