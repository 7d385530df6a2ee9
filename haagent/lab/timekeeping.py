"""What measures keeps time on a busy machine: instruments run before everything that is measured.

An observer or a back end that waits for a processor looks like a node that does not answer. Promises that what an
instrument starts is scheduled as usual, and that a host which refuses real-time scheduling costs nothing but precision.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_PRIORITY = 1  # the lowest that still goes before every ordinary process


@contextlib.contextmanager
def keeping_time() -> Iterator[None]:
    """Schedule the calling thread by real time as long as this lasts; its children and new threads are not."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
