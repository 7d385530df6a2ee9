"""The whole core in a perfect world: who becomes MASTER, when, and in which order things are done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import (
    AnnounceAddresses,
    CloseGate,
    InstallAddresses,
    OpenGate,
    RemoveAddresses,
    SendAdvertisement,
    SwapRegister,
)
from haagent.core.events import (
    AddressVanished,
    AdvertisementReceived,
    ClockDoubted,
    ForeignAnnouncement,
    GateLost,
    LinkChanged,
    PauseRequested,
    RegisterChanged,
    ResumeRequested,
    Shutdown,
    SwitchoverRequested,
    TrackResult,
)
from haagent.core.group import GroupParameters
from haagent.core.records import ClaimState
from haagent.core.register import Record
from haagent.core.tracking import TrackUse
from haagent.core.units import SECOND
from tests.unit.core.pair import World, ip_address

DOWN_150 = 3 + (256 - 150) / 256
W = 2.2


@pytest.fixture
def pair() -> World:
    """Two nodes; a (150) is MASTER with epoch 1, ten seconds after the start."""
    world = World()
    world.add("a", 150)
    world.add("b", 140)
    world.run(10)
    assert world.masters() == ["a"]
    return world


class TestElection:
    def test_the_best_node_becomes_master_after_its_master_down_interval(self, pair: World) -> None:
        opened = pair.when("a", OpenGate)
        assert opened is not None
        assert DOWN_150 < opened < DOWN_150 + 0.02
        assert pair.states("b") == ["BACKUP"]

    def test_the_way_up_is_gate_addresses_advertisement_announcements(self, pair: World) -> None:
        assert pair.actions("a")[:4] == [
            OpenGate("VI_1", 1),
            InstallAddresses("VI_1"),
            SendAdvertisement("VI_1", 150),
            AnnounceAddresses("VI_1", 5),
        ]

    def test_a_first_claim_on_an_empty_arbiter_waits_w(self) -> None:
        world = World()
        world.add("a", 255)
        world.run(10)
        opened = world.when("a", OpenGate)
        assert opened is not None
        assert W <= opened < W + 0.05
        assert world.claim().epoch == 1

    def test_nobody_becomes_master_without_the_arbiter(self) -> None:
        world = World()
        world.arbiter_down = True
        world.add("a", 150)
        world.run(30)
        assert world.masters() == []
        assert not [
            a for a in world.actions("a") if isinstance(a, (OpenGate, InstallAddresses, SendAdvertisement))
        ]

    def test_silence_alone_is_no_reason_while_the_holder_renews(self, pair: World) -> None:
        pair.cut.add(frozenset("ab"))
        pair.run(30)
        assert pair.masters() == ["a"]
        assert pair.claim().epoch == 1

    def test_plain_vrrp_needs_no_arbiter(self) -> None:
        world = World()
        world.arbiter_down = True
        world.add("a", 150, arbitrated=False)
        world.add("b", 140, arbitrated=False)
        world.run(10)
        assert world.masters() == ["a"]
        world.kill("a")
        world.run(5)
        assert world.masters() == ["b"]


class TestCrash:
    def test_the_peer_takes_over_when_the_lease_is_over_and_one_interval_silent(self, pair: World) -> None:
        pair.kill("a")
        pair.run(6)
        opened = pair.when("b", OpenGate)
        assert opened is not None
        assert opened - 10 < W + 0.2  # plain VRRP: 3.45 s
        assert pair.claim().epoch == 2

    def test_a_restarted_run_on_the_same_host_continues_at_once(self, pair: World) -> None:
        pair.kill("b")
        pair.kill("a")
        pair.add("a", 150, incarnation="2")
        pair.run(1)
        assert pair.masters() == ["a"]
        assert pair.claim().epoch == 2

    def test_a_resumed_worker_keeps_epoch_and_gate(self, pair: World) -> None:
        pair.kill("a")
        pair.run(0.1)
        pair.add("a", 150, resume=(("VI_1", 1),))
        pair.run(1)
        assert pair.masters() == ["a"]
        assert pair.claim().epoch == 1
        assert CloseGate("VI_1") not in pair.actions("a", since=10)

    def test_a_resumed_worker_keeps_its_gate_open_though_the_arbiter_is_not_there_at_first(
        self, pair: World
    ) -> None:
        pair.kill("a")
        pair.arbiter_down = True
        pair.add("a", 150, resume=(("VI_1", 1),))
        pair.run(0.05)
        pair.arbiter_down = False
        pair.run(1)
        assert pair.masters() == ["a"]
        assert CloseGate("VI_1") not in pair.actions("a", since=10)

    def test_the_returning_better_node_gets_it_back_by_a_handover(self, pair: World) -> None:
        pair.kill("a")
        pair.run(6)
        pair.add("a", 150, incarnation="2")
        pair.run(8)
        assert pair.masters() == ["a"]
        assert pair.claim().epoch == 3
        closed, opened = pair.when("b", CloseGate), pair.when("a", OpenGate, since=16)
        assert closed is not None
        assert opened is not None
        assert 0 < opened - closed < 0.02

    def test_a_bidder_that_hears_no_hints_sees_the_release_soon_after_the_resignation(
        self, pair: World
    ) -> None:
        pair.kill("a")
        pair.run(6)
        pair.add("a", 150, incarnation="2")
        pair.deaf.add("a")
        pair.run(8)
        assert pair.masters() == ["a"]
        closed, opened = pair.when("b", CloseGate), pair.when("a", OpenGate, since=16)
        assert closed is not None
        assert opened is not None
        assert 0 < opened - closed < 0.05

    def test_without_preemption_it_stays(self, pair: World) -> None:
        pair.kill("a")
        pair.run(6)
        pair.add("a", 150, incarnation="2", preempt=False)
        pair.run(20)
        assert pair.masters() == ["b"]

    @pytest.mark.parametrize("arbitrated", [True, False])
    def test_without_preemption_a_master_that_sinks_is_replaced_and_does_not_come_back(
        self, arbitrated: bool
    ) -> None:
        world = World()
        for name, priority in (("a", 150), ("b", 100)):
            use = TrackUse("chk", -100)
            world.add(name, priority, preempt=False, arbitrated=arbitrated, uses=(use,))
            world.do(name, TrackResult("chk", passed=True))
        world.run(10)
        assert world.masters() == ["a"]
        world.do("a", TrackResult("chk", passed=False))
        world.run(10)
        assert world.masters() == ["b"]
        world.do("a", TrackResult("chk", passed=True))
        world.run(10)
        assert world.masters() == ["b"]


class TestLettingGo:
    def test_the_way_down_is_gate_addresses_priority_0_release(self, pair: World) -> None:
        pair.do("a", Shutdown())
        pair.run(1)
        assert pair.actions("a", since=10) == [
            CloseGate("VI_1"),
            RemoveAddresses("VI_1"),
            SendAdvertisement("VI_1", 0),
        ]
        resigned = [at for at, who, a in pair.log if who == "a" and a == SendAdvertisement("VI_1", 0)]
        released = [
            at
            for at, who, a in pair.log
            if who == "a" and at >= 10 and isinstance(a, SwapRegister) and a.name == "claims/VI_1"
        ]
        assert resigned[0] <= released[0]

    def test_a_clean_stop_is_a_handover_in_milliseconds(self, pair: World) -> None:
        pair.do("a", Shutdown())
        pair.run(1)
        opened = pair.when("b", OpenGate)
        assert opened is not None
        assert opened - 10 < 0.05
        assert pair.nodes["a"].stopped

    def test_a_lapsed_lease_takes_everything_down_and_comes_back_by_itself(self, pair: World) -> None:
        pair.arbiter_down = True
        pair.run(5)
        assert pair.masters() == []
        closed = pair.when("a", CloseGate)
        assert closed is not None
        assert closed <= 12
        pair.arbiter_down = False
        pair.run(6)
        assert pair.masters() == ["a"]

    def test_the_holder_cut_off_from_the_arbiter_is_replaced(self, pair: World) -> None:
        pair.cut_off.add("a")
        pair.run(6)
        assert pair.masters() == ["b"]
        closed, opened = pair.when("a", CloseGate), pair.when("b", OpenGate)
        assert closed is not None
        assert opened is not None
        assert closed < opened

    def test_a_wiped_arbiter_closes_the_gate_and_is_claimed_again_after_w(self, pair: World) -> None:
        pair.registers.clear()
        pair.run(1)
        closed = pair.when("a", CloseGate)
        assert closed is not None
        assert closed < 10.6
        pair.run(10)
        assert pair.masters() == ["a"]
        assert pair.claim().epoch > 1
        opened = min(at for at, _, action in pair.log if at > 10 and isinstance(action, OpenGate))
        assert opened - closed >= W

    @pytest.mark.parametrize("after", (0, 3, 6, 9))
    def test_a_claim_deleted_under_a_deaf_holder_is_not_taken_before_the_holder_has_looked_again(
        self, pair: World, after: int
    ) -> None:
        """docs/safety/model.md, finding 3: the holder goes on renewing its session and meets nothing."""
        pair.deaf.add("a")
        pair.cut.add(frozenset("ab"))
        pair.run(12 + after)  # b wants the address, and both look at the claim now and then
        del pair.registers["claims/VI_1"]
        pair.do("b", RegisterChanged("claims/VI_1", None))
        pair.run(40)
        closed = pair.when("a", CloseGate, since=22 + after)
        opened = pair.when("b", OpenGate)
        assert closed is not None
        assert opened is None or closed < opened

    def test_an_unreadable_claim_is_never_taken(self, pair: World) -> None:
        pair.registers["claims/VI_1"] = Record(b"not ours", "x")
        pair.kill("a")
        pair.run(30)
        assert pair.masters() == []


class TestTracking:
    def test_a_failing_script_is_fault_and_hands_over(self) -> None:
        world = World()
        use = (TrackUse("chk"),)
        for name, priority in (("a", 150), ("b", 140)):
            world.add(name, priority, uses=use)
            world.do(name, TrackResult("chk", passed=True))
        world.run(10)
        assert world.masters() == ["a"]
        world.do("a", TrackResult("chk", passed=False))
        world.run(1)
        assert world.masters() == ["b"]
        assert world.states("a")[-1] == "FAULT"
        world.do("a", TrackResult("chk", passed=True))
        world.run(8)
        assert world.masters() == ["a"]

    def test_before_the_first_result_an_unweighted_script_holds_an_instance_back(self) -> None:
        world = World()
        world.add("a", 150, uses=(TrackUse("chk"),))
        world.run(20)
        assert world.masters() == []
        assert world.states("a") == []

    def test_a_weighted_script_moves_the_priority_and_with_it_the_address(self) -> None:
        world = World()
        world.add("a", 150, uses=(TrackUse("chk", -30),))
        world.add("b", 140)
        world.do("a", TrackResult("chk", passed=True))
        world.run(10)
        assert world.masters() == ["a"]
        world.do("a", TrackResult("chk", passed=False))
        world.run(8)
        assert world.masters() == ["b"]
        assert SendAdvertisement("VI_1", 120) in world.actions("a")

    def test_a_lost_link_is_fault(self, pair: World) -> None:
        pair.do("a", LinkChanged("eth0", up=False))
        pair.run(1)
        assert pair.states("a")[-1] == "FAULT"
        assert pair.masters() == ["b"]

    def test_an_address_removed_by_hand_comes_back(self, pair: World) -> None:
        pair.do("a", AddressVanished("VI_1", "192.0.2.100"))
        pair.run(0.1)
        assert pair.actions("a", since=10)[:2] == [InstallAddresses("VI_1"), AnnounceAddresses("VI_1", 5)]
        assert pair.masters() == ["a"]


class TestDoubt:
    @pytest.mark.parametrize(
        "event",
        [
            AdvertisementReceived("VI_1", ip_address("192.0.2.99"), 100, SECOND, ()),
            AdvertisementReceived("VI_1", ip_address("192.0.2.99"), 200, SECOND, ()),
            ForeignAnnouncement("VI_1", "192.0.2.100", "02:00:00:00:00:01"),
            ClockDoubted("woke late"),
            GateLost("the table was flushed"),
        ],
    )
    def test_a_doubt_closes_the_gate_until_the_arbiter_has_been_asked(
        self, pair: World, event: object
    ) -> None:
        pair.do("a", event)  # type: ignore[arg-type]
        assert CloseGate("VI_1") in pair.actions("a", since=10)
        assert OpenGate("VI_1", 1) not in pair.actions("a", since=10)
        pair.run(0.1)
        after = pair.actions("a", since=10)
        reopened = after.index(OpenGate("VI_1", 1))
        assert after[reopened + 1 : reopened + 3] == [
            SendAdvertisement("VI_1", 150),
            AnnounceAddresses("VI_1", 5),
        ]
        assert pair.masters() == ["a"]

    @pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.45, 0.6])
    def test_a_gate_that_is_lost_twice_is_opened_again_twice(self, pair: World, after: float) -> None:
        for lost_after in (0.0, after):
            pair.run(lost_after)
            pair.do("a", GateLost("the table was flushed"))
        lost = pair.time / SECOND
        pair.run(1)
        opened = pair.when("a", OpenGate, since=lost)
        assert opened is not None, "MASTER behind a closed gate"
        assert opened < lost + 0.51, "the proof is put off by R at most"
        assert pair.masters() == ["a"]

    def test_a_gate_that_is_lost_all_the_time_costs_one_more_renewal_per_r(self, pair: World) -> None:
        for _ in range(400):
            pair.do("a", GateLost("refused"))
            pair.run(0.01)
        writes = [a for at, who, a in pair.log if who == "a" and at >= 10 and isinstance(a, SwapRegister)]
        assert len(writes) <= 2 * 4 / 0.5 + 1, "in 4 s, with R = 0.5 s"

    def test_a_stale_packet_topples_nobody_but_a_persistent_better_router_is_yielded_to(
        self, pair: World
    ) -> None:
        foreign = AdvertisementReceived("VI_1", ip_address("192.0.2.200"), 200, SECOND, ())
        pair.do("a", foreign)
        pair.run(1)
        assert pair.masters() == ["a"]
        for _ in range(4):
            pair.do("a", foreign)
            pair.do("b", foreign)
            pair.run(1)
        assert pair.masters() == []
        assert pair.claim().state is ClaimState.RELEASED


class TestOperator:
    def test_a_switchover_moves_the_claim_and_the_old_holder_stands_back(self, pair: World) -> None:
        pair.do("a", SwitchoverRequested("VI_1", "b"))
        pair.run(1)
        assert pair.masters() == ["b"]

    def test_a_pause_keeps_everything_where_it_is(self, pair: World) -> None:
        pair.do("a", PauseRequested())
        pair.do("b", PauseRequested())
        pair.run(5)
        assert pair.masters() == ["a"]
        pair.kill("a")
        pair.run(10)
        assert pair.masters() == []
        pair.do("b", ResumeRequested())
        pair.run(1)
        assert pair.masters() == ["b"]


class TestSyncGroup:
    def test_members_move_together_under_one_claim(self) -> None:
        world = World()
        for name, priority in (("a", 150), ("b", 140)):
            world.add(name, priority, instances=("VI_1", "VI_2"), sync="VG")
        world.run(10)
        assert world.masters("VI_1") == world.masters("VI_2") == ["a"]
        assert world.claim("VG").epoch == 1
        world.kill("a")
        world.run(6)
        assert world.masters("VI_1") == world.masters("VI_2") == ["b"]


class TestReload:
    @staticmethod
    def regroup(world: World, *groups: GroupParameters) -> None:
        for name, node in world.nodes.items():
            for action in node.reconfigure(replace(node.parameters, groups=groups), world.now):
                world._perform(name, node, action)
            world.do(name, LinkChanged("eth0", up=True))

    @pytest.mark.parametrize("arbitrated", [True, False])
    def test_an_instance_moves_into_a_group_and_out_of_it(self, arbitrated: bool) -> None:
        world = World()
        for name, priority in (("a", 150), ("b", 100)):
            world.add(name, priority, instances=("VI_1", "VI_2"), arbitrated=arbitrated)
        world.run(10)
        assert world.masters("VI_1") == world.masters("VI_2") == ["a"]
        self.regroup(world, GroupParameters("both", ("VI_1", "VI_2"), sync=True))
        world.run(20)
        assert world.masters("VI_1") == world.masters("VI_2") == ["a"]
        assert list(world.nodes["a"].groups) == ["both"]
        self.regroup(world, GroupParameters("VI_1", ("VI_1",)), GroupParameters("VI_2", ("VI_2",)))
        world.run(20)
        assert world.masters("VI_1") == world.masters("VI_2") == ["a"]
        world.do("a", Shutdown())
        world.run(1)
        assert world.nodes["a"].stopped


class TestFailsafe:
    @pytest.fixture
    def electors(self) -> World:
        world = World()
        for name, priority in (("a", 150), ("b", 140)):
            world.add(name, priority, electors=("a", "b"))
        world.run(12)
        assert world.masters() == ["a"]
        return world

    def test_an_arbiter_outage_moves_nothing_while_the_peers_hear_each_other(self, electors: World) -> None:
        electors.arbiter_down = True
        electors.run(60)
        assert electors.masters() == ["a"]
        assert CloseGate("VI_1") not in electors.actions("a", since=12)

    def test_without_arbiter_and_peer_it_is_let_go_at_the_deadline(self, electors: World) -> None:
        electors.arbiter_down = True
        electors.cut_peers.add(frozenset("ab"))
        electors.run(2.1)
        assert electors.masters() == []

    def test_a_lost_peer_alone_moves_nothing(self, electors: World) -> None:
        electors.cut_peers.add(frozenset("ab"))
        electors.run(30)
        assert electors.masters() == ["a"]
        assert CloseGate("VI_1") not in electors.actions("a", since=12)

    def test_the_arbiter_is_written_rarely_while_promises_run(self, electors: World) -> None:
        before = int(electors.registers["sessions/a"].version)
        electors.run(30)
        assert int(electors.registers["sessions/a"].version) - before < 15

    def test_a_dead_holder_is_replaced_as_fast_as_without_promises(self, electors: World) -> None:
        electors.kill("a")
        electors.run(6)
        opened = electors.when("b", OpenGate)
        assert opened is not None
        assert opened - 12 < W + 0.3

    def test_an_unlisted_node_never_claims_from_a_holder_with_electors(self, electors: World) -> None:
        electors.add("c", 200)
        electors.kill("a")
        electors.kill("b")
        electors.run(30)
        assert electors.masters() == []


def test_a_backup_that_heard_a_resignation_renews_only_until_somebody_else_is_master() -> None:
    """It warms up its session for a takeover; when another one takes over, it goes back to showing presence."""
    world = World()
    for name, priority in (("a", 150), ("b", 140), ("c", 130)):
        world.add(name, priority)
    world.run(12)
    world.do("a", Shutdown())
    world.run(20)
    assert world.masters() == ["b"]
    writes = [at for at, who, a in world.log if who == "c" and isinstance(a, SwapRegister)]
    assert [at for at in writes if 12 < at < 12.1], "it gets ready at once"
    assert len([at for at in writes if at > 14]) <= 3
