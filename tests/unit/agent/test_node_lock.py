"""Who may keep an agent of a node from starting, and who may not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from haagent.agent import node_lock
from haagent.errors import EffectError

NODE = f"lock-{os.getpid()}"
HOLD = """
import ctypes, os, socket, sys
uid = int(sys.argv[2])
if uid != os.geteuid():
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # not dumpable: /proc/PID belongs to root
holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
holder.bind("\\0haagent/" + sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def a_namespace_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the lock that all agents of a namespace want is concerned."""
    monkeypatch.setattr(node_lock, "NAMESPACE", f"lock-of-{NODE}")


@contextmanager
def held_by(uid: int) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, NODE, str(uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            yield
        finally:
            holder.kill()


def test_a_second_agent_is_kept_out_until_the_first_has_ended() -> None:
    with held_by(os.geteuid()), pytest.raises(EffectError, match="another haagent named"):
        node_lock.take(NODE)
    with node_lock.take(NODE), pytest.raises(EffectError):
        node_lock.take(NODE)
    node_lock.take(NODE).close()


def test_an_agent_of_another_node_is_kept_out_too_and_holds_nothing_then() -> None:
    with node_lock.take(NODE), pytest.raises(EffectError, match="one gate for both"):
        node_lock.take(f"{NODE}-2")
    with node_lock.take(f"{NODE}-2"):
        pass


def test_who_is_no_agent_keeps_agents_out_and_is_told_who_has_the_lock() -> None:
    with (
        node_lock.take(NODE),
        pytest.raises(EffectError, match=rf"process {os.getpid()} of uid {os.geteuid()}$"),
    ):
        node_lock.keep_agents_out()
    with node_lock.keep_agents_out(), pytest.raises(EffectError, match="one gate for both"):
        node_lock.take(NODE)
    node_lock.take(NODE).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
def test_a_stranger_with_the_lock_may_hide_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_lock, "NAMESPACE", f"haagent/{NODE}")
    with held_by(65534), pytest.raises(EffectError, match="of uid 65534"):
        node_lock.keep_agents_out()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
def test_another_user_of_the_host_cannot_keep_an_agent_from_starting(caplog) -> None:
    with held_by(65534):
        node_lock.take(NODE).close()
    assert f"of uid 65534 has taken the name @haagent/{NODE}" in caplog.text


@pytest.mark.parametrize("take", [lambda: node_lock.take(NODE), node_lock.keep_agents_out])
def test_what_is_no_agent_is_not_taken_for_one(take: Callable[[], object], monkeypatch) -> None:
    monkeypatch.setattr(node_lock, "NAMESPACE", "too long for a socket" * 10)
    with pytest.raises(EffectError, match="cannot be taken: AF_UNIX path too long"):
        take()
