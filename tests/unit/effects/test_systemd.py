"""What systemd is told, over real sockets of both kinds."""

from __future__ import annotations

import os
import socket
import time

import pytest

from haagent.core.units import SECOND
from haagent.effects.systemd import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"@haagent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name if name.startswith("/") else "\0" + name[1:])
        listener.settimeout(2)
        yield ServiceManager({"NOTIFY_SOCKET": name}), lambda: listener.recv(4096).decode()


def test_every_message_arrives_as_written(manager):
    service, receive = manager
    service.ready("two instances")
    assert receive() == "READY=1\nSTATUS=two instances"
    service.ready()
    assert receive() == "READY=1"
    service.stopping()
    assert receive() == "STOPPING=1"
    service.status("a\nREADY=1")
    assert receive() == "STATUS=a READY=1"
    service.watchdog()
    assert receive() == "WATCHDOG=1"
    service.main_pid(17)
    assert receive() == "MAINPID=17"


def test_a_reload_carries_the_monotonic_time(manager):
    service, receive = manager
    before = time.monotonic_ns() // 1000
    service.reloading()
    word, stamp = receive().split("\n")
    assert word == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_no_manager_and_a_dead_manager_are_no_error(tmp_path):
    ServiceManager({}).ready()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_a_full_queue_does_not_block(tmp_path):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        service, began = ServiceManager({"NOTIFY_SOCKET": name}), time.monotonic()
        for _ in range(2000):
            service.watchdog()
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15 * SECOND),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15 * SECOND),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(environment, expected):
    assert ServiceManager(environment).watchdog_interval() == expected
