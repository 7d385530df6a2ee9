"""Votes of other nodes: looks several times a second who was heard on the peer channel, and delivers what changed.

Promises:

* Only authentic, fresh messages count (``effects.peers``); what travels the VRRP wire does not.
* **Fail closed.** Nobody configured, a channel that cannot be opened, a key that does not fit: nobody is seen.
* A node that was suspended itself reads what has arrived before it says that nobody is there: too few nodes count
  from the second look in a row.

May not know what a vote means: the core does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from haagent.config.model import Configuration
from haagent.config.tracking_model import TrackPeer
from haagent.config.votes import voters
from haagent.core.events import TrackResult
from haagent.core.reports import Noticed, Report
from haagent.core.sight import seen, verdict
from haagent.core.units import Instant
from haagent.effects.gate.model import boot_now

INTERVAL = 0.25


def peer_tracker(name: str) -> str:
    """Return the name under which the core knows a track_peer."""
    return f"peer {name}"


@dataclass(slots=True)
class _Vote:
    """One block: since when it is looked at, what was delivered last, and how many looks found too few."""

    block: TrackPeer
    nodes: tuple[str, ...]
    since: Instant
    up: bool | None = None
    short: int = 0


class TrackPeers:
    """The votes, none before the first configuration. ``heard`` says when (CLOCK_BOOTTIME) each node was heard last."""

    def __init__(
        self,
        node: str,
        heard: Callable[[], Mapping[str, Instant | None]],
        deliver: Callable[[TrackResult], None],
        tell: Callable[[Report], None],
    ) -> None:
        self._node, self._heard, self._deliver, self._tell = node, heard, deliver, tell
        self._votes: dict[str, _Vote] = {}
        self._timer: asyncio.TimerHandle | None = None

    def reconfigure(self, configuration: Configuration) -> None:
        """Look for the tracked votes of ``configuration``; an unchanged one keeps its state."""
        self.close()
        tracked = {track.name for user in configuration.subjects for track in user.track_peers}
        before, self._votes = self._votes, {}
        for block in configuration.peer_votes:
            if block.name in tracked:
                nodes, old = voters(block, configuration, self._node), before.get(block.name)
                same = old is not None and (old.block, old.nodes) == (block, nodes)
                self._votes[block.name] = old if old and same else _Vote(block, nodes, boot_now())
        if self._votes:
            self._look()

    def close(self) -> None:
        """Stop looking. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)
        now, heard = boot_now(), self._heard()
        for vote in self._votes.values():
            in_sight = seen(heard, vote.nodes, vote.block.timeout, now)
            up = verdict(len(in_sight), vote.block.least, vote.since, vote.block.timeout, now)
            vote.short = 0 if up else vote.short + 1
            if up is not None and up is not vote.up and (up or vote.short > 1):
                self._settle(vote, in_sight, up=up)

    def _settle(self, vote: _Vote, in_sight: tuple[str, ...], *, up: bool) -> None:
        vote.up = up
        tracker = peer_tracker(vote.block.name)
        if not up:
            missing = ", ".join(node for node in vote.nodes if node not in in_sight)
            self._tell(Noticed(tracker, "track_peer failed", f"not seen: {missing}"))
        self._deliver(TrackResult(tracker, passed=up))
