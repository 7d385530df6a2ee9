"""Commands that fail half way: the worker must not go on as if nothing had happened. And a reload that is refused."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from haagent.agent.commands import Commands
from haagent.agent.reloading import Reloader
from haagent.agent.worker import Worker
from haagent.config.model import Configuration, Daemon, GlobalDefs
from haagent.control.client import RefusedError, request
from haagent.control.server import ControlServer


class FailingWorker:
    """As much of a worker as a command needs; every effect fails, and its loop remembers the crash."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.crashes: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _loop, context: self.crashes.append(context))
        self.configuration = Configuration(GlobalDefs(), (), (), (), None, None, Daemon("n1"))
        self.reloader = Reloader(cast("Worker", self))
        self.front_reloads = 0

    def reload_front(self) -> None:
        self.front_reloads += 1

    def deliver(self, _event: object) -> None:
        raise KeyError("eth0")

    @property
    def service(self) -> object:
        raise KeyError("service")


@pytest.fixture
async def failing() -> FailingWorker:
    return FailingWorker()


async def ask(worker: FailingWorker, path: str, command: str) -> None:
    server = ControlServer(path, Commands(cast("Worker", worker)).handlers())
    await server.start()
    try:
        await asyncio.to_thread(request, path, command)
    finally:
        await server.aclose()


@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_an_event_that_fails_half_way_ends_the_worker(failing, tmp_path, command) -> None:
    await ask(failing, str(tmp_path / "n1.sock"), command)
    (crash,) = failing.crashes
    assert isinstance(crash["exception"], KeyError)


async def test_a_reload_that_fails_half_way_ends_the_worker(failing, tmp_path) -> None:
    with pytest.raises(RefusedError):
        await ask(failing, str(tmp_path / "n1.sock"), "reload")
    assert any(isinstance(crash.get("exception"), KeyError) for crash in failing.crashes)


async def test_a_reload_reaches_the_front_whatever_becomes_of_the_worker_s(failing, tmp_path) -> None:
    path = str(tmp_path / "n1.sock")
    await ask(failing, path, "pause")
    assert failing.front_reloads == 0
    with pytest.raises(RefusedError):
        await ask(failing, path, "reload")
    assert failing.front_reloads == 1
