"""What the supervisor decides when a worker has ended, and how it ends what a worker left."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from haagent.agent import orphans, privileges, supervisor
from haagent.agent.parameters import Run
from haagent.errors import EX_SOFTWARE, ConfigError, EffectError

FRESH = Run("a", "1f", "host")
RESUMED = Run("a", "1f", "host", resumed=True)


@pytest.mark.parametrize(
    ("status", "run", "final"),
    [
        (0, FRESH, True),
        (ConfigError.exit_code, FRESH, True),
        (ConfigError.exit_code, RESUMED, True),
        (EffectError.exit_code, FRESH, True),
        (EffectError.exit_code, RESUMED, False),
        (EX_SOFTWARE, FRESH, False),
        (-9, FRESH, False),
    ],
)
def test_what_is_refused_at_the_start_is_not_tried_again(status: int, run: Run, final: bool):
    assert supervisor._is_final(status, run) is final


def test_the_first_death_costs_no_pause_and_later_ones_ever_more_up_to_a_limit():
    pauses = [supervisor._pause(number) for number in range(60)]
    assert pauses[:4] == [0.0, 0.0, 0.05, 0.1]
    assert pauses == sorted(pauses)
    assert pauses[-1] == supervisor.LONGEST_PAUSE


def in_a_process_of_its_own(code: str) -> str:
    """Run ``code`` where becoming a subreaper and killing every child can do no harm."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


def test_orphans_are_adopted_and_ended_with_theirs():
    said = in_a_process_of_its_own("""
        import subprocess, time
        from haagent.agent import orphans
        orphans.adopt()
        subprocess.run(["sh", "-c", "sleep 300 & (sleep 301 & sleep 302) & true"], check=True)
        time.sleep(0.2)
        print(len(orphans.children()), orphans.kill() >= 3, len(orphans.children()))
    """)
    before, killed, after = said.split()
    assert int(before) >= 2
    assert (killed, after) == ("True", "0")


def test_without_adopting_nothing_is_ours_to_end():
    said = in_a_process_of_its_own("""
        import subprocess
        from haagent.agent import orphans
        subprocess.run(["sh", "-c", "sleep 0.5 & true"], check=True)
        print(orphans.children(), orphans.kill())
    """)
    assert said.split() == ["set()", "0"]


def test_reaping_gives_every_ended_child_its_status():
    said = in_a_process_of_its_own("""
        import os, time
        from haagent.agent import orphans
        first, second = os.fork() or os._exit(3), os.fork() or os._exit(0)
        time.sleep(0.2)
        ended = orphans.reap()
        print(os.waitstatus_to_exitcode(ended[first]), os.waitstatus_to_exitcode(ended[second]), orphans.reap())
    """)
    assert said.split() == ["3", "0", "{}"]


@pytest.mark.parametrize(
    ("held", "missing"),
    [(1 << 12, ["CAP_NET_RAW"]), (1 << 13, ["CAP_NET_ADMIN"]), (0, ["CAP_NET_ADMIN", "CAP_NET_RAW"])],
)
def test_missing_capabilities_are_named(monkeypatch: pytest.MonkeyPatch, held: int, missing: list[str]):
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: held)
    with pytest.raises(EffectError) as caught:
        privileges.require()
    named = str(caught.value).partition(" missing;")[0]
    assert [name for name in ("CAP_NET_ADMIN", "CAP_NET_RAW") if name in named] == missing


def test_enough_capabilities_are_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: 1 << 12 | 1 << 13)
    privileges.require()


def test_children_are_pids_of_this_process():
    assert os.getpid() not in orphans.children()
