"""A veto script on real agents: nobody becomes MASTER against it, the MASTER does not notice it, operators read it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from agent_lab import SPEC, UNNOTICED, Agent, Lab, eventually, ms

from haagent.lab.daemons import keepalived_conf

pytestmark = [pytest.mark.netns, pytest.mark.etcd]

TIMEOUT, PAUSE = 1.0, 0.5  # s; veto_timeout and veto_pause
SCRIPT = """#!/bin/sh
echo "$HAAGENT_INSTANCE $HAAGENT_WHY $HAAGENT_HOLDER $HAAGENT_EPOCH" >> {directory}/asked
test ! -e {directory}/slow || sleep 60
test ! -e {directory}/forbidden
"""


class Site:
    """The veto script of one node, and what it says."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o755)
        self.directory, self.script = directory, directory / "may-claim"
        self.script.write_text(SCRIPT.format(directory=directory))
        self.script.chmod(0o755)

    def says(self, word: str, *, holds: bool) -> None:
        path = self.directory / word
        path.touch() if holds else path.unlink(missing_ok=True)

    @property
    def log(self) -> Path:
        return self.directory / "asked"

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def rests(self) -> bool:
        """Tell whether its last answer counts no more: that came within TIMEOUT and was good for PAUSE; twice that here."""
        return not self.log.exists() or time.time() - self.log.stat().st_mtime > 2 * (TIMEOUT + PAUSE)


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Iterator[tuple[Lab, dict[str, Site]]]:
    with ExitStack() as stack:
        lab = Lab(stack, 1, prefix="hfp")
        made = {name: Site(lab.topology.workdir / f"site-{name}") for name in ("node1", "node2")}
        for name, site in made.items():
            lines = (f"veto_script {site.script}", f"veto_timeout {TIMEOUT:g}", f"veto_pause {PAUSE:g}")
            lab.agent(name, keepalived_conf(replace(SPEC, extra=lines), name))
        lab.wait_owner("node1", patience=20)
        yield lab, made


def agent(lab: Lab, name: str) -> Agent:
    found = lab.daemons[name]
    assert isinstance(found, Agent)
    return found


def test_a_vetoed_node_does_not_take_over_says_why_and_takes_over_when_it_may(sites):
    lab, site = sites
    node1, node2 = agent(lab, "node1"), agent(lab, "node2")
    assert site["node1"].asked()[0].split()[1] in ("free", "preemption")  # node2 may have been first
    eventually(site["node2"].rests, what="forgetting the permission node2 got at its start")
    questions = len(site["node2"].asked())
    site["node2"].says("forbidden", holds=True)
    node1.stop()
    eventually(lambda: len(site["node2"].asked()) >= questions + 2, what="being asked again")
    lab.wait_owner(None)
    said = f"vetoed by {site['node2'].script}: exited with status 1, asked again"
    eventually(lambda: said in node2.instance()["reason"], what="saying why")
    why = node2.cli("why", "VI_1", "--socket", str(node2.socket)).stdout
    assert "the operator's script must let it claim: vetoed by" in why, why
    site["node2"].says("forbidden", holds=False)
    lab.wait_owner("node2")
    questions = len(site["node1"].asked())
    node1.start()
    lab.wait_owner("node1")
    asked = site["node1"].asked()[questions:]  # "handover" at the end, if that took longer than PAUSE
    assert any(one.startswith("VI_1 preemption node2") for one in asked), asked


def test_a_script_that_hangs_delays_neither_the_master_nor_vrrp(sites):
    """The better node's script hangs while it wants to preempt; then it is asked again and ended, again and again."""
    lab, site = sites
    node1, node2 = agent(lab, "node1"), agent(lab, "node2")
    site["node1"].says("slow", holds=True)
    node1.stop()
    lab.wait_owner("node2")
    questions, begun = len(site["node1"].asked()), time.monotonic_ns()
    node1.start()
    eventually(lambda: len(site["node1"].asked()) >= questions + 3, what="being asked thrice")
    outage = lab.outage(begun)
    print(f"outage beside a hanging script: {ms(outage)}")
    assert outage < UNNOTICED
    assert node1.instance()["state"] == "BACKUP"
    assert node2.instance()["state"] == "MASTER"
    site["node1"].says("slow", holds=False)
    lab.wait_owner("node1")
    assert lab.dual() == 0
