"""A second agent is started under a's node name, on another host. The arbiter takes the two for one node.

A holder that writes to the arbiter, however seldom, keeps its session and its address: the second one waits for as long as
the other goes on. What docs/safety does not promise is not tested: with failsafe, a holder that lives on promises alone,
cut off from the arbiter *and* from the second one.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

import tests.simulation.host
from haagent.core.parameters import NodeParameters
from haagent.core.session import QUIET
from haagent.core.units import SECOND, Duration
from tests.simulation.clocks import HostClocks
from tests.simulation.configuration import node_parameters
from tests.simulation.directed import CLAIM, LEASE, start_all, two_nodes
from tests.simulation.host import Host
from tests.simulation.world import BOOTED, World

WATCHED: Duration = 30 * SECOND
PPM = 1_000_000


def elsewhere(*args: object, **words: object) -> NodeParameters:
    """Return what the second agent is told: the first one's configuration, as another run on another host."""
    told = node_parameters(*args, **words)  # type: ignore[arg-type]
    return replace(told, session=replace(told.session, incarnation="second", host="another-host"))


def start_second(world: World, within: Duration = WATCHED) -> Host:
    """Start the second a; no peer's message reaches it, nor does anybody hear it."""
    first, others = world.hosts[0], world.peers.carry
    second = Host(world, len(world.hosts), first.config, HostClocks(3 * BOOTED, PPM, PPM))
    world.hosts = (*world.hosts, second)
    with (
        patch.object(tests.simulation.host, "node_parameters", elsewhere),
        patch.object(world.peers, "carry", lambda *way: None if second in way else others(*way)),
    ):
        second.start(resumed=False)
        world.play(world.now + within)
    return second


@pytest.mark.parametrize("electors", [True, False])
@pytest.mark.parametrize("deaf", [0.0, 1.0])
@pytest.mark.parametrize("moment", range(0, QUIET, 7 * QUIET // 20))
def test_the_holder_keeps_what_it_has(electors: bool, deaf: float, moment: Duration) -> None:
    world = World(two_nodes(electors=electors, profile="failsafe"))
    start_all(world)
    first = world.hosts[0]
    assert first.node is not None
    incarnation = first.node.session.incarnation
    world.arbiter.manner = replace(world.arbiter.manner, deaf=deaf)
    world.play(world.now + 5 * SECOND + moment)
    second = start_second(world)
    assert world.checks.passing(CLAIM) == [first]
    assert first.node.session.incarnation == incarnation
    assert second.node is not None
    assert not second.node.session.live(second.now())


def test_the_second_one_takes_over_when_the_first_one_is_gone() -> None:
    world = World(two_nodes(electors=True, profile="failsafe"))
    start_all(world)
    world.play(world.now + 5 * SECOND)
    for host in world.hosts:
        host.die()
    second = start_second(world, within=QUIET * 3 // 2 + 2 * LEASE)
    assert world.checks.passing(CLAIM) == [second]
