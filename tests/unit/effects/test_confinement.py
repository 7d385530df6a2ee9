"""Privileges that were given up are gone, whatever the process had before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives up its privileges"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed"),
]
CONFINED = """
import json, os
from haagent.effects.confinement import become_nobody
with open("/proc/self/status") as status:  # opened before: /proc/self is root's afterwards
    become_nobody()
    facts = dict(line.rstrip("\\n").split(":\\t", 1) for line in status)
back = []
for way in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        way()
        back.append(os.geteuid())
    except OSError:
        pass
print(json.dumps({"facts": facts, "back": back}))
"""


def confined(*setpriv: str) -> tuple[dict[str, str], list[int]]:
    """Return what /proc says of a process that began as ``setpriv`` makes it, and which ways back it found."""
    argv = ["setpriv", *setpriv, sys.executable, "-c", CONFINED]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    facts = found["facts"]
    assert {facts[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"
    return facts, found["back"]


def test_root_becomes_nobody() -> None:
    facts, back = confined("--inh-caps=-all")
    assert facts["Uid"].split() == facts["Gid"].split() == ["65534"] * 4
    assert (facts["Groups"].strip(), back) == ("", [])


def test_a_root_who_may_not_change_its_user_has_no_capability_left() -> None:
    facts, _ = confined("--inh-caps=-all", "--bounding-set=-setuid,-setgid")
    assert facts["Uid"].split() == ["0"] * 4


def test_another_user_loses_the_capabilities_it_was_given() -> None:
    given = ("--inh-caps=+net_admin,+dac_read_search", "--ambient-caps=+net_admin,+dac_read_search")
    facts, back = confined(*given, "--reuid=65533", "--regid=65533", "--clear-groups")
    assert (facts["Uid"].split(), back) == (["65533"] * 4, [])
