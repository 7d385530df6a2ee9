"""What a ``peers`` block makes of leases, electors, and the time a session's record must outlive an outage."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from haagent.agent.parameters import Run, electors, kept_for, node_parameters, peers, timing
from haagent.config.model import ArbiterConfig, Configuration, Daemon, GlobalDefs, Peer, Peers, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.units import MILLISECOND, SECOND, Duration

RUN = Run("a", "i", "host")
PEERS = Peers((Peer("b", ("192.0.2.2",)), Peer("c", ("192.0.2.3",))), 5405, b"0123456789abcdef")
VIP = VirtualAddress(ip_address("192.0.2.1"), 32, "eth0")


def configuration(
    advert: Duration = 100 * MILLISECOND, *, with_peers: Peers | None = PEERS, kind: str = "etcd"
) -> Configuration:
    instance = VrrpInstance("VI", "eth0", 51, (VIP,), version=3, advert_interval=advert)
    return Configuration(
        GlobalDefs(), (instance,), (), (), ArbiterConfig(kind, ("192.0.2.9:2379",)), with_peers, Daemon("a")
    )


@pytest.mark.parametrize(
    ("given", "lease"),
    [
        (configuration(50 * MILLISECOND), 200 * MILLISECOND),
        (configuration(SECOND), 2 * SECOND),
        (configuration(with_peers=None), SECOND),
        (configuration(with_peers=replace(PEERS, failsafe=False)), SECOND),
    ],
)
def test_leases_may_be_short_where_peers_promise(given: Configuration, lease: Duration) -> None:
    assert timing(given).lease == lease
    assert timing(given).renew == lease // 4


@pytest.mark.parametrize(
    ("delay", "after_boot", "uptime", "wait"), [(3, 0, 9, 3), (3, 60, 9, 51), (3, 60, 58, 3), (0, 60, 600, 0)]
)
def test_a_start_may_wait_until_the_host_has_run_for_a_while(
    delay: int, after_boot: int, uptime: int, wait: int
) -> None:
    defaults = GlobalDefs(startup_delay=delay * SECOND, delay_after_boot=after_boot * SECOND)
    given = replace(configuration(), globals=defaults)
    assert node_parameters(given, replace(RUN, uptime=uptime * SECOND), ()).startup_delay == wait * SECOND


def test_the_electors_are_this_node_and_its_peers() -> None:
    assert electors(configuration(), RUN) == ("a", "b", "c")
    assert node_parameters(configuration(), RUN, ()).session.electors == ("a", "b", "c")


@pytest.mark.parametrize(
    "given",
    [
        configuration(with_peers=None),
        configuration(with_peers=replace(PEERS, failsafe=False)),
        configuration(kind="none"),
    ],
)
def test_there_are_none_where_nobody_promises(given: Configuration) -> None:
    assert electors(given, RUN) == ()


def test_a_node_under_another_name_does_not_talk_to_itself() -> None:
    """``haagent run --node b`` reads a file that was written for a."""
    renamed = replace(RUN, node="b")
    found = peers(configuration(), renamed)
    assert found is not None
    assert [peer.node for peer in found.nodes] == ["c"]
    assert electors(configuration(), renamed) == ("b", "c")


def test_the_channel_runs_without_promises_but_not_without_an_arbiter() -> None:
    assert peers(configuration(with_peers=replace(PEERS, failsafe=False)), RUN) is not None
    assert peers(configuration(kind="none"), RUN) is None
    assert peers(configuration(with_peers=None), RUN) is None


def test_the_arbiter_keeps_our_record_over_an_outage_that_promises_bridge() -> None:
    assert kept_for(configuration()) >= 3600 * SECOND
    assert kept_for(configuration(with_peers=None)) == SECOND
