"""The pure half of nemesis.py: what is done, from a seed (generator), and what was seen (checker).

The checker reads the witness's lines only, never what an agent says about itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# fault, whom it hits, how often
NODES: dict[tuple[str, str], int] = {
    ("pause", "owner"): 4,
    ("sigstop", "owner"): 4,
    ("kill-agent", "owner"): 3,
    ("kill-container", "owner"): 2,
    ("stop", "owner"): 2,
    ("restart", "owner"): 1,
    ("disconnect-mgmt", "owner"): 3,
    ("cut-vrrp", "owner"): 3,
    ("mute", "owner"): 2,
    ("deaf", "owner"): 2,
    ("cut-arbiter", "owner"): 3,
    ("cut-peers", "owner"): 2,
    ("partition", "owner"): 4,
    ("stop-haproxy", "owner"): 2,
    ("pause", "other"): 1,
    ("kill-agent", "other"): 1,
    ("deaf", "other"): 2,
}
SERVERS = {
    "pause-{}-1": 1,
    "pause-{}-all": 2,
    "stop-{}-2": 2,
    "kill-{}-leaders": 2,
    "stutter-{}": 1,
    "wipe-{}": 1,
}
FILES: dict[tuple[str, str], int] = {("truncate-file", "arbiter"): 3}


def servers(kind: str) -> dict[tuple[str, str], int]:
    """Return the faults of three servers of a kind."""
    return {(fault.format(kind), "arbiter"): weight for fault, weight in SERVERS.items()}


WEIGHTS: dict[str, dict[tuple[str, str], int]] = {
    "etcd": {**NODES, **servers("etcd")},
    "zookeeper": {**NODES, **servers("zookeeper")},
    "files": {**NODES, **FILES},
    "quorum": {**NODES, **servers("etcd"), **servers("zookeeper"), **FILES},
}
HOLD, REST = (1.0, 6.0), (3.0, 6.0)
LONGEST_ROUND = 0.1  # s a round stands for at most: a witness that slept must not stretch what it saw


@dataclass(frozen=True)
class Shot:
    """One fault for ``hold`` s, healed, then ``rest`` s."""

    number: int
    fault: str
    role: str
    hold: float
    rest: float


def generate(seed: int, count: int, arbiter: str = "etcd") -> list[Shot]:
    """Return the campaign of ``seed`` for a deployment with this arbiter."""
    chance = random.Random(seed)  # noqa: S311  a campaign is to be repeated, not to be secret
    kinds, weights = list(WEIGHTS[arbiter]), list(WEIGHTS[arbiter].values())
    made = []
    for number in range(1, count + 1):
        fault, role = chance.choices(kinds, weights)[0]
        hold, rest = (round(chance.uniform(*limits), 2) for limits in (HOLD, REST))
        made.append(Shot(number, fault, role, hold, rest))
    return made


@dataclass
class Checker:
    """Sums up the witness's lines as they come. ``nodes``: name by MAC address. Times in s.

    An outage is a run of failed requests: back end, HAProxy, node and the client's own patience together. A silence is a
    run of rounds that no node answered: the address alone.
    """

    nodes: Mapping[str, str]
    rounds: int = 0
    requests: int = 0
    dual: float = 0.0
    dual_at: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    silences: list[tuple[float, float]] = field(default_factory=list)
    adverts: dict[str, int] = field(default_factory=dict)
    owners: frozenset[str] = frozenset()
    served_by: str | None = None
    last_round: float = 0.0
    _pending: tuple[float, bool] | None = None
    _since: float | None = None
    _served: bool = False
    _silent: float | None = None
    _answered: bool = False

    def take(self, line: Mapping[str, Any]) -> None:
        """Count one line."""
        if "round" in line:
            self._round(line["at"], {name: self._names(line[name]) for name in ("arp", "echo")})
        elif "http" in line:
            self._request(line["at"], line["http"])
        elif "advert" in line:
            name = self.nodes.get(line["advert"], line["advert"])
            self.adverts[name] = self.adverts.get(name, 0) + 1

    def finish(self, at: float) -> None:
        """Close what is still going on."""
        self._close_round(at)
        if self._since is not None and at > self._since:
            self.outages.append((self._since, at))
            self._since = None
        self._end_silence(at)

    @property
    def outage(self) -> float:
        """Return for how long HTTP requests got no good answer."""
        return sum(end - begin for begin, end in self.outages)

    def _names(self, macs: Iterable[str]) -> frozenset[str]:
        # a MAC that is no node's owns the address as well, and must not be overlooked
        return frozenset(self.nodes.get(mac, mac) for mac in macs)

    def _round(self, at: float, answers: Mapping[str, frozenset[str]]) -> None:
        self._close_round(at)
        dual = any(len(names) > 1 for names in answers.values())
        self.rounds, self.last_round, self._pending = self.rounds + 1, at, (at, dual)
        self.owners = frozenset().union(*answers.values())
        if dual:
            self.dual_at.append(at)
        if self.owners:
            self._end_silence(at)
            self._answered = True
        elif self._silent is None and self._answered:
            self._silent = at

    def _end_silence(self, at: float) -> None:
        if self._silent is not None and at > self._silent:
            self.silences.append((self._silent, at))
        self._silent = None

    def _close_round(self, at: float) -> None:
        if self._pending is not None and self._pending[1]:
            self.dual += min(at - self._pending[0], LONGEST_ROUND)
        self._pending = None

    def _request(self, at: float, node: str | None) -> None:
        self.requests, self.served_by = self.requests + 1, node
        if node is None:
            self._since = at if self._since is None and self._served else self._since
            return
        if self._since is not None:
            self.outages.append((self._since, at))
        self._since, self._served = None, True
