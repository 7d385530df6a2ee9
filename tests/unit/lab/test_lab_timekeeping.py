"""Instruments go before what they measure, what they start does not."""

import os
import subprocess
import sys
import threading

import pytest

from haagent.lab.timekeeping import keeping_time

POLICY = "import os; print(os.sched_getscheduler(0))"


def policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


@pytest.mark.skipif(os.geteuid() != 0, reason="real-time scheduling needs root")
def test_the_thread_alone_keeps_time_and_only_as_long_as_it_measures():
    before, threads = policy(), []
    with keeping_time():
        assert policy() == os.SCHED_RR
        child = subprocess.run([sys.executable, "-c", POLICY], capture_output=True, text=True, check=True)
        thread = threading.Thread(target=lambda: threads.append(policy()))
        thread.start()
        thread.join()
    assert int(child.stdout) == os.SCHED_OTHER
    assert threads == [os.SCHED_OTHER]
    assert policy() == before


def test_a_host_that_refuses_is_measured_as_it_is(monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    before = policy()
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with keeping_time():
        assert policy() == before
