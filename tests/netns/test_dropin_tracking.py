"""Tracked files and processes decide on a real host who may be MASTER, and fail closed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin_lab import Host, configuration, eventually, host

pytestmark = pytest.mark.netns


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def track_file(block: str, use: str = "", **more: str) -> str:
    return configuration(
        f"track_file {{\nF {use}\n}}", top=f"track_file F {{\nfile {{dir}}/number\n{block}\n}}", **more
    )


def test_a_value_other_than_zero_is_a_fault_with_weight_0(here):
    number = here.directory / "number"
    number.write_text("0\n")
    here.start(track_file("weight 0"))
    here.wait_master()
    begun = time.monotonic()
    number.write_text("3\n")
    here.wait_gone()
    assert time.monotonic() - begun < 2  # it is looked at five times a second
    assert here.instance()["state"] == "FAULT"
    number.write_text("0\n")
    here.wait_master()


def test_the_value_times_the_weight_moves_the_priority_and_minus_254_is_a_fault(here):
    number = here.directory / "number"
    number.write_text("10 and whatever follows")
    here.start(track_file("weight 2", "weight -3"))
    here.wait_master()
    assert here.instance()["effective_priority"] == 120
    number.write_text("-20")
    eventually(lambda: here.instance()["effective_priority"] == 210, "priority 210")
    number.write_text("84")  # -252
    eventually(lambda: here.instance()["effective_priority"] == 1, "priority 1")
    assert here.has_vip()
    number.write_text("85")  # -255
    here.wait_gone()
    number.write_text("0")
    here.wait_master()
    assert here.instance()["effective_priority"] == 150


@pytest.mark.parametrize("content", [None, "", "many\n", str(2**40)])
def test_a_file_without_a_number_is_a_fault_whatever_its_weight(here, content):
    if content is not None:
        (here.directory / "number").write_text(content)
    here.start(track_file("weight 1"))
    eventually(lambda: "track_file cannot be read" in here.text(), "a reason", 10)
    time.sleep(0.7)
    assert not here.has_vip()
    (here.directory / "number").write_text("4")
    here.wait_master()
    assert here.instance()["effective_priority"] == 154


def test_a_file_that_goes_away_and_comes_back_by_rename(here):
    number = here.directory / "number"
    number.write_text("0")
    here.start(track_file("weight 0 reverse"))
    time.sleep(1)
    assert not here.has_vip()  # reverse: 0 is the fault
    fresh = here.directory / "fresh"
    fresh.write_text("1")
    fresh.rename(number)
    here.wait_master()
    number.unlink()
    here.wait_gone()


def test_init_file_creates_the_file_and_keeps_one_that_is_there(here):
    here.start(track_file("weight 1\ninit_file 7"))
    here.wait_master()
    assert (here.directory / "number").read_text() == "7\n"
    assert here.instance()["effective_priority"] == 157
    here.stop()
    (here.directory / "number").write_text("9")
    here.start(track_file("weight 1\ninit_file 7"))
    here.wait_master()
    assert here.instance()["effective_priority"] == 159


def test_a_process_below_its_quorum_is_a_fault(here):
    sleeper = ("sleep", "86321")
    here.start(
        configuration(
            "track_process {\nP\n}",
            top=f'vrrp_track_process P {{\nprocess "{" ".join(sleeper)}"\nquorum 2\n}}',
        )
    )
    time.sleep(1)
    assert not here.has_vip()
    running = [subprocess.Popen(sleeper) for _ in range(2)]
    try:
        here.wait_master()
        running[0].terminate()
        here.wait_gone()  # not yet reaped: a zombie does not count
    finally:
        for one in running:
            one.kill()
            one.wait()


def test_the_weight_of_a_process_in_a_group_and_its_delay(here):
    top = "vrrp_track_process P {\nprocess haagenttest\nweight 20\nfork_delay 1\n}\n"
    top += "vrrp_sync_group G {\ngroup {\nVI_1\n}\nsync_group_tracking_weight\ntrack_process {\nP\n}\n}\n"
    here.start(configuration(top=top))
    here.wait_master()
    assert here.instance()["effective_priority"] == 150
    program = here.directory / "haagenttest"
    program.symlink_to("/bin/sleep")
    running = subprocess.Popen([str(program), "60"])
    try:
        begun = time.monotonic()
        eventually(lambda: here.instance()["effective_priority"] == 170, "priority 170")
        assert time.monotonic() - begun > 0.9
    finally:
        running.kill()
        running.wait()
    eventually(lambda: here.instance()["effective_priority"] == 150, "priority 150")
