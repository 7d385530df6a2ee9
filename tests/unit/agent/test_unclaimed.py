"""Whoever is MASTER without the claim is noticed: the arbiter does not keep it and us apart."""

from __future__ import annotations

import logging
from ipaddress import ip_address

import pytest

from haagent.agent.unclaimed import SURE_AFTER, UnclaimedMasters
from haagent.core.events import PrimaryAddressChanged
from haagent.core.units import SECOND
from tests.unit.core.pair import World

SURE = SURE_AFTER // SECOND


def looked(
    world: World, name: str, seconds: int, masters: UnclaimedMasters | None = None
) -> UnclaimedMasters:
    """Look every second, as a worker does."""
    masters = masters or UnclaimedMasters()
    for _ in range(seconds):
        world.run(1)
        if name in world.nodes:
            masters.look(world.nodes[name], world.now)
    return masters


@pytest.mark.parametrize("name", ["a", "b"])
def test_nodes_that_agree_on_the_name_are_told_nothing(name: str) -> None:
    world = World()
    world.add("a", 150)
    world.add("b", 140)
    masters = looked(world, name, 2 * SURE)
    world.kill("a")
    assert looked(world, name, 3 * SURE, masters).warnings == ()


def test_another_name_for_the_same_thing_is_told_once_and_names_the_other_node(caplog) -> None:
    world = World()
    world.add("a", 150, sync="HAPROXY")
    world.add("b", 140)
    masters = looked(world, "b", SURE)
    assert masters.warnings == ()  # not sure yet: the first adverts came later than the start
    caplog.set_level(logging.INFO)
    (warning,) = looked(world, "b", 2 * SURE, masters).warnings
    assert "192.0.2.150 is MASTER of VI_1, but nobody holds the claim 'VI_1'" in warning
    assert "(a claims HAPROXY)" in warning
    assert [record.getMessage() for record in caplog.records] == [warning]
    world.kill("a")
    assert looked(world, "b", 2 * SURE, masters).warnings == ()
    assert "holds its claim again, or is silent" in caplog.text


def test_a_handover_is_nothing_to_be_told() -> None:
    world = World()
    world.add("b", 140)
    masters = looked(world, "b", SURE)
    world.add("a", 150)
    assert looked(world, "b", 3 * SURE, masters).warnings == ()


def test_without_an_arbiter_nobody_has_a_claim() -> None:
    world = World()
    world.add("a", 150, arbitrated=False)
    world.add("b", 140, arbitrated=False)
    assert looked(world, "b", 2 * SURE).warnings == ()


def test_an_arbiter_that_tells_of_no_changes_is_not_taken_at_its_old_word() -> None:
    world = World()
    world.deaf = {"a", "b"}
    world.add("a", 150)
    world.run(1)
    world.add("b", 140)
    assert looked(world, "b", 3 * SURE).warnings == ()


def test_another_address_of_the_master_is_no_news(caplog) -> None:
    world = World()
    world.add("a", 150, sync="HAPROXY")
    world.add("b", 140)
    masters = looked(world, "b", 2 * SURE)
    world.do("a", PrimaryAddressChanged("VI_1", ip_address("192.0.2.7")))
    (warning,) = looked(world, "b", SURE, masters).warnings
    assert "192.0.2.7 is MASTER" in warning
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
