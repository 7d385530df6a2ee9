"""Where a rehearsal was played: what somebody needs to know to compare it with another one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass

from haagent import __version__
from haagent.lab.rehearsal.frr import DAEMONS

_VERSIONS = {
    "keepalived": ("keepalived", "--version"),
    "ucarp": ("ucarp", "--help"),
    "FRR": (str(DAEMONS / "vrrpd"), "--version"),
    "etcd": ("etcd", "--version"),
    "nft": ("nft", "--version"),
    "ip": ("ip", "-V"),
}


@dataclass(frozen=True, slots=True)
class Environment:
    """Facts by name, in the order they are shown; ``began`` is the date and time of day, for people."""

    facts: tuple[tuple[str, str], ...]
    began: str = ""


def look_around() -> Environment:
    """Return the facts of this machine; a program that is missing or does not answer is left out."""
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    facts = [
        ("haagent", __version__),
        ("Python", platform.python_version()),
        ("kernel", platform.release()),
        ("machine", f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, load {load} at the start"),
    ]
    versions = ((name, text) for name in _VERSIONS if (text := _version(name)))
    return Environment((*facts, *versions), time.strftime("%Y-%m-%d %H:%M"))


def _version(name: str) -> str:
    if shutil.which(_VERSIONS[name][0]) is None:
        return ""
    try:
        done = subprocess.run(_VERSIONS[name], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (line.strip() for line in (done.stdout or done.stderr).splitlines())
    return next((line for line in lines if line), "")
