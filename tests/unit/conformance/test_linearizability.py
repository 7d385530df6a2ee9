"""Histories that no register can have made are caught, by the kind of their fault; possible ones never are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count

import pytest

from haagent.arbiter import Record
from haagent.conformance.history import History, Operation, Outcome, Read, Swap, describe
from haagent.conformance.linearizability import Fault, check
from haagent.conformance.workload import Workload
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore

WEB = "claims/web"


def rec(number: int) -> Record:
    return Record(f"w{number}".encode(), str(number))


def wrote(number: int, expected: Record | None, invoked: int, returned: int) -> Swap:
    one = rec(number)
    return Swap("c", WEB, one.value, expected, invoked, returned, Outcome.WRITTEN, one.version)


def unknown(number: int, expected: Record | None, invoked: int, returned: int) -> Swap:
    return Swap("c", WEB, rec(number).value, expected, invoked, returned, Outcome.UNKNOWN)


def refused(number: int, expected: Record | None, invoked: int, returned: int) -> Swap:
    return Swap("c", WEB, rec(number).value, expected, invoked, returned, Outcome.CONFLICT)


def read(record: Record | None, invoked: int, returned: int) -> Read:
    return Read("c", WEB, invoked, returned, record)


def faults(*operations: Operation, fresh: bool = False) -> set[Fault]:
    return {violation.fault for violation in check(operations, fresh_reads=fresh)}


FIRST, SECOND = wrote(1, None, 10, 20), wrote(2, rec(1), 30, 40)


@pytest.mark.parametrize(
    ("planted", "operations"),
    [
        (Fault.DOUBLE_SUCCESS, (FIRST, SECOND, wrote(3, rec(1), 50, 60))),
        (Fault.DOUBLE_SUCCESS, (FIRST, wrote(3, None, 50, 60))),
        # an unknown swap whose value was seen has happened, so the other one cannot have
        (Fault.DOUBLE_SUCCESS, (FIRST, SECOND, unknown(3, rec(1), 30, 40), read(rec(3), 50, 60))),
        # resurrected: what was replaced is there again, and somebody builds on it
        (Fault.DOUBLE_SUCCESS, (FIRST, SECOND, wrote(3, rec(2), 50, 60), wrote(4, rec(1), 70, 80))),
        (Fault.LOST_UPDATE, (FIRST, wrote(3, rec(4), 50, 60), wrote(4, rec(3), 50, 60))),
        (Fault.UNWRITTEN, (FIRST, wrote(3, rec(2), 50, 60))),
        (Fault.UNDONE, (FIRST, refused(3, rec(1), 30, 40), read(rec(3), 50, 60))),
        (Fault.UNDONE, (FIRST, refused(2, rec(1), 30, 40), wrote(3, rec(2), 50, 60))),
        (Fault.UNWRITTEN, (FIRST, read(rec(9), 50, 60))),
        (Fault.EARLY, (FIRST, read(rec(2), 21, 22), SECOND)),
        (Fault.ORDER, (wrote(1, None, 50, 60), unknown(2, rec(1), 30, 31), wrote(3, rec(2), 20, 40))),
        (Fault.EARLY, (wrote(1, None, 50, 60), wrote(2, rec(1), 30, 40))),
        (Fault.VERSION, (FIRST, read(Record(b"w1", "7"), 21, 22))),
        (Fault.VERSION, (FIRST, Swap("c", WEB, b"w2", rec(1), 30, 40, Outcome.WRITTEN, "1"))),
        (Fault.VERSION, (FIRST, wrote(2, Record(b"w1", "7"), 30, 40))),
        (Fault.CONFLICT, (FIRST, refused(2, rec(1), 30, 40))),
        (Fault.CONFLICT, (refused(1, None, 5, 6),)),
    ],
)
def test_planted_faults_are_caught(planted: Fault, operations: Sequence[Operation]) -> None:
    assert planted in faults(*operations), "\n".join(map(describe, operations))


@pytest.mark.parametrize(
    "operations",
    [
        (FIRST, SECOND, read(rec(1), 50, 60)),  # stale
        (FIRST, SECOND, read(None, 50, 60)),
        (FIRST, unknown(2, rec(1), 25, 26), read(rec(2), 900, 901), wrote(3, rec(2), 30, 950)),  # much later
        (FIRST, unknown(2, rec(1), 25, 26), refused(3, rec(1), 30, 40)),  # it may have happened, unseen
        (FIRST, unknown(2, rec(1), 25, 26), wrote(3, rec(1), 30, 40)),  # it did not, and cannot any more
        (FIRST, refused(2, rec(1), 5, 15)),  # called before there was anything
        (FIRST, refused(3, rec(1), 35, 45), SECOND),
        (FIRST, refused(3, Record(b"w1", "7"), 25, 26)),  # another record than the one that was there
        (wrote(1, None, 10, 100), wrote(2, rec(1), 15, 20), read(rec(2), 15, 19)),  # seen before it returned
    ],
)
def test_what_the_contract_allows_is_not_accused(operations: Sequence[Operation]) -> None:
    assert not check(operations)


def test_stale_reads_are_caught_where_fresh_ones_were_promised() -> None:
    assert faults(FIRST, SECOND, read(rec(1), 50, 60), fresh=True) == {Fault.STALE}
    assert faults(FIRST, SECOND, read(None, 50, 60), fresh=True) == {Fault.STALE}
    assert faults(FIRST, SECOND, read(rec(1), 35, 60), fresh=True) == set()
    assert faults(FIRST, read(rec(2), 31, 32), SECOND, read(rec(1), 33, 34), fresh=True) == {Fault.STALE}


def test_a_value_written_twice_proves_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match="written twice"):
        check([FIRST, wrote(1, rec(1), 30, 40)])


def test_registers_are_judged_each_for_itself() -> None:
    other = Swap("c", "claims/other", b"x", None, 10, 20, Outcome.WRITTEN, "1")
    assert not check([FIRST, other])


# -- against a search that tries every order


def possible(operations: Sequence[Operation]) -> bool:
    """Say by trying every order (Wing and Gong) whether a register with fresh reads can have done this."""
    unseen = 1 << 60

    def end(one: Operation) -> int:
        lost = isinstance(one, Swap) and one.outcome is Outcome.UNKNOWN
        return unseen if lost else one.returned

    def search(left: frozenset[int], held: Record | None) -> bool:
        if all(end(operations[i]) == unseen for i in left):
            return True
        first = min(end(operations[i]) for i in left)
        return any(
            search(left - {i}, after)
            for i in left
            if operations[i].invoked <= first
            for after in effects(operations[i], held)
        )

    return search(frozenset(range(len(operations))), None)


def effects(one: Operation, held: Record | None) -> list[Record | None]:
    if isinstance(one, Read):
        return [held] if one.record == held else []
    if one.outcome is Outcome.CONFLICT:
        return [held] if held != one.expected else []
    if held != one.expected:
        return []
    return [Record(one.value, one.version or one.value.decode().removeprefix("w"))]


def random_history(seed: int, *, broken: float) -> list[Operation]:
    """Return what a few clients saw of a register that, with probability ``broken``, does one thing wrong."""
    choice, numbers = random.Random(seed), count(1)
    held: Record | None = None
    past: list[Record | None] = [None]
    operations: list[Operation] = []
    for step in range(choice.randint(2, 7)):
        at = 10 * step + 10
        invoked, returned = at - choice.randint(1, 25), at + choice.randint(1, 25)
        shown = choice.choice(past) if choice.random() < broken else held
        if choice.random() < 0.4:
            operations.append(read(shown, invoked, returned))
            continue
        expected, number = choice.choice([shown, choice.choice(past)]), next(numbers)
        fits = expected == held if choice.random() >= broken else choice.random() < 0.5
        if choice.random() < 0.25:
            operations.append(unknown(number, expected, invoked, returned))
            fits = fits and choice.random() < 0.5
        elif fits:
            operations.append(wrote(number, expected, invoked, returned))
        else:
            operations.append(refused(number, expected, invoked, returned))
        if fits:
            held = rec(number)
            past.append(held)
    return operations


@pytest.mark.parametrize("broken", [0.0, 0.1, 0.4])
def test_agrees_with_a_search_of_every_order(broken: float) -> None:
    wrong = 0
    for seed in range(3000):
        operations = random_history(seed, broken=broken)
        verdict = check(operations, fresh_reads=True)
        real = possible(operations)
        text = "\n".join(History(operations).lines())
        assert not (real and verdict), f"seed {seed}: accused wrongly: {verdict[0]}\n{text}"
        conflicts = any(isinstance(o, Swap) and o.outcome is Outcome.CONFLICT for o in operations)
        if not conflicts:
            assert real or verdict, f"seed {seed}: not caught\n{text}"
        wrong += not real
    assert wrong == 0 if broken == 0 else wrong > 100


# -- the arbiter in memory, whole and broken


async def test_a_whole_arbiter_with_faults_is_linearizable() -> None:
    store = MemoryStore()
    clients = [
        MemoryArbiter(
            store, Faults(after=20 if n == 0 else 0, late=20 if n == 1 else 0, delay=0.001 * (n == 1))
        )
        for n in range(4)
    ]
    workload = Workload(3000, seed=1, timeout=0.05)
    history = await workload.run(clients, seconds=20)
    assert len(history) >= 3000
    assert history.count(Outcome.UNKNOWN) >= 2  # how many hangs on the machine
    assert history.count(Outcome.CONFLICT) > 0
    assert not check(history.operations)


class Forgetful(MemoryStore):
    """Does not compare: every so often a swap succeeds whatever the register holds."""

    calls = 0

    def swap(self, name: str, value: bytes, expected: Record | None) -> str:
        self.calls += 1
        return super().swap(name, value, self.records.get(name) if self.calls % 200 == 0 else expected)


async def test_an_arbiter_that_does_not_compare_is_caught() -> None:
    store = Forgetful()
    history = await Workload(3000, seed=2).run([MemoryArbiter(store) for _ in range(4)], seconds=20)
    assert Fault.DOUBLE_SUCCESS in {violation.fault for violation in check(history.operations)}


async def test_an_arbiter_that_goes_back_in_time_is_caught() -> None:
    store = MemoryStore()
    workload = Workload(2000, seed=3)
    clients = [MemoryArbiter(store) for _ in range(4)]
    await workload.run(clients, seconds=20)
    saved = store.snapshot()
    workload.operations = 2500
    await workload.run(clients, seconds=20)
    store.restore(saved)
    workload.operations = 4000
    await workload.run(clients, seconds=20)
    assert check(workload.history.operations)
