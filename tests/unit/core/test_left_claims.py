"""Claims that an earlier worker or run of this node held, and the next one is not configured for, are given back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import SwapRegister
from haagent.core.events import PauseRequested, PrimaryAddressChanged, RegisterChanged, ResumeRequested
from haagent.core.records import SHORTENED, ClaimState, Holder, SessionRecord, claim_names
from haagent.core.register import Record
from haagent.core.units import SECOND
from tests.unit.core.pair import World

BOTH = ("VI_1", "VI_2")
SWEPT = 1.1 * 2 + 3  # seconds after which no address of the earlier worker is left


def left(*, incarnation: str = "2", resumed: bool = False, beside: bool = False, run: float = 1) -> World:
    """Let a hold two claims, die, and come back configured for the first alone; ``beside``: b stands by."""
    world = World()
    world.add("a", 150, instances=BOTH)
    if beside:
        world.add("b", 100, instances=BOTH)
    world.run(10)
    assert world.masters("VI_2") == ["a"]
    world.kill("a")
    resume = (("VI_1", world.claim("VI_1").epoch),) if resumed else ()
    world.add("a", 150, incarnation=incarnation, instances=("VI_1",), resume=resume)
    world.run(run)
    return world


def state(world: World, name: str, instance: str) -> str:
    return world.nodes[name]._members[instance][1].state


def rewrite(world: World, before: str, after: str) -> None:
    """Have the record of a's session say something else."""
    session = world.registers["sessions/a"]
    assert session.value.count(before.encode()) == 1
    world.registers["sessions/a"] = replace(
        session, value=session.value.replace(before.encode(), after.encode())
    )


def releases(world: World) -> list[float]:
    """Return when a asked the arbiter to take VI_2 back, in seconds."""
    return [
        at
        for at, who, a in world.log
        if who == "a" and isinstance(a, SwapRegister) and a.name == "claims/VI_2" and b'"released"' in a.value
    ]


def test_what_the_next_worker_is_not_configured_for_goes_to_another_node() -> None:
    """The instance was taken out of the file, and the worker died before anybody reloaded."""
    world = left(incarnation="1", resumed=True, beside=True)
    assert state(world, "b", "VI_2") == "BACKUP"
    world.run(20)
    assert state(world, "b", "VI_2") == "MASTER"
    assert world.masters("VI_1") == ["a"]


def test_what_the_next_run_is_not_configured_for_can_be_had_by_whoever_comes() -> None:
    world = left(run=30)
    assert world.claim("VI_2").state is ClaimState.RELEASED
    world.add("b", 100, instances=BOTH)
    world.run(20)
    assert state(world, "b", "VI_2") == "MASTER"


def test_it_is_not_given_back_before_the_addresses_of_the_earlier_worker_are_gone() -> None:
    """No gate guards an address that is not configured; only its lifetime takes it away."""
    (at,) = releases(left(incarnation="1", resumed=True, run=30))
    assert at >= 10 + SWEPT


def test_a_lease_that_was_longer_then_is_waited_for() -> None:
    world = World()
    world.add("a", 150, instances=BOTH)
    world.run(10)
    world.kill("a")
    rewrite(world, '"lease_ms":2000', '"lease_ms":20000')
    world.add("a", 150, incarnation="2", instances=("VI_1",))
    world.run(60)
    (at,) = releases(world)
    assert at >= 10 + 22 + 3


def test_it_is_given_back_when_the_arbiter_answers_again() -> None:
    world = left(run=4)
    world.arbiter_down = True
    world.run(10)
    world.arbiter_down = False
    world.run(20)
    assert world.claim("VI_2").state is ClaimState.RELEASED


def test_a_claim_that_another_node_holds_by_now_is_left_alone_whatever_an_old_hint_says() -> None:
    world = left(beside=True, run=30)
    assert state(world, "b", "VI_2") == "MASTER"
    held, taken = world.registers["claims/VI_2"], world.claim("VI_2")
    old = replace(taken, epoch=taken.epoch - 1, holder=Holder("a", "1"))
    given_back = releases(world)
    world.do("a", RegisterChanged("claims/VI_2", Record(old.encode(), "0")))
    world.run(30)
    assert releases(world) == given_back
    assert world.registers["claims/VI_2"] == held


def test_a_bid_tells_of_a_claim_that_the_session_does_not_name() -> None:
    world = left(run=30)
    ours = replace(world.claim("VI_2"), state=ClaimState.HELD, holder=Holder("a", "1"))
    found = Record(ours.encode(), "x")
    world.registers["claims/VI_2"] = found
    world.do("a", RegisterChanged("claims/VI_2", found))
    world.run(20)
    assert world.claim("VI_2").state is ClaimState.RELEASED


def test_nothing_is_given_back_in_a_pause() -> None:
    world = left()
    world.do("a", PauseRequested())
    world.run(30)
    assert world.claim("VI_2").state is ClaimState.HELD
    world.do("a", ResumeRequested())
    world.run(20)
    assert world.claim("VI_2").state is ClaimState.RELEASED


@pytest.mark.parametrize("after", [1, SWEPT + 0.0005, SWEPT + 5], ids=["before", "under way", "after"])
def test_an_instance_that_is_configured_again_meanwhile_goes_on_with_its_claim(after: float) -> None:
    world = left(run=1)
    world.run(10 + after - world.time / SECOND)
    node = world.nodes["a"]
    parameters = World().add("a", 150, incarnation="2", instances=BOTH).parameters
    for action in node.reconfigure(parameters, world.now):
        world._perform("a", node, action)
    world.do("a", PrimaryAddressChanged("VI_2", node.addresses["VI_1"]))
    world.run(20)
    assert state(world, "a", "VI_2") == "MASTER"
    assert world.claim("VI_2").epoch == 2
    assert not node._left.claims


@pytest.mark.parametrize("electors", [(), ("a", "b")])
@pytest.mark.parametrize("host", ["host-a", "another"])
def test_what_a_namesake_may_hold_by_promises_is_left_alone(electors: tuple[str, ...], host: str) -> None:
    """The session's record is of another host: of this machine before a reboot, or of another one, that may live on."""
    world = World()
    world.add("a", 150, instances=BOTH, electors=electors)
    world.run(10)
    world.kill("a")
    rewrite(world, '"host":"host-a"', f'"host":"{host}"')
    world.add("a", 150, incarnation="2", instances=("VI_1",), electors=electors)
    world.run(60)
    alone = bool(electors) and host == "another"
    assert bool(releases(world)) is not alone
    assert world.claim("VI_2").state is (ClaimState.HELD if alone else ClaimState.RELEASED)


def test_a_session_that_was_replaced_late_is_waited_for_from_then() -> None:
    """A namesake held the session for long; when it stops, the claims it named are not older than that."""
    world = World()
    world.add("a", 150, instances=BOTH)
    world.run(10)
    rewrite(world, "host-a", "another")
    world.kill("a")
    world.add("a", 150, incarnation="2", instances=("VI_1",))
    world.run(30)
    (at,) = releases(world)
    assert at >= 10 + 2.2 + SWEPT - 0.5, "W for the session, and then for the claim"


def test_promises_go_by_the_session_s_electors_too() -> None:
    """Counterexample: the claim was taken before failsafe was configured, and was given back under a namesake."""
    world = World()
    world.add("a", 150, instances=BOTH)
    world.run(10)
    world.kill("a")
    rewrite(world, '"host":"host-a"', '"host":"another"')
    rewrite(world, '"electors":[]', '"electors":["a","b"]')
    world.add("a", 150, incarnation="2", instances=("VI_1",))
    world.run(60)
    assert not releases(world)


def test_a_list_of_digests_names_no_claim() -> None:
    """Counterexample: it was taken for one, and an arbiter that refuses such a name was asked for it for ever."""
    world = left(run=1)
    session = SessionRecord.decode(world.registers["sessions/a"].value)
    digests = claim_names(tuple(f"{'long' * 20}_{number}" for number in range(100)))
    assert digests[0].startswith(SHORTENED)
    record = Record(replace(session, claims=digests).encode(), "x")
    assert world.nodes["a"]._left.session_read(record, world.now) == ()
