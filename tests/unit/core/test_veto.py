"""The operator's veto: asked before a node claims, and only then."""

from __future__ import annotations

from itertools import pairwise

from haagent.core.actions import AskVeto, ExtendGate, SwapRegister
from haagent.core.events import SwitchoverRequested, VetoAnswered
from haagent.core.reports import Noticed
from haagent.core.units import SECOND
from haagent.core.veto import Question, Veto
from tests.unit.core.pair import World

PAUSE = 3 * SECOND
NO = "vetoed by /x: exited with status 1"


def asked(world: World, name: str, since: float = 0.0) -> list[tuple[float, AskVeto]]:
    return [(at, a) for at, who, a in world.log if who == name and at >= since and isinstance(a, AskVeto)]


def bids(world: World, name: str, since: float) -> list[bool]:
    """Return whether each claim record a node wrote had a bid in it."""
    return [
        b'"bid":{' in a.value
        for at, who, a in world.log
        if who == name and at >= since and isinstance(a, SwapRegister) and a.name.startswith("claims/")
    ]


def pair(**words) -> World:
    """Two nodes with veto scripts that agree; a (150) is MASTER, ten seconds after the start."""
    world = World()
    world.add("a", 150, veto_pause=PAUSE, **words)
    world.add("b", 140, veto_pause=PAUSE, **words)
    world.run(10)
    assert world.masters() == ["a"]
    return world


def test_a_node_asks_once_becomes_master_and_is_never_asked_again() -> None:
    world = pair()
    world.run(60)
    (question,) = asked(world, "a")
    assert (question[1].claim, question[1].why, question[1].priority) == ("VI_1", "free", 150)
    assert not asked(world, "b"), "a BACKUP that does not want to claim has nothing to ask"
    assert world.masters() == ["a"]


def test_a_vetoed_takeover_is_asked_again_after_the_pause_until_it_is_allowed() -> None:
    world = pair()
    world.vetoes["b"] = NO
    world.kill("a")
    world.run(20)
    assert world.masters() == []
    times = [at for at, question in asked(world, "b")]
    assert all(2.99 < later - earlier < 3.1 for earlier, later in pairwise(times))
    assert len(times) >= 5
    told = [r for r in world.reports("b", 10) if isinstance(r, Noticed) and r.what == "vetoed"]
    assert len(told) == 1, "an operator reads it once, not every three seconds"
    assert NO in world.nodes["b"].groups["VI_1"].candidacy.veto.sentence(world.now.fast)
    world.vetoes["b"] = ""
    world.run(3.2)
    assert world.masters() == ["b"]
    (question, *_) = asked(world, "b", times[-1] + 1)
    assert (question[1].why, question[1].holder) == ("takeover", "a")


def test_somebody_else_takes_over_when_the_first_one_is_vetoed() -> None:
    world = pair()
    world.add("c", 130)
    world.run(5)
    world.vetoes["b"] = NO
    world.kill("a")
    world.run(6)
    assert world.masters() == ["c"]


def test_a_script_that_never_answers_lets_nothing_happen_and_is_not_run_twice() -> None:
    world = pair()
    world.vetoes["b"] = None
    world.kill("a")
    world.run(30)
    assert world.masters() == []
    assert len(asked(world, "b")) == 1


def test_a_vetoed_preemption_does_not_bid() -> None:
    world = pair()
    world.add("c", 200, veto_pause=PAUSE)
    world.vetoes["c"] = NO
    world.run(10)
    assert world.masters() == ["a"]
    assert not bids(world, "c", 10)
    assert asked(world, "c")[-1][1].why == "preemption"
    world.vetoes["c"] = ""
    world.run(5)
    assert world.masters() == ["c"]


def test_a_bid_that_stands_is_withdrawn_when_the_veto_comes_later() -> None:
    world = pair()
    a = world.nodes["a"]
    a.context.tenure = 60 * SECOND
    world.add("c", 200, veto_pause=PAUSE)
    world.run(8)
    assert bids(world, "c", 10) == [True]
    world.vetoes["c"] = NO
    world.run(4)
    assert bids(world, "c", 10) == [True, False]
    assert world.claim().bid is None
    world.run(60)
    assert world.masters() == ["a"]


def test_a_switchover_to_a_node_that_is_vetoed_comes_back() -> None:
    world = pair()
    world.vetoes["b"] = NO
    world.do("a", SwitchoverRequested("VI_1", "b"))
    world.run(8)
    assert asked(world, "b")[0][1].why == "handover"
    assert world.masters() == ["a"]


def test_what_is_held_is_never_asked_about_again() -> None:
    """A MASTER whose lease lapsed for a moment, and a worker that continues another one's run."""
    world = pair()
    world.vetoes["a"] = NO
    world.arbiter_down = True
    world.run(1.2)
    world.arbiter_down = False
    world.run(2)
    assert world.masters() == ["a"]
    epoch = world.claim().epoch
    world.kill("a")
    world.add("a", 150, veto_pause=PAUSE, resume=(("VI_1", epoch),))
    world.run(3)
    assert (world.masters(), world.claim().epoch) == (["a"], epoch)
    assert len(asked(world, "a")) == 1


def test_a_node_that_may_not_claim_gives_back_what_its_earlier_run_held() -> None:
    world = pair()
    world.kill("a")
    world.vetoes["a"] = NO
    world.add("a", 150, incarnation="2", veto_pause=PAUSE)
    world.run(6)
    assert world.masters() == ["b"]


def test_without_an_arbiter_it_counts_too_and_vrrp_goes_on() -> None:
    world = World()
    world.add("a", 150, arbitrated=False, veto_pause=PAUSE)
    world.vetoes["a"] = NO
    world.add("b", 140, arbitrated=False)
    world.run(10)
    assert world.masters() == ["b"]
    world.vetoes["a"] = ""
    world.run(4)
    assert world.masters() == ["a"]


def test_renewals_do_not_wait_for_a_script() -> None:
    world = pair()
    world.vetoes["b"] = None
    world.do("b", VetoAnswered("VI_1", NO))  # an answer nobody waits for
    world.run(10)
    times = [at for at, who, a in world.log if who == "a" and at > 10 and isinstance(a, ExtendGate)]
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.6
    assert world.masters() == ["a"]


def test_an_answer_that_comes_while_a_reload_has_taken_the_veto_away_is_the_answer() -> None:
    veto, question = Veto("VI_1", PAUSE), Question("free", "", 1, 100)
    assert [type(action) for action in veto.ask(question, 0)] == [AskVeto]
    veto.pause = None
    veto.answered("", SECOND)
    veto.pause = PAUSE
    assert [type(action) for action in veto.ask(question, 2 * SECOND)] == [AskVeto]
