"""Nodes of different makes in one virtual router: they must elect each other and hand over.

``PAIRS`` names the daemons of node1 (the better priority) and node2. A pair is judged on what VRRP alone promises.
"""

from __future__ import annotations

import pytest

from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.lab import faults
from haagent.lab.cluster import Cluster, ClusterOptions
from haagent.lab.daemons import ClusterSpec, DaemonKind

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]

PAIRS: tuple[tuple[DaemonKind, DaemonKind], ...] = (("keepalived", "keepalived"),)
SPECS = {
    "v3": ClusterSpec(version=3, advert=100 * MILLISECOND),
    "v2-auth": ClusterSpec(
        version=2,
        advert=SECOND,
        vip6=None,
        extra=("authentication {", "    auth_type PASS", "    auth_pass s3cret", "}"),
    ),
}
QUICK_SPECS = ("v3",)


@pytest.fixture(params=PAIRS, ids="+".join)
def kinds(request) -> tuple[DaemonKind, DaemonKind]:
    return request.param


def wait(cluster: Cluster, node: str) -> None:
    advert = cluster.spec.advert
    assert cluster.wait_for_owner(2 * advert, 12 * advert + 2 * SECOND, among=(node,)) == node


def takeover_limit(advert: Duration) -> Duration:
    """Master_Down_Interval of priority 140 (RFC 9568, 6.1), and as much again for a busy machine."""
    return 2 * (3 * advert + (256 - 140) * advert // 256)


@pytest.mark.parametrize("name", SPECS)
def test_elects_hands_over_takes_over_and_preempts(kinds, name):
    with Cluster(ClusterOptions(kinds=kinds, spec=SPECS[name])) as cluster:
        wait(cluster, "node1")
        cluster.daemons["node1"].stop()
        wait(cluster, "node2")
        cluster.daemons["node1"].start()
        wait(cluster, "node1")
        adverts = list(cluster.record.adverts)
    versions = {advert.version for advert in adverts}
    assert versions == {SPECS[name].version}
    assert {(a.node, a.priority) for a in adverts} == {("node1", 150), ("node1", 0), ("node2", 140)}


@pytest.mark.parametrize("name", QUICK_SPECS)
def test_takes_over_within_the_master_down_interval(kinds, name):
    with Cluster(ClusterOptions(kinds=kinds, spec=SPECS[name])) as cluster:
        wait(cluster, "node1")
        fault = faults.LinkDown(cluster.topology, cluster.topology.node("node1"))
        fault.inject()
        before = cluster.record.rounds[-1].sent
        wait(cluster, "node2")
        first = next(a.at for a in cluster.record.answers if a.node == "node2" and a.at > before)
        assert first - before < takeover_limit(cluster.spec.advert)
        fault.heal()
        wait(cluster, "node1")


@pytest.mark.parametrize("name", QUICK_SPECS)
def test_the_better_node_does_not_preempt_when_told_not_to(kinds, name):
    spec = ClusterSpec(version=3, advert=100 * MILLISECOND, preempt=False)
    with Cluster(ClusterOptions(kinds=kinds, spec=spec)) as cluster:
        cluster.daemons["node1"].stop()
        wait(cluster, "node2")
        cluster.daemons["node1"].start()
        assert cluster.wait_for_owner(SECOND, 5 * SECOND) == "node2"
