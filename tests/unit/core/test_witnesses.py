"""A claim whose record was lost: from whom it may be taken, when, and that it comes back by itself."""

from __future__ import annotations

import pytest

from arbiters.shared_file.block import TEXT_AT_MOST
from haagent.core.actions import CloseGate, OpenGate
from haagent.core.events import RegisterChanged
from haagent.core.records import Holder, SessionRecord, claim_names
from haagent.core.session import MARKS
from haagent.core.units import SECOND
from tests.unit.core.pair import World

CLAIM = "claims/VI_1"


def pair() -> World:
    world = World()
    world.add("a", 200)
    world.add("b", 100)
    world.run(12)
    assert world.masters() == ["a"]
    return world


def session(world: World, node: str) -> SessionRecord:
    return SessionRecord.decode(world.registers[f"sessions/{node}"].value)


def test_a_session_names_its_claim_and_nobody_elses() -> None:
    world = pair()
    assert session(world, "a").names("VI_1")
    assert not session(world, "b").names("VI_1")


def test_a_holder_that_died_is_ended_before_its_lost_claim_is_taken() -> None:
    world = pair()
    world.kill("a")
    del world.registers[CLAIM]
    world.do("b", RegisterChanged(CLAIM, None))
    world.run(12)
    assert world.masters() == ["b"]
    assert session(world, "a").ended_by == "b"


def test_a_lost_claim_comes_back_by_itself() -> None:
    """Its holder hears of it, closes, and one of the two has it again after W."""
    world = pair()
    del world.registers[CLAIM]
    for node in "ab":
        world.do(node, RegisterChanged(CLAIM, None))
    world.run(8)
    closed, opened = world.when("a", CloseGate, since=12), world.when("a", OpenGate, since=12)
    assert closed is not None
    assert opened is not None
    assert closed < opened
    assert len(world.masters()) == 1


@pytest.mark.parametrize(
    "letters", ["an instance with a long name, number ", "虚拟地址" * 16, "😀" * 30, '"' * 40]
)
@pytest.mark.parametrize("number", [28, 400])
def test_more_names_than_there_is_room_for_are_shortened(letters: str, number: int) -> None:
    """In the octets that the record has of them, which may be twelve for a character."""
    names = tuple(f"{letters}{each}" for each in range(number))
    marks = ("0123456789ab",) * MARKS
    record = SessionRecord(
        Holder("a", "1"), 1, SECOND, SECOND, "host", claims=claim_names(names), vacant=marks
    )
    assert len(record.encode()) <= TEXT_AT_MOST
    read = SessionRecord.decode(record.encode())
    assert all(read.names(name) for name in names)
    assert not read.names("another one")
