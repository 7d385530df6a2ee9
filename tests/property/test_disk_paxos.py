"""Disk Paxos under every interleaving of two nodes, and under random ones with hung and late writes.

The ordinary run takes a sample. All of it (200,000 schedules, crashes everywhere; about 20 minutes of one core)::

    HAAGENT_DISK_PAXOS=full pytest tests/property/test_disk_paxos.py --timeout 0
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from arbiters.shared_file import ballot
from arbiters.shared_file.ballot import Accepted, Attempt, Block, Phase, View, Wanted
from tests.property import disk_paxos
from tests.property.disk_paxos import Violation, World, after, events, new_world, search, wander

FULL = os.environ.get("HAAGENT_DISK_PAXOS") == "full"
SCHEDULES = 200_000 if FULL else 1_000
MUTANT_SCHEDULES = 3_000
A, B = Wanted("r", b"A"), Wanted("r", b"B")

only_full = pytest.mark.skipif(not FULL, reason="takes minutes; HAAGENT_DISK_PAXOS=full runs it")


def two_creators(files: int, crashes: tuple[int, int], retries: tuple[int, int]) -> World:
    """Both nodes create the same register."""
    return _limited(new_world(files, [[A], [B]]), crashes, retries)


def holder_and_contender(files: int, crashes: tuple[int, int], retries: tuple[int, int]) -> World:
    """Node 0 renews what it wrote, in one phase; node 1 wants to end it. Both know the same version."""
    world = new_world(files, [[A], []], crashes=0)
    while world.nodes[0].todo or any(world.nodes[0].flying):
        world = after(world, next(one for one in events(world)))
    assert world.nodes[0].standing
    todo = [[Wanted("r", b"A2", 1, b"A")], [Wanted("r", b"B2", 1, b"A")]]
    nodes = tuple(replace(node, todo=tuple(one)) for node, one in zip(world.nodes, todo, strict=True))
    return _limited(replace(world, nodes=nodes), crashes, retries)


def _limited(world: World, crashes: tuple[int, int], retries: tuple[int, int]) -> World:
    nodes = zip(world.nodes, crashes, retries, strict=True)
    return replace(world, nodes=tuple(replace(node, crashes=c, retries=r) for node, c, r in nodes))


@pytest.mark.parametrize("start", [two_creators, holder_and_contender])
@pytest.mark.parametrize(
    ("files", "crashes", "retries"),
    [
        (3, (0, 0), (0, 0)),
        (1, (1, 0), (0, 1)),
        (1, (0, 1), (1, 0)),
        pytest.param(1, (1, 1), (1, 1), marks=only_full),
        pytest.param(3, (1, 0), (0, 0), marks=only_full),
        pytest.param(3, (0, 1), (0, 0), marks=only_full),
        pytest.param(3, (0, 0), (1, 0), marks=only_full),
        pytest.param(3, (0, 0), (0, 1), marks=only_full),
    ],
)
def test_no_interleaving_decides_two_values_for_one_version(
    start: Callable[..., World], files: int, crashes: tuple[int, int], retries: tuple[int, int]
) -> None:
    assert search(start(files, crashes, retries)) > 200


@pytest.mark.parametrize("part", range(10))
def test_no_random_schedule_decides_two_values_for_one_version(part: int) -> None:
    decided = 0
    for seed in range(part, SCHEDULES, 10):
        files, nodes = ((3, 2), (3, 3), (5, 3), (1, 2))[seed // 10 % 4]
        decided += len(wander(seed, files, nodes).decided)
    assert decided > SCHEDULES / 10, "the schedules get nothing done, and prove nothing"


def test_a_swap_that_nobody_disturbs_takes_two_writes_and_the_next_one_only_one() -> None:
    world = new_world(3, [[A, Wanted("r", b"A2", 1, b"A")]], crashes=0)
    phases: list[tuple[bytes, int]] = []
    while world.nodes[0].todo or world.nodes[0].attempt:
        world = after(world, next(iter(events(world))))
        attempt = world.nodes[0].attempt
        if attempt and attempt.wanted and (attempt.wanted.value, attempt.round) not in phases:
            phases.append((attempt.wanted.value, attempt.round))
    assert [value for value, _ in phases] == [b"A", b"A", b"A2"]
    assert dict(world.decided) == {1: b"A", 2: b"A2"}


def _late_success(patch: pytest.MonkeyPatch) -> None:
    hear = Attempt.hear
    patch.setattr(Attempt, "hear", lambda self, _round, file, view: hear(self, self.round, file, view))


def _no_look_at_rivals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ballot, "_rival", lambda _view, _slot: 0)


def _forgets_on_restart(patch: pytest.MonkeyPatch) -> None:
    begin = ballot.begin
    patch.setattr(
        ballot,
        "begin",
        lambda slot, files, mine, wanted, **more: begin(slot, files, mine or Block(), wanted, **more),
    )


def _dirty_read(patch: pytest.MonkeyPatch) -> None:
    def newest(_first: object, second: dict[int, View], _majority: int) -> tuple[bool, Accepted | None]:
        blocks = [block for view in second.values() for block in view.blocks]
        return True, max(blocks, key=lambda block: block.bal).accepted

    patch.setattr(ballot, "confirmed", newest)


def _no_promise_for_the_standing_ballot(patch: pytest.MonkeyPatch) -> None:
    accept = ballot._accept

    def unpromised(attempt: Attempt, base: Accepted | None) -> Attempt:
        done = accept(attempt, base)
        return (
            replace(done, mine=replace(done.mine, mbal=done.ballot)) if done.phase is Phase.ACCEPT else done
        )

    patch.setattr(ballot, "_accept", unpromised)


def _no_history(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ballot,
        "_successor",
        lambda base, wanted, _attempt: Accepted(wanted.version + 1, wanted.name, wanted.value, (0,) * 6),
    )


def _minority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attempt, "majority", property(lambda self: self.files // 2))


def _own_value_whatever_was_there(patch: pytest.MonkeyPatch) -> None:
    accept = ballot._accept
    patch.setattr(
        ballot,
        "_accept",
        lambda attempt, base: accept(
            attempt, None if attempt.wanted and not attempt.wanted.version else base
        ),
    )


@pytest.mark.parametrize(
    "mutant",
    [
        _late_success,
        _no_look_at_rivals,
        _forgets_on_restart,
        _dirty_read,
        _no_promise_for_the_standing_ballot,
        _no_history,
        _minority,
        _own_value_whatever_was_there,
    ],
)
def test_every_rule_is_needed(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take one rule away, and some schedule decides two values, or tells a node what is not so."""
    mutant(monkeypatch)
    with pytest.raises(Violation):
        for seed in range(MUTANT_SCHEDULES):
            disk_paxos.wander(seed)
