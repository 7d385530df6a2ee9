"""A bounded sample of ``haagent torture`` on a real lab, and proof that it can fail."""

from __future__ import annotations

import json
import os
from itertools import islice

import pytest
from click.testing import CliRunner

from haagent.cli.torture import Campaign, bounds, torture
from haagent.core.units import MILLISECOND, SECOND
from haagent.lab import topology
from haagent.lab.cluster import Cluster, standard
from haagent.lab.daemons import ClusterSpec
from haagent.lab.evidence import Evidence
from haagent.lab.shots import Shot, shots
from haagent.lab.torture import Rules, Torture

SEED = 11
SPEC = ClusterSpec(advert=100 * MILLISECOND)


def built_here(lab: str) -> bool:
    """Tell whether this process built a lab; other programs build theirs at the same time."""
    try:
        return json.loads((topology.REGISTRY / f"{lab}.json").read_text())["pid"] == os.getpid()
    except FileNotFoundError:
        return False  # another program's, just removed


@pytest.mark.netns
@pytest.mark.etcd
@pytest.mark.timeout(120)
def test_four_random_faults_leave_one_owner_and_never_two(tmp_path):
    words = ["--seed", str(SEED), "--faults", "4", "--advert", "0.1", "--out", str(tmp_path)]
    result = CliRunner().invoke(torture, words)
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "torture.json").read_text())
    assert (said["shots"], said["dual_ms"], said["failure"]) == (4, 0, "")
    assert [one["shot"] for one in said["hits"]] == [shot.label for shot in islice(shots(SEED), 4)]
    assert said["rounds"] > 200
    assert said["requests"] > 500
    assert f"haagent torture --seed {SEED} --faults 4" in result.output
    assert (tmp_path / "torture.html").read_text().startswith("<!doctype html>")
    assert not [name for name in topology.registered() if built_here(name)]


@pytest.mark.netns
@pytest.mark.keepalived
@pytest.mark.timeout(120)
def test_a_split_of_keepalived_is_seen_and_its_evidence_kept(tmp_path):
    """The judge must be able to find somebody guilty: only VRRP is lost, and both nodes answer."""
    split = Shot(1, "cut-vrrp", "owner", 0, 2 * SECOND, SECOND)
    heard = []
    evidence = Evidence(tmp_path, "again")
    with Cluster(standard("keepalived", 2, SPEC)) as cluster:
        evidence.begin(cluster)
        rules = Rules(None, slack=0, settle=15 * SECOND, stop_at_failure=True)
        campaign = Torture(cluster, rules, evidence, lambda hit, _tally: heard.append(hit))
        tally = campaign.run(iter([split, Shot(2, "stop", "owner", 0, SECOND, SECOND)]))
        evidence.end()
    assert len(heard) == len(tally.hits) == 1, "a failure ends the campaign"
    assert tally.dual > SECOND
    assert "two owners at once" in tally.failure
    kept = tmp_path / "failure-1"
    assert {"README", "observed.json", "observed.svg", "node1", "node2"} <= {p.name for p in kept.iterdir()}
    assert json.loads((kept / "observed.json").read_text())["answers"]
    assert not list(kept.rglob("*.key"))


@pytest.mark.netns
@pytest.mark.etcd
@pytest.mark.timeout(60)
def test_budgets_come_from_the_plan_of_the_running_configuration():
    with Cluster(standard("haagent", 2, SPEC, failsafe=False)) as cluster:
        found = bounds(cluster)
    assert not found.failsafe
    assert 0 < max(found.better, found.stopped) < found.killed < found.died < 3 * SECOND


def test_the_command_that_repeats_a_campaign():
    campaign = Campaign(7, 60, None, "haagent", 3, 0.2, strict=True, slack=0.5, settle=15)
    assert campaign.again() == (
        "haagent torture --seed 7 --faults 60 --daemon haagent --nodes 3 --advert 0.2 --strict"
    )
