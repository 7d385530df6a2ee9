"""What keepalived does to its host and to itself beside addresses: links, sources, scheduling, scripts, modes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin_lab import Host, configuration, eventually, host, ip

pytestmark = pytest.mark.netns


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def worker(here: Host) -> int:
    pid = here.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_link_that_comes_back_before_its_delay_is_over_was_never_away(here):
    here.start(configuration(top="interface_up_down_delays {\nlan 1.5 1\n}"))
    here.wait_master()
    ip("-n", here.far, "link", "set", "lan", "down")
    time.sleep(0.7)
    ip("-n", here.far, "link", "set", "lan", "up")
    time.sleep(1.5)
    assert "FAULT" not in here.text()
    assert here.has_vip()
    begun = time.monotonic()
    ip("-n", here.far, "link", "set", "lan", "down")
    here.wait_gone()
    assert 1.4 < time.monotonic() - begun < 3
    begun = time.monotonic()
    ip("-n", here.far, "link", "set", "lan", "up")
    here.wait_master()
    assert time.monotonic() - begun > 1


def test_an_interface_may_appear_later(here):
    here.start(configuration(more_globals="dynamic_interfaces").replace("interface lan", "interface later"))
    time.sleep(1)
    assert not here.has_vip()
    here.plug("later")
    ip("-n", here.name, "addr", "add", "10.79.0.1/24", "dev", "later")
    here.wait_master()
    assert f"later {'10.77.0.100'}/32" in here.addresses()
    ip("-n", here.name, "link", "del", "later")
    eventually(lambda: here.instance()["state"] == "FAULT", "FAULT")
    here.plug("later")
    ip("-n", here.name, "addr", "add", "10.79.0.1/24", "dev", "later")
    here.wait_master()


def test_the_loss_of_a_tracked_source_is_a_fault(here):
    ip("-n", here.name, "addr", "add", "10.77.0.2/24", "dev", "lan")
    here.start(configuration("mcast_src_ip 10.77.0.2", "track_src_ip"))
    here.wait_master()
    ip("-n", here.name, "addr", "del", "10.77.0.2/24", "dev", "lan")
    here.wait_gone()
    ip("-n", here.name, "addr", "add", "10.77.0.2/24", "dev", "lan")
    here.wait_master()


def test_the_worker_is_scheduled_as_configured_and_its_scripts_are_not(here):
    wanted = "vrrp_rt_priority 3\nvrrp_priority -4\nvrrp_no_swap\nvrrp_cpu_affinity 0"
    script = 'vrrp_script chk {\nscript "/bin/sleep 60"\ntimeout 90\n}\n'
    here.start(configuration("track_script {\nchk weight 2\n}", top=script, more_globals=wanted))
    here.wait_master()
    pid = worker(here)
    assert os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    assert os.sched_getparam(pid).sched_priority == 3
    assert os.sched_getaffinity(pid) == {0}
    locked = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmLck")
    )
    assert int(locked.split()[1]) > 0
    child = int(
        eventually(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), "the script")[0]
    )
    assert os.sched_getscheduler(child) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, child) == 0


def test_scripts_frame_the_agent_s_life_and_the_umask_holds(here):
    trace = here.directory / "trace"
    lines = [
        f"{when}_script \"/bin/sh -c 'ip -n {here.name} -br addr show lan > {trace}.{when}; exit 3'\""
        for when in ("startup", "shutdown")
    ]
    lines += ["startup_script_timeout 3", "umask IRWXG | IRWXO"]
    here.start(configuration(more_globals="\n".join(lines)))
    here.wait_master()
    assert "10.77.0.100" not in Path(f"{trace}.startup").read_text()
    assert not Path(f"{trace}.shutdown").exists()
    assert "startup_script" in here.text()  # it ended with 3: said, and not minded
    here.stop()
    assert "10.77.0.100" not in eventually(
        lambda: Path(f"{trace}.shutdown").read_text(), "the shutdown script"
    )
    assert Path(f"{trace}.shutdown").stat().st_mode & 0o077 == 0


def test_a_startup_script_that_hangs_is_ended(here):
    more = 'startup_script "/bin/sleep 60"\nstartup_script_timeout 1'
    here.start(configuration(more_globals=more))
    here.wait_master()
    assert "ended after 1 s" in here.text()
