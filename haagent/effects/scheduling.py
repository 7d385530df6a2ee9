"""How the kernel schedules this process: real-time priority, niceness, processors, memory that is never swapped out.

Promises: what the host refuses is logged and costs nothing else; children start with ordinary scheduling.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable

from haagent.config.model import ProcessSettings

LOG = logging.getLogger("haagent.scheduling")
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def apply(settings: ProcessSettings) -> None:
    """Give the calling process what ``settings`` asks for."""
    if settings.processors:
        _try("vrrp_cpu_affinity", lambda: os.sched_setaffinity(0, settings.processors))
    if settings.nice:
        _try("vrrp_priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, settings.nice))
    if settings.no_swap:
        _try("vrrp_no_swap", _lock_memory)
    if settings.real_time:
        parameters = os.sched_param(settings.real_time)
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        _try("vrrp_rt_priority", lambda: os.sched_setscheduler(0, policy, parameters))


def _try(keyword: str, work: Callable[[], object]) -> None:
    try:
        work()
    except OSError as error:
        LOG.warning("%s has no effect, the host refuses it: %s", keyword, error.strerror)


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
