"""What a started command gets of ours, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.agent.sources import Sources
from haagent.core.units import SECOND
from haagent.effects import processes
from haagent.effects.processes import Account, Launch

REPOSITORY = Path(__file__).parents[3]


async def output(argv: tuple[str, ...]) -> int | None:
    child = Launch(argv, Account("us", os.geteuid(), os.getegid(), ())).start()
    assert await child.exited(10 * SECOND)
    return child.reap()


ETCD = "etcd {\n endpoints e1:2379\n username web\n password_env WEB_PASSWORD\n}\n"
QUORUM = f"quorum {{\n{ETCD}file {{\n endpoints /srv/vote\n}}\nwitness {{\n endpoints w1:7419\n key_file KEY\n}}\n}}\n"


@pytest.mark.parametrize("arbiter", [ETCD, QUORUM], ids=["etcd", "quorum"])
async def test_the_arbiters_password_is_not_in_a_scripts_environment(arbiter, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(processes, "_withheld", set())
    monkeypatch.setenv("WEB_PASSWORD", "correct horse")
    monkeypatch.setenv("WEB_PLACE", "here")
    file, key = tmp_path / "keepalived.conf", tmp_path / "witness.key"
    key.touch(0o600)
    key.write_text("0123456789abcdef" * 2)
    file.write_text(
        f"arbiter {arbiter.replace('KEY', str(key))}"
        "vrrp_instance web {\n interface lo\n virtual_router_id 5\n virtual_ipaddress {\n 192.0.2.9/32\n }\n}\n"
    )
    Sources((file,)).load()
    assert await output(("/bin/sh", "-c", 'test "$WEB_PLACE" = here')) == 0
    assert await output(("/bin/sh", "-c", 'test -z "${WEB_PASSWORD+x}"')) == 0


AMBIENT = """
import asyncio
from tests.unit.effects.test_processes import output
held = open("/proc/self/status").read().partition("CapEff:")[2].split()[0]
assert int(held, 16), held
print(asyncio.run(output(("/bin/sh", "-c", "grep -q 'CapEff:.0000000000000000' /proc/self/status"))))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: hands capabilities to another user")
def test_a_script_gets_no_capability_of_an_agent_that_is_not_root() -> None:
    done = subprocess.run(
        ["setpriv", "--inh-caps=+net_raw,+dac_read_search", "--ambient-caps=+net_raw,+dac_read_search",
         "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", AMBIENT],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stdout + done.stderr
