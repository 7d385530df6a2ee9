"""The agent as a service: what systemd is told, what a supervisor does with processes, signals and exit statuses."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lab import SPEC, Lab, eventually, lab, log_of, ms, remains

from haagent.lab.daemons import keepalived_conf
from haagent.lab.processes import tree

pytestmark = [pytest.mark.netns]
PLAIN = keepalived_conf(SPEC, "node1")


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    with lab(arbiters=0, nodes=1) as made:
        yield made


class Manager:
    """The socket of a service manager; it remembers what it is told."""

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def heard(self, word: str) -> bool:
        """Read what has come, and say whether ``word`` was among it since the last ``forget``."""
        while True:
            try:
                self.told += self._socket.recv(4096).decode() + "\n"
            except BlockingIOError:
                return word in self.told.split()

    def forget(self) -> None:
        self.heard("")
        self.told = ""


def test_a_service_manager_is_told_everything(built: Lab, tmp_path: Path):
    manager = Manager(tmp_path / "notify")
    begun = time.monotonic_ns()
    agent = built.agent("node1", PLAIN, NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="5000000")
    eventually(lambda: manager.heard("READY=1"), what="READY=1")
    print(f"ready after {ms(time.monotonic_ns() - begun)}")
    eventually(lambda: manager.heard("WATCHDOG=1"), what="a watchdog ping")
    manager.forget()
    eventually(lambda: manager.heard("WATCHDOG=1"), patience=5, what="another one within WATCHDOG_USEC")
    agent.hup()
    eventually(lambda: manager.heard("RELOADING=1"), what="RELOADING=1")
    assert "MONOTONIC_USEC=" in manager.told
    eventually(lambda: manager.heard("READY=1"), what="READY=1 after the reload")
    assert not manager.heard("STOPPING=1")
    agent.stop()
    assert manager.heard("STOPPING=1")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def with_script(command: str, notify: str = "") -> str:
    block = f'vrrp_script chk {{\n    script "{command}"\n    interval 1\n    timeout 60\n}}\n'
    inside = f"    interface lan\n    track_script {{\n        chk\n    }}\n{notify}"
    return block + PLAIN.replace("    interface lan\n", inside)


@pytest.fixture
def secure() -> Iterator[Path]:
    """A directory that only root can change; the usual temporary ones are open to everybody further up."""
    directory = Path(f"/var/lib/hat-test-{os.getpid()}")
    directory.mkdir()
    yield directory
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def test_scripts_of_a_killed_worker_are_ended_with_all_they_started(built: Lab, secure: Path):
    pids = secure / "pids"
    command = script(secure / "chk", f"echo $$ >> {pids}\nsleep 307 & echo $! >> {pids}\nwait")
    agent = built.agent("node1", with_script(command))
    eventually(lambda: pids.exists() and len(pids.read_text().split()) >= 2, what="starting the script")
    first = [int(pid) for pid in pids.read_text().split()[:2]]
    os.kill(agent.worker, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in first), what="ending the orphans")
    eventually(lambda: "processes that the worker's scripts had left" in agent.text(), what="saying so")
    agent.stop()
    assert not remains(agent.node)


def test_a_process_put_into_the_background_lives_on_and_is_reaped(built: Lab, secure: Path):
    pids = secure / "pids"
    command = script(secure / "up", f"setsid sleep 5 & echo $! > {pids}")
    agent = built.agent(
        "node1", PLAIN.replace("    interface lan\n", f'    interface lan\n    notify_master "{command}"\n')
    )
    eventually(pids.exists, what="running notify_master")
    (pid,) = (int(one) for one in eventually(pids.read_text).split())
    time.sleep(0.3)
    assert Path(f"/proc/{pid}").exists()
    assert pid in tree(agent.supervisor)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="reaping what was left in the background")
    agent.stop()


def test_a_worker_that_does_not_stop_is_killed(built: Lab):
    agent = built.agent("node1", PLAIN)
    built.wait_owner("node1")
    os.kill(agent.worker, signal.SIGSTOP)
    assert agent.process is not None
    begun = time.monotonic()
    agent.process.stop(patience=14)
    took = time.monotonic() - begun
    assert 9 < took < 13
    assert "killing it" in agent.text()
    assert not remains(agent.node)


def test_a_worker_that_keeps_dying_is_started_ever_more_rarely(built: Lab):
    agent = built.agent("node1", PLAIN)
    for _ in range(4):
        begun = log_of(agent, "Entering BACKUP")
        os.kill(eventually(lambda: worker_of(agent)), signal.SIGKILL)
        eventually(begun, what="another worker")
    ended = [r for r in agent.records() if "starting another" in r["message"]]
    assert len(ended) == 4
    built.wait_owner("node1")
    agent.stop()
    assert not remains(agent.node)


def worker_of(agent) -> int:
    try:
        return agent.worker
    except (AssertionError, OSError):
        return 0
