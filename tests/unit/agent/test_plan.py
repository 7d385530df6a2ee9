"""``haagent plan`` against the core itself: in the perfect world nothing takes longer than the plan says."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.agent.plan import Assumptions, InstancePlan, Plan, back, plan
from haagent.config.model import Configuration
from haagent.core.actions import CloseGate, ExtendGate, OpenGate
from haagent.core.events import Shutdown, SwitchoverRequested
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.gate import Tier
from haagent.errors import ConfigError
from tests.unit.agent.worlds import configuration, join, peers, seconds, took_over
from tests.unit.core.pair import HOST, LAN, ORIGIN, ROUND_TRIP, World

ASSUMED = Assumptions(round_trip=ROUND_TRIP, host=HOST)
SLACK = seconds(2 * LAN)  # the plan has no LAN; an advert and a promise take LAN each
PHASES = 7

CASES = {
    "v2, defaults": {"version": 2},
    "v3, defaults": {"version": 3},
    "v3, fast": {"version": 3, "advert": "0.1"},
    "v2, slow": {"version": 2, "advert": "3"},
    "short lease": {"arbiter": "lease 500ms\nguard 10ms"},
    "long lease": {"arbiter": "lease 5s"},
    "plain VRRP": {"arbiter": "none"},
}


def made(config: Configuration) -> tuple[Plan, InstancePlan]:
    whole = plan(config, ASSUMED)
    return whole, whole.instances[0]


def span(config: Configuration, what: str) -> tuple[float, float]:
    line = next(line for line in made(config)[1].lines if line.what == what)
    assert line.span is not None
    return seconds(line.span.typical), seconds(line.span.worst)


def settled(directory: Path, **words: str) -> tuple[World, Configuration]:
    """Return a world where a (150) is MASTER and b (100) is not, and b's configuration."""
    world = World()
    own = configuration(directory, priority=100, **words)
    join(world, "a", configuration(directory, priority=150, **words))
    join(world, "b", own)
    world.run(20)
    assert world.masters() == ["a"]
    return world, own


@pytest.mark.parametrize("words", CASES.values(), ids=CASES.keys())
def test_a_dead_host_is_replaced_within_the_plan_and_the_plan_is_tight(tmp_path, words) -> None:
    took, config = [], None
    for phase in range(PHASES):
        world, config = settled(tmp_path, **words)
        advert = seconds(config.instances[0].advert_interval)
        world.run(phase * advert / PHASES + phase * 0.0437)
        world.kill("a")
        died = world.time / SECOND
        world.run(20)
        took.append(took_over(world, "b", died))
    assert config is not None
    typical, worst = span(config, "host of the MASTER dies")
    print(f"{min(took):.3f} to {max(took):.3f} s, plan: typically {typical:.3f}, at most {worst:.3f} s")
    assert max(took) <= worst + SLACK
    assert min(took) <= typical + SLACK
    assert max(took) >= 0.85 * worst, "the bound is far from what happens"


@pytest.mark.parametrize("words", [words for words in CASES.values() if words.get("arbiter") != "none"])
def test_a_killed_agent_leaves_a_gap_no_longer_than_planned(tmp_path, words) -> None:
    """The kernel goes on serving until the last deadline it was given."""
    for phase in range(PHASES):
        world, config = settled(tmp_path, **words)
        world.run(phase * 0.0713)
        world.kill("a")
        died = world.time / SECOND
        served = max(a.until for _, who, a in world.log if who == "a" and isinstance(a, ExtendGate)) - ORIGIN
        world.run(20)
        gap = died + took_over(world, "b", died) - seconds(served)
        assert (
            0 < gap <= span(config, "agent killed or hung, host alive")[1] + SLACK + 1e-6
        )  # floats of instants


@pytest.mark.parametrize("words", CASES.values(), ids=CASES.keys())
def test_a_stop_in_order(tmp_path, words) -> None:
    world, config = settled(tmp_path, **words)
    stopped = world.time / SECOND
    world.do("a", Shutdown())
    world.run(10)
    took, (typical, worst) = took_over(world, "b", stopped), span(config, "agent stopped in order")
    assert typical / 2 - SLACK <= took <= typical + SLACK
    assert typical <= worst


@pytest.mark.parametrize("words", [words for words in CASES.values() if words.get("arbiter") != "none"])
def test_a_switchover(tmp_path, words) -> None:
    world, config = settled(tmp_path, **words)
    asked = world.time / SECOND
    world.do("a", SwitchoverRequested("VI_1", "b"))
    world.run(3)
    assert took_over(world, "b", asked) <= span(config, "switchover")[1] + SLACK


def test_a_better_node_that_comes_back(tmp_path) -> None:
    world, own = World(), configuration(tmp_path, priority=150)
    join(world, "b", configuration(tmp_path, priority=100))
    world.run(10)
    join(world, "a", own)
    world.run(10)
    closed = world.when("b", CloseGate)
    assert closed is not None
    assert took_over(world, "a", closed) <= span(own, "a better node takes over")[1] + SLACK


class TestWithPeers:
    def settled(self, directory: Path) -> tuple[World, Configuration]:
        world, config = settled(directory, more=peers(directory, "a", "b"))
        assert world.nodes["a"].session.quiet, "promises carry the renewals"
        return world, config

    def test_a_dead_host(self, tmp_path) -> None:
        for phase in range(PHASES):
            world, config = self.settled(tmp_path)
            world.run(phase * 0.31)
            world.kill("a")
            died = world.time / SECOND
            world.run(20)
            assert took_over(world, "b", died) <= span(config, "host of the MASTER dies")[1] + SLACK

    def test_a_stop_in_order_and_a_switchover(self, tmp_path) -> None:
        for event, what in (
            (Shutdown(), "agent stopped in order"),
            (SwitchoverRequested("VI_1", "b"), "switchover"),
        ):
            world, config = self.settled(tmp_path)
            asked = world.time / SECOND
            world.do("a", event)
            world.run(10)
            took, (_, worst) = took_over(world, "b", asked), span(config, what)
            print(f"{what}: {took:.3f} s, plan {worst:.3f} s")
            assert took <= worst + SLACK

    def test_the_arbiter_is_not_missed(self, tmp_path) -> None:
        world, config = self.settled(tmp_path)
        world.arbiter_down = True
        gone = world.time / SECOND
        world.run(30)
        assert world.when("a", CloseGate, gone) is None
        assert span(config, "the arbiter is gone") == (0, 0)


@pytest.mark.parametrize("lease", ["2s", "1s"])
def test_without_peers_the_address_goes_with_the_arbiter_and_returns_with_it(tmp_path, lease) -> None:
    for phase in range(PHASES):
        world, config = settled(tmp_path, arbiter=f"lease {lease}")
        whole = made(config)[0]
        world.run(phase * 0.0713)
        world.arbiter_down = True
        gone = world.time / SECOND
        world.run(10 + phase * 0.0813)
        closed = world.when("a", CloseGate, gone)
        served = seconds(whole.timing.lease - whole.timing.guard)
        assert closed is not None
        assert served - seconds(whole.timing.renew + ROUND_TRIP) <= closed - gone <= served
        world.arbiter_down = False
        returned = world.time / SECOND
        world.run(10)
        opened = min(at for at, _, a in world.log if at >= returned and isinstance(a, OpenGate))
        limit = max(seconds(whole.timing.renew), 0.5)  # the world's calls hang for half a second
        assert opened - returned <= seconds(back(ASSUMED, whole.timing)) + limit - seconds(whole.timing.renew)


class TestMargins:
    def test_the_arithmetic_of_the_defaults(self, tmp_path) -> None:
        whole, _ = made(configuration(tmp_path))
        assert (whole.timing.lease, whole.wait) == (2 * SECOND, 2_200 * MILLISECOND)
        assert whole.margin == 220 * MILLISECOND  # 2.2 - (2 - 0.02)
        assert whole.slack_ppm == 100_000
        by_tier = {margin.tier: margin for margin in whole.margins}
        assert by_tier[Tier.BPF].slewed == pytest.approx(
            40_000_000, abs=10_000
        )  # 2.2 - 1.98 / (1 - 0.083333)
        assert by_tier[Tier.NFTABLES].left == by_tier[Tier.BPF].slewed - 6 * MILLISECOND
        # The lease in whole seconds, 1 s more, and what the kernel takes; less lease, guard and renewal:
        assert by_tier[Tier.LIFETIME].lateness == (2_000 + 1_000 + 500 - (2_000 - 20 - 500)) * MILLISECOND
        assert by_tier[Tier.LIFETIME].left < 0, "an address lifetime alone keeps no promise"

    @pytest.mark.parametrize(
        "arbiter", ["", "lease 1s", "lease 200ms", "lease 10s", "lease 300ms\nguard 30ms"]
    )
    def test_both_packet_gates_are_in_time_with_every_default_guard(self, tmp_path, arbiter) -> None:
        whole, _ = made(configuration(tmp_path, arbiter=arbiter))
        assert all(margin.left > 0 for margin in whole.margins if margin.tier is not Tier.LIFETIME)

    def test_plain_vrrp_has_none(self, tmp_path) -> None:
        whole, one = made(configuration(tmp_path, arbiter="none"))
        assert (whole.margin, whole.margins) == (0, ())
        assert "BOTH are MASTER" in one.lines[-1].remark

    def test_unsafe_timing_is_refused_with_the_arithmetic(self, tmp_path) -> None:
        with pytest.raises(ConfigError, match=r"3 x 0.9 = 2.7 > 2"):
            plan(configuration(tmp_path, arbiter="lease 2s\nrenew 900ms"))


def test_keepalived_is_given_its_own_formula(tmp_path) -> None:
    line = made(configuration(tmp_path, version=2, priority=100))[1].lines[0]
    assert line.keepalived is not None
    assert seconds(line.keepalived.worst) == 3 + 156 / 256  # RFC 3768 6.1
