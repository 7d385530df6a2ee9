"""The effect behind track_peer: what it delivers, when, and that nobody seen is down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from haagent.config.model import Configuration, Daemon, GlobalDefs, Peer, Peers, VrrpInstance
from haagent.config.tracking_model import Track, TrackPeer
from haagent.core.events import TrackResult
from haagent.core.reports import Noticed, Report
from haagent.core.units import MILLISECOND
from haagent.effects import track_peers
from haagent.effects.gate.model import boot_now
from haagent.effects.track_peers import TrackPeers

UP, DOWN = TrackResult("peer p", passed=True), TrackResult("peer p", passed=False)


def configuration(vote: TrackPeer) -> Configuration:
    instance = VrrpInstance("VI_1", "lo", 51, (), track_peers=(Track("p", -20),))
    peers = Peers((Peer("b", ("192.0.2.2",)), Peer("c", ("192.0.2.3",))), 5405, b"k")
    return Configuration(GlobalDefs(), (instance,), (), (), None, peers, Daemon("a"), peer_votes=(vote,))


class Watched:
    """A vote, whom it hears, and what came of it."""

    def __init__(self, **words: object) -> None:
        self.heard: dict[str, int | None] = {"b": None, "c": None}
        self.results: list[TrackResult] = []
        self.told: list[Report] = []
        usual: dict[str, object] = {"timeout": 100 * MILLISECOND}
        self.configuration = configuration(TrackPeer("p", **{**usual, **words}))  # type: ignore[arg-type]
        self.votes = TrackPeers("a", lambda: self.heard, self.results.append, self.told.append)

    def start(self) -> None:
        self.votes.reconfigure(self.configuration)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    def hear(self, node: str, ahead: int = 0) -> None:
        self.heard[node] = boot_now() + ahead


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_peers, "INTERVAL", 0.01)


async def test_nobody_is_down_only_after_there_was_time_and_is_told_with_names() -> None:
    watched = Watched()
    watched.start()
    assert watched.results == []
    await watched.until(lambda: watched.results == [DOWN])
    assert watched.told == [Noticed("peer p", "track_peer failed", "not seen: b, c")]
    watched.hear("c", 10**9)
    await watched.until(lambda: watched.results == [DOWN, UP])
    await asyncio.sleep(0.05)
    assert len(watched.results) == 2  # only what changes is delivered
    watched.votes.close()


async def test_somebody_seen_is_up_at_once_and_silence_is_down_again() -> None:
    watched = Watched()
    watched.hear("b")
    watched.start()
    assert watched.results == [UP]
    await watched.until(lambda: watched.results == [UP, DOWN])
    watched.votes.close()


async def test_least_and_names_are_kept_to_and_this_node_does_not_count() -> None:
    watched = Watched(nodes=("a", "b", "c"), least=2)
    watched.hear("b", 10**9)
    watched.hear("a", 10**9)
    watched.start()
    await watched.until(lambda: watched.results == [DOWN])
    watched.hear("c", 10**9)
    await watched.until(lambda: watched.results == [DOWN, UP])
    watched.votes.close()


async def test_a_reload_of_the_same_vote_begins_nothing_anew() -> None:
    watched = Watched()
    watched.hear("b", 10**9)
    watched.start()
    watched.votes.reconfigure(watched.configuration)
    await asyncio.sleep(0.05)
    assert watched.results == [UP]
    watched.votes.close()
    watched.heard["b"] = None
    await asyncio.sleep(0.2)
    assert watched.results == [UP]
