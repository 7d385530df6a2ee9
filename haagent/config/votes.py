"""track_peer blocks: whether other nodes are seen on the peer channel counts for or against this one.

Promise: a vote cannot take the address down everywhere because of one cut between the nodes. With weight 0 a node that
sees too few others is FAULT; that is accepted only where one side of every cut in two still sees enough. Two nodes that
lose sight of each other see the same, so in a pair a vote needs a weight.
"""

from __future__ import annotations

from haagent.config.messages import Messages
from haagent.config.model import Configuration
from haagent.config.sections import Section
from haagent.config.tracking import read_weight
from haagent.config.tracking_model import Track, TrackPeer
from haagent.config.tree import Statement
from haagent.config.values import integer
from haagent.core.units import SECOND
from haagent.errors import ConfigError

DEFAULT_WEIGHT = -20
MOST_WEIGHT = 254
_SHORTEST, _LONGEST = 1.5, 3600.0  # two hellos may be lost in a row at the shortest


def read_track_peer(statement: Statement, messages: Messages) -> TrackPeer:
    """Return a track_peer block; which nodes there are is not checked yet."""
    section = Section("track_peer", statement.block or [], messages)
    weight, reverse = section.value(
        "weight", lambda one: read_weight(one.values, MOST_WEIGHT), (DEFAULT_WEIGHT, False)
    )
    return TrackPeer(
        name=statement.values[0].text,
        nodes=tuple(dict.fromkeys(word.text for one in section.all("node") for word in one.values)),
        least=section.value("least", lambda one: integer(one.values[0], 1, 255, "least"), 1),
        timeout=section.seconds("timeout", _SHORTEST, _LONGEST, 3 * SECOND),
        weight=weight,
        reverse=reverse,
        place=statement.place,
    )


def voters(vote: TrackPeer, configuration: Configuration, own: str) -> tuple[str, ...]:
    """Return the nodes that a vote is about, on the node called ``own``."""
    others = tuple(peer.node for peer in configuration.peers.nodes) if configuration.peers else ()
    return tuple(node for node in vote.nodes or others if node != own)


def check_votes(configuration: Configuration, own: str) -> None:
    """Raise ConfigError for a vote that can never pass, or that could make every node FAULT at once."""
    for vote in configuration.peer_votes:
        _check_nodes(vote, configuration, own)
        uses = [t for user in configuration.subjects for t in user.track_peers if t.name == vote.name]
        for use in uses:
            _check_fault(vote, use, len(voters(vote, configuration, own)))


def _check_nodes(vote: TrackPeer, configuration: Configuration, own: str) -> None:
    if configuration.peers is None:
        raise ConfigError(f"track_peer {vote.name} without a peers block: nobody is ever seen", vote.place)
    known = {own, *(peer.node for peer in configuration.peers.nodes)}
    for node in vote.nodes:
        if node not in known:
            raise ConfigError(
                f"track_peer {vote.name} names {node}, and the peers block does not",
                vote.place,
                f"one of {', '.join(sorted(known))}",
            )
    others = len(voters(vote, configuration, own))
    if vote.least > others:
        raise ConfigError(f"track_peer {vote.name}: least is {vote.least} of {others}", vote.place)


def _check_fault(vote: TrackPeer, use: Track, others: int) -> None:
    """Of n others and this node, the larger side of a cut in two has at least n // 2 others in sight."""
    if use.weight:
        return
    if use.reverse:
        raise ConfigError(
            f"track_peer {vote.name}: weight 0 reverse makes nodes that see each other FAULT",
            vote.place,
            "a weight",
        )
    if vote.least > others // 2:
        raise ConfigError(
            f"track_peer {vote.name}: with weight 0 a cut between the nodes can make all of them FAULT: a side that "
            f"sees {others // 2} of {others} others is FAULT below {vote.least}",
            vote.place,
            f"least {others // 2}" if others > 1 else f"a weight, such as {DEFAULT_WEIGHT}",
        )
