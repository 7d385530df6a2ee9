"""The judge can fail: with keepalived it must see the two owners that a frozen MASTER makes.

Without these tests a clean verdict on haagent would prove nothing.
"""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from haagent.cli.lab import lab as lab_commands
from haagent.core.units import MILLISECOND, SECOND
from haagent.lab.cluster import Cluster, ClusterOptions
from haagent.lab.daemons import ClusterSpec
from haagent.lab.scenario import play, scenario
from haagent.lab.topology import VIP4, VIP6
from haagent.lab.verdict import judge

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]

SPEC = ClusterSpec(advert=100 * MILLISECOND)


def run_scenario(name: str):
    """Play a short scenario with keepalived; return the record and the verdict."""
    steps = [
        dataclasses.replace(step, hold=1500 * MILLISECOND, rest=1500 * MILLISECOND)
        for step in scenario(name).steps(SPEC.advert)
    ]
    with Cluster(ClusterOptions(spec=SPEC)) as cluster:
        play(cluster, tuple(steps))
        record = cluster.finish()
    return record, judge(record)


def test_two_owners_are_seen_while_keepalived_is_frozen():
    record, verdict = run_scenario("freeze")
    (fault,) = verdict.faults
    assert (fault.owner_before, fault.taken_over_by) == ("node1", "node2")
    # node2 takes over after 3 intervals and the skew, then both answer until node1 runs again and node2 hears it
    frozen = fault.span.end - fault.span.begin
    assert frozen // 3 < fault.dual < frozen + 500 * MILLISECOND
    for probe in ("arp", "echo", "nd", "echo6"):
        rounds = [
            {a.node for a in record.answers if a.probe == probe and a.round == r.number}
            for r in record.rounds
        ]
        assert {"node1", "node2"} in rounds, probe
    assert {change.address for change in record.addresses} == {str(VIP4), str(VIP6)}
    assert {(advert.node, advert.priority) for advert in record.adverts} >= {("node1", 150), ("node2", 140)}


def test_a_graceful_stop_is_a_short_outage_and_no_dual_ownership():
    _, verdict = run_scenario("stop")
    (fault,) = verdict.faults
    # only until it is started again: preempting, keepalived has the address some ms before the other lets go
    assert not [both for both in verdict.dual if fault.span.begin <= both.begin < fault.span.end]
    assert fault.taken_over_by == "node2"
    assert fault.outage < SECOND  # some tens of ms, which may fall between two requests


def test_a_pulled_cable_is_an_outage_until_the_peer_takes_over():
    _, verdict = run_scenario("link-down")
    (fault,) = verdict.faults
    assert fault.taken_over_by == "node2"
    assert 200 * MILLISECOND < fault.outage < fault.span.end - fault.span.begin


def test_demo_prints_the_table_and_writes_picture_and_numbers(tmp_path):
    words = ["run", "cut-vrrp", "--daemon", "keepalived", "--quick", "--out", str(tmp_path)]
    result = CliRunner().invoke(lab_commands, words)
    assert result.exit_code == 0, result.output
    assert "DUAL: node1 and node2 answer" in result.output
    assert "Two owners at once for" in result.output
    numbers = json.loads((tmp_path / "cut-vrrp.json").read_text())
    assert numbers["faults"][0]["dual_ms"] > 500
    assert (tmp_path / "cut-vrrp.svg").read_text().startswith("<svg ")
