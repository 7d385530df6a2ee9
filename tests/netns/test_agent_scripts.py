"""A configuration with notify and track scripts as people have it, run unmodified.

The configuration is the one of many manuals (a check of the service, a notify script with the state as its third
argument, paths and quoted command lines); only interface names and intervals are the laboratory's.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lab import Agent, Lab, eventually, lab, log_of

from haagent.lab.namespaces import run

pytestmark = [pytest.mark.netns, pytest.mark.etcd]

NOTIFY = """#!/bin/bash
# the usual one: notify.sh TYPE NAME STATE PRIORITY
printf '%s epoch=%s previous=%s\\n' "$*" "$HAAGENT_EPOCH" "$HAAGENT_PREVIOUS_STATE" >> {log}
"""


class Site:
    """The scripts of one node, in a directory only root can change; a file is how the service feels."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.log = directory, directory / "notify.log"
        directory.mkdir(mode=0o755)
        self.script("notify.sh", NOTIFY.format(log=self.log))
        self.script("state.sh", f'#!/bin/sh\necho "$0 $# $* epoch=$HAAGENT_EPOCH" >> {self.log}.specific\n')
        self.script("check_haproxy.sh", f"#!/bin/sh\ntest ! -e {directory}/haproxy-down\n")
        self.script("check_disk.sh", f"#!/bin/sh\ntest ! -e {directory}/disk-full\n")

    def script(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o755)

    def fails(self, service: str, *, fails: bool) -> None:
        path = self.directory / service
        path.touch() if fails else path.unlink(missing_ok=True)

    def said(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def specific(self) -> list[str]:
        path = Path(f"{self.log}.specific")
        return path.read_text().splitlines() if path.exists() else []

    def configuration(self) -> str:
        return CONFIGURATION.replace("/etc/keepalived", str(self.directory))


CONFIGURATION = """\
! Configuration File for keepalived
global_defs {
    vrrp_version 3
    router_id web
    script_user root
    enable_script_security
}
vrrp_script chk_haproxy {
    script "/etc/keepalived/check_haproxy.sh"
    interval 0.2
    timeout 2
    rise 2
    fall 2
}
vrrp_script chk_disk {
    script /etc/keepalived/check_disk.sh
    interval 0.2
    weight -60
    rise 1
    fall 1
}
vrrp_sync_group VG_1 {
    group {
        VRRP1
    }
    notify "/etc/keepalived/notify.sh"
}
vrrp_instance VRRP1 {
    state MASTER
    interface lan
    virtual_router_id 51
    priority 200
    advert_int 0.1
    virtual_ipaddress {
        192.0.2.100/32 dev lan
    }
    track_script {
        chk_haproxy
        chk_disk
    }
    track_interface {
        mgmt
    }
    notify_master "/etc/keepalived/state.sh"
    notify_backup /etc/keepalived/state.sh
    notify_fault "/etc/keepalived/state.sh with args"
    notify_stop "/etc/keepalived/state.sh stop"
    notify "/etc/keepalived/notify.sh"
}
"""
# A member of a sync group may not have weighted trackers unless the group says so; the single node needs no group.
UNGROUPED = (
    CONFIGURATION[: CONFIGURATION.index("vrrp_sync_group")]
    + CONFIGURATION[CONFIGURATION.index("vrrp_instance") :]
)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(Path(f"/var/lib/hat-site-{os.getpid()}"))
    yield made
    shutil.rmtree(made.directory)


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    with lab(nodes=1) as made:
        yield made


def start(built: Lab, site: Site, configuration: str) -> Agent:
    agent = built.agent("node1", configuration.replace("/etc/keepalived", str(site.directory)))
    built.wait_owner("node1")
    return agent


def test_notify_gets_its_arguments_in_order_with_the_epoch(built: Lab, site: Site):
    agent = start(built, site, CONFIGURATION)
    epoch = agent.instance("VRRP1")["epoch"]
    eventually(lambda: len(site.said()) == 4, what="four notifications")
    instance = [line for line in site.said() if line.startswith("INSTANCE")]
    group = [line for line in site.said() if line.startswith("GROUP")]
    assert [line.split()[:4] for line in instance] == [
        ["INSTANCE", "VRRP1", "BACKUP", "200"],
        ["INSTANCE", "VRRP1", "MASTER", "200"],
    ]
    assert instance[1].endswith(f"epoch={epoch} previous=BACKUP")
    assert [line.split()[:4] for line in group] == [
        ["GROUP", "VG_1", "BACKUP", "0"],
        ["GROUP", "VG_1", "MASTER", "0"],
    ]
    path = site.directory / "state.sh"
    assert site.specific()[-1] == f"{path} 0  epoch={epoch}"
    agent.stop()
    assert site.said()[-1].split()[2] == "STOP"
    assert f"{path} 1 stop epoch={epoch}" in site.specific()


def test_a_failing_check_is_fault_and_rise_brings_it_back(built: Lab, site: Site):
    agent = start(built, site, UNGROUPED)
    fault, backup = log_of(agent, "Entering FAULT"), log_of(agent, r"VRRP_Script\(chk_haproxy\) succeeded")
    begun = time.monotonic_ns()
    site.fails("haproxy-down", fails=True)
    eventually(fault, what="FAULT")
    assert not built.has_address("node1")
    assert (built.adverts("node1", begun) or [(0, 200)])[-1][1] == 0  # resigned last of all
    assert "chk_haproxy" in agent.instance("VRRP1")["reason"]
    eventually(lambda: any("FAULT" in line for line in site.said()), what="notifying FAULT")
    assert any(line.startswith(f"{site.directory}/state.sh 2 with args") for line in site.specific())
    site.fails("haproxy-down", fails=False)
    eventually(backup, what="succeeding after rise")
    built.wait_owner("node1")

    def states() -> list[str]:
        return [line.split()[2] for line in site.said() if line.startswith("INSTANCE")]

    eventually(lambda: len(states()) >= 5, what="notifying MASTER")
    assert states() == ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"]
    agent.stop()


def test_a_single_failure_is_forgiven_where_fall_is_two(built: Lab, site: Site):
    """``fall 2``: one bad result between good ones changes nothing."""
    count = site.directory / "count"
    site.script("check_haproxy.sh", f"#!/bin/sh\necho x >> {count}\ntest $(wc -l < {count}) -ne 6\n")
    agent = start(built, site, UNGROUPED)
    eventually(lambda: len(count.read_text().split()) > 10, what="ten runs")
    assert "Entering FAULT" not in agent.text()
    agent.stop()


def test_a_weighted_check_changes_the_priority_on_the_wire(built: Lab, site: Site):
    agent = start(built, site, UNGROUPED)
    site.fails("disk-full", fails=True)
    eventually(lambda: built.adverts("node1", 0)[-1][1] == 140, what="advertising the lower priority")
    assert agent.instance("VRRP1")["state"] == "MASTER"
    assert agent.instance("VRRP1")["effective_priority"] == 140
    site.fails("disk-full", fails=False)
    eventually(lambda: built.adverts("node1", 0)[-1][1] == 200, what="advertising the old priority")
    agent.stop()


def test_a_lost_tracked_interface_is_fault(built: Lab, site: Site):
    agent = start(built, site, UNGROUPED)
    node = built.topology.node("node1")
    fault = log_of(agent, "Entering FAULT")
    run("ip", "-n", node.namespace, "link", "set", "mgmt", "down")
    try:
        eventually(fault, what="FAULT")
        eventually(lambda: not built.has_address("node1"), what="removing the address")
        assert "mgmt" in agent.instance("VRRP1")["reason"]
    finally:
        run("ip", "-n", node.namespace, "link", "set", "mgmt", "up")
    built.wait_owner("node1")
    agent.stop()


def test_a_check_that_cannot_run_is_a_failed_check(built: Lab, site: Site):
    """keepalived would go on without it, and be MASTER of a dead service."""
    (site.directory / "check_haproxy.sh").unlink()
    agent = built.agent("node1", UNGROUPED.replace("/etc/keepalived", str(site.directory)))
    eventually(lambda: "Entering FAULT" in agent.text(), what="FAULT")
    assert "check_haproxy.sh" in agent.text()
    time.sleep(1)
    assert not built.observer.owners()
    agent.stop()
