"""Ballots over registers that swap stay linearizable whatever the order, losses, crashes and one forgetful member."""

from __future__ import annotations

import pytest
from quorum_world import Store, World, feed, judge

from arbiters.quorum.acceptor import Accepted, Ballot, ForeignStateError, State, decode
from arbiters.quorum.plan import Keep, Swap
from arbiters.quorum.proposal import Command, Outcome, Phase, Proposal, Read
from haagent.arbiter import Record

SEEDS = range(250)


def wrongs(make: type[Proposal], size: int, seeds: range = SEEDS, wipes: int = 1) -> list[str]:
    """Run a world per seed and return what was wrong in the first one where anything was."""
    for seed in seeds:
        world = World(seed, size, make, wipes=wipes)
        world.run()
        if found := judge(world):
            return [f"seed {seed}", *found]
    return []


@pytest.mark.parametrize(("size", "wipes"), [(1, 0), (2, 0), (3, 0), (3, 4), (5, 4)])
def test_no_interleaving_breaks_the_register(size: int, wipes: int):
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


@pytest.mark.parametrize("wrong", [VoidVotes, EarlySeed, BlindAccept, OldestWins])
def test_wrong_rules_are_found_out(wrong: type[Proposal]):
    seeds = range(100_000, 105_000)
    assert wrongs(wrong, 3, seeds, wipes=4), f"nothing noticed in {len(seeds)} worlds"


class Desk:
    """Three stores, served by hand: commands wait until they are let through."""

    def __init__(self) -> None:
        self.stores = [Store() for _ in range(3)]
        self.waiting: list[tuple[Proposal, Command]] = []

    def serve(self, proposal: Proposal, *members: int) -> Proposal:
        """Let through what ``proposal`` has to say to ``members``, until it has no more to say to them."""
        while True:
            self.waiting += [(proposal, command) for command in proposal.commands()]
            ready = [one for one in self.waiting if one[0] is proposal and one[1].member in members]
            if not ready:
                return proposal
            self.waiting.remove(ready[0])
            command = ready[0][1]
            feed(proposal, command, self.stores[command.member].apply(command))

    def hold(self, proposal: Proposal, *members: int) -> Proposal:
        """Serve a whole ballot that goes on without the others."""
        proposal.hurry()
        return self.serve(proposal, *members)


def current(proposal: Proposal) -> Accepted:
    assert proposal.outcome is Outcome.CHOSEN
    assert proposal.current is not None
    return proposal.current


def late_promise(make: type[Proposal]) -> Proposal:
    """Let member 1 forget a value it helped to choose, and then be reached late by the ballot before it.

    Return the ballot of a reader who reaches members 0 and 1 only.
    """
    desk = Desk()
    first = desk.hold(make(3, Ballot(1, "p"), Swap("r", b"old", None).propose), 0, 1, 2)
    held = Record(b"old", current(first).version)
    slow = desk.hold(make(3, Ballot(3, "p"), Swap("r", b"new", held).propose), 0, 2)
    assert current(slow).value == b"new"
    newer = Record(b"new", current(slow).version)
    other = desk.hold(make(3, Ballot(9, "q"), Swap("r", b"newest", newer).propose), 1, 2)
    assert current(other).value == b"newest"
    desk.stores[1] = Store()
    desk.serve(slow, 1)
    return desk.hold(make(3, Ballot(20, "z"), Keep().propose), 0, 1)


def test_a_late_promise_of_a_member_that_forgot_gives_it_no_vote():
    assert late_promise(Proposal).outcome is None, "members 0 and 1 cannot know"
    assert current(late_promise(LateSeed)).value == b"new", "the scenario shows nothing"


def test_a_member_that_forgot_votes_again_after_one_ballot_among_the_others():
    desk = Desk()
    current(desk.hold(Proposal(3, Ballot(1, "p"), Swap("r", b"old", None).propose), 0, 1, 2))
    desk.stores[1] = Store()
    assert current(desk.serve(Proposal(3, Ballot(5, "q"), Keep().propose), 0, 1, 2)).value == b"old"
    assert current(desk.hold(Proposal(3, Ballot(9, "r"), Keep().propose), 1, 2)).value == b"old"


def test_the_first_value_takes_all_members():
    desk = Desk()
    proposal = desk.hold(Proposal(3, Ballot(1, "p"), Swap("r", b"old", None).propose), 0, 1)
    assert proposal.outcome is None
    assert current(desk.serve(proposal, 0, 1, 2)).value == b"old"


def test_the_next_ballot_of_the_same_proposer_is_one_swap_per_member():
    desk = Desk()
    first = desk.hold(Proposal(3, Ballot(1, "p"), Swap("r", b"old", None).propose), 0, 1, 2)
    held = Record(b"old", current(first).version)
    swap = Swap("r", b"new", held)
    second = Proposal(3, Ballot(2, "p"), swap.propose, resume=first.held)
    assert [type(command).__name__ for command in second._commands] == ["Write"] * 3
    assert swap.result(current(desk.serve(second, 0, 1, 2))) == "2.p"


def test_a_member_put_back_to_an_old_state_is_made_to_forget_by_whoever_knows_better():
    desk = Desk()
    first = desk.hold(Proposal(3, Ballot(1, "p"), Swap("r", b"old", None).propose), 0, 1, 2)
    backup = desk.stores[1].record
    held = Record(b"old", current(first).version)
    current(desk.hold(Proposal(3, Ballot(2, "p"), Swap("r", b"new", held).propose, resume=first.held), 0, 1))
    desk.stores[1].record = backup
    knowing = Proposal(3, Ballot(9, "p"), Keep().propose, {1: Ballot(3, "p")})
    assert desk.hold(knowing, 1, 2).outcome is None, "one voting member is no majority"
    assert current(desk.serve(knowing, 0, 1, 2)).value == b"new"


def test_states_survive_storage_and_anything_else_is_void():
    accepted = Accepted(Ballot(7, "a"), "5.b", ("1.a", "3.c"), b'{"x": 1}\n\x00')
    state = State(3, Ballot(8, "a"), accepted)
    assert decode(state.encode(), 3) == state
    for stored in (None, b"", b"{}", b"nonsense", b"[1]\n", b'{"quorum": 3, "promised": "x"}\n'):
        assert decode(stored, 3).accepted is None
    with pytest.raises(ForeignStateError):
        decode(state.encode(), 5)
