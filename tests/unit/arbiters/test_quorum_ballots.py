"""Ballots over registers that swap stay linearizable whatever the order, losses, crashes and one forgetful member."""

from __future__ import annotations

from itertools import chain

import pytest
from quorum_world import World, judge

from arbiters.quorum.proposal import Phase, Proposal

SEEDS = range(700)


def wrongs(make: type[Proposal], size: int, seeds: range = SEEDS, wipes: int = 1) -> list[str]:
    """Run a world per seed and return what was wrong in the first one where anything was."""
    for seed in seeds:
        world = World(seed, size, make, wipes=wipes)
        world.run()
        if found := judge(world):
            return [f"seed {seed}", *found]
    return []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("wipes", [0, 4])
def test_no_interleaving_breaks_the_register(size: int, wipes: int):
    wipes = wipes if size >= 3 else 0  # there is nothing to survive a loss with
    assert wrongs(Proposal, size, wipes=wipes) == []


def test_the_worlds_do_something():
    """Most swaps of these worlds are answered, some are refused and some are unknown."""
    worlds = [World(seed) for seed in range(100)]
    for world in worlds:
        world.run()
    histories = [world.history for world in worlds]
    assert sum(len(h.won) for h in histories) > 100
    assert sum(len(h.refused) for h in histories) > 10
    assert sum(len(h.unknown) for h in histories) > 10
    assert sum(world.wipes == 0 for world in worlds) > 30


class VoidVotes(Proposal):
    """A member that forgot everything is believed to know that there is nothing."""

    def _count_promises(self) -> None:
        promised, waiting = self._count(Phase.PROMISED), self._count(Phase.READING, Phase.PROMISING)
        if len(promised) >= self.majority and (self.hurried or not waiting):
            self._begin_accepting(len(promised))
        elif len(promised) + len(waiting) < self.majority:
            self._lose()


class EarlySeed(Proposal):
    """A member that forgot everything is told, and counted, together with the others."""

    def _begin_accepting(self, quorum: int) -> None:
        super()._begin_accepting(quorum)
        if self.outcome is None and self.current is not None and self.resume is None:
            for number in self._count(Phase.PROMISED):
                self._electorate |= {number}
                self._accept(number, self.current)


class LateSeed(Proposal):
    """A member that forgot everything is told although it promised only after the others had been asked."""

    def _seed(self) -> None:
        self._in_time = frozenset(range(self.size))
        super()._seed()


class BlindAccept(Proposal):
    """A value is written over whatever is there now, as long as it has not promised more."""

    def on_conflict(self, number: int) -> None:
        member = self._members[number]
        if member.phase is Phase.WRITING and member.rereads < 3:
            member.rereads, member.direct, member.phase = member.rereads + 1, True, Phase.READING
            self._electorate |= {number}
            from arbiters.quorum.proposal import Read

            self._commands.append(Read(number))
            return
        super().on_conflict(number)

    def _join(self, number, record, state, *, forgot):
        if state.promised <= self.ballot and self.current is not None:
            self._members[number].ours = record
            self._accept(number, self.current)
        else:
            self._out(number)


class OldestWins(Proposal):
    """The register is what the oldest ballot says."""

    def _begin_accepting(self, quorum: int) -> None:
        found = [m for m in self._members if m.phase is Phase.PROMISED and m.accepted is not None]
        if found:
            oldest = min(found, key=lambda m: m.accepted.ballot).accepted
            for member in found:
                member.accepted = oldest
        super()._begin_accepting(quorum)


@pytest.mark.parametrize("wrong", [VoidVotes, EarlySeed, LateSeed, BlindAccept, OldestWins])
def test_wrong_rules_are_found_out(wrong: type[Proposal]):
    seeds = range(100_000, 140_000)
    assert wrongs(wrong, 3, seeds, wipes=4), f"nothing noticed in {len(list(chain(seeds)))} worlds"
