"""The front where the kernel has no gate to ask, and the supervisor's care for it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.agent import front_process
from haagent.agent.front import Front
from haagent.agent.front_process import FrontProcess
from haagent.agent.sources import Sources
from haagent.config.model import Configuration, Daemon, GlobalDefs
from haagent.control.document import GateStatus, Status, read_boot_id
from haagent.control.server import ControlServer
from haagent.control.snapshot import snapshot_path, write_snapshot
from haagent.core.units import SECOND
from haagent.effects.gate import boot_now
from tests.unit.control.views import instance, view


def status(*, left: int, state: str = "MASTER") -> Status:
    """Return the document of an agent whose gate the kernel does not know."""
    now = boot_now()
    made = view(instance(state=state)).status
    assert made is not None
    gate = GateStatus("lifetime", "addresses disappear", now + left)
    return replace(made, boot_id=read_boot_id(), written_boot_ns=now, gate=gate)


def front(directory: Path) -> Front:
    daemon = Daemon("web-a", control_socket=str(directory / "web-a.sock"))
    configuration = Configuration(GlobalDefs(), (), (), (), None, None, daemon)
    return Front(Sources((), run_directory=str(directory)), configuration, "web-a")


async def passes(directory: Path) -> bool:
    seen = await front(directory).view()
    return any(seen.is_master(one) for one in seen.instances)


async def test_without_a_gate_in_the_kernel_the_agents_own_word_of_this_moment_counts(tmp_path) -> None:
    write_snapshot(snapshot_path(str(tmp_path / "web-a.sock")), status(left=SECOND))
    assert not await passes(tmp_path)  # it said so a moment ago, and does not answer now
    said = [status(left=SECOND)]

    async def answer(_arguments: dict[str, object]) -> dict[str, object]:
        return said[0].to_json()

    server = ControlServer(str(tmp_path / "web-a.sock"), {"status": answer})
    await server.start()
    try:
        assert await passes(tmp_path)
        said[0] = status(left=-1)
        assert not await passes(tmp_path)
        said[0] = status(left=SECOND, state="BACKUP")
        assert not await passes(tmp_path)
    finally:
        await server.aclose()


async def test_another_control_socket_in_the_files_counts_only_at_the_next_start(tmp_path) -> None:
    file = tmp_path / "haagent.conf"
    file.write_text(f"haagent {{\n node web-a\n control_socket {tmp_path}/old.sock\n}}\n")
    start = Sources((file,), run_directory=str(tmp_path))
    sources = start.of_a_run(start.load())
    served = Front(sources, sources.load(), "web-a")
    write_snapshot(str(tmp_path / "old.json"), status(left=SECOND))
    for changed in (f"control_socket {tmp_path}/new.sock", ""):
        file.write_text(f"haagent {{\n node web-a\n {changed}\n log_level debug\n}}\n")
        await served._reload()
        assert served._configuration.daemon.log_level == "debug"
        assert (await served.view()).status is not None
    again = Sources((file,), run_directory=str(tmp_path))
    assert again.of_a_run(again.load()).load().daemon.control_socket == str(tmp_path / "web-a.sock")


async def test_an_agent_that_hangs_is_no_master_and_is_not_waited_for(tmp_path) -> None:
    write_snapshot(snapshot_path(str(tmp_path / "web-a.sock")), status(left=60 * SECOND))

    async def hang(_arguments: dict[str, object]) -> dict[str, object]:
        await asyncio.sleep(30)
        return {}

    server = ControlServer(str(tmp_path / "web-a.sock"), {"status": hang})
    await server.start()
    try:
        begun = time.monotonic()
        assert not await passes(tmp_path)
        assert time.monotonic() - begun < 2
    finally:
        await server.aclose()


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"node": 1}'])
async def test_without_a_document_of_this_boot_nothing_is_claimed(tmp_path, content) -> None:
    file = tmp_path / "web-a.json"
    if content is not None:
        file.write_text(content)
    assert (await front(tmp_path).view()).status is None
    write_snapshot(str(file), replace(status(left=SECOND), boot_id="another boot"))
    assert (await front(tmp_path).view()).status is None


def sleeper(code: str) -> int:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            exec(code, {"os": os, "time": time, "signal": signal})
        finally:
            os._exit(70)
    return pid


def ended(pid: int) -> dict[int, int]:
    return {pid: os.waitpid(pid, 0)[1]}


def test_a_front_that_fails_comes_back_after_a_pause_and_one_with_nothing_to_do_does_not(monkeypatch) -> None:
    monkeypatch.setattr(front_process, "PAUSE", 0.05)
    codes = ["os._exit(1)", "os._exit(0)", "os._exit(0)"]
    keeper = FrontProcess(lambda: sleeper(codes.pop(0)), wanted=True)
    keeper.ensure()
    keeper.take(ended(keeper.pid))
    keeper.ensure()
    assert (keeper.pid, keeper.due) == (0, True)  # the pause
    time.sleep(0.1)
    keeper.ensure()
    keeper.take(ended(keeper.pid))
    assert not keeper.due
    keeper.reload()  # there may be something to listen on now
    time.sleep(0.1)
    keeper.ensure()
    assert keeper.pid
    keeper.stop()
    assert not codes


def test_a_reload_that_finds_a_front_on_its_way_to_its_end_is_not_lost() -> None:
    """Counterexample: taking the addresses out and putting them back within a second left nobody listening."""
    codes = ["time.sleep(0.3); os._exit(0)", "os._exit(0)"]
    keeper = FrontProcess(lambda: sleeper(codes.pop(0)), wanted=True)
    keeper.ensure()
    time.sleep(0.1)
    keeper.reload()  # nothing to listen on
    keeper.reload()  # something again, but it has looked already
    keeper.take(ended(keeper.pid))
    keeper.ensure()
    assert keeper.pid
    keeper.take(ended(keeper.pid))
    assert (keeper.due, codes) == (False, [])


def test_a_front_that_does_not_stop_is_killed(monkeypatch) -> None:
    monkeypatch.setattr(front_process, "END_PATIENCE", 0.2)
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    keeper = FrontProcess(lambda: sleeper(code), wanted=True)
    keeper.ensure()
    pid = keeper.pid
    time.sleep(0.1)
    begun = time.monotonic()
    keeper.stop()
    assert time.monotonic() - begun < 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_snapshot_that_cannot_be_written_any_more_does_not_make_a_living_agent_dead(tmp_path) -> None:
    old = replace(status(left=SECOND, state="BACKUP"), gate=GateStatus("bpf"))
    old = replace(old, written_boot_ns=boot_now() - 60 * SECOND)
    write_snapshot(snapshot_path(str(tmp_path / "web-a.sock")), old)
    assert not (await front(tmp_path).view()).alive

    async def answer(_arguments: dict[str, object]) -> dict[str, object]:
        return replace(status(left=SECOND), gate=GateStatus("bpf", "", boot_now() + SECOND)).to_json()

    server = ControlServer(str(tmp_path / "web-a.sock"), {"status": answer})
    await server.start()
    try:
        seen = await front(tmp_path).view()
        assert (seen.alive, seen.instances[0].state) == (True, "MASTER")
        assert not seen.gate.epochs  # of the gate the kernel's word counts, and it has none
    finally:
        await server.aclose()


async def test_an_agent_that_does_not_answer_is_waited_for_once_a_second(tmp_path) -> None:
    write_snapshot(snapshot_path(str(tmp_path / "web-a.sock")), status(left=60 * SECOND))
    asked = 0

    async def hang(_arguments: dict[str, object]) -> dict[str, object]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(30)
        return {}

    server = ControlServer(str(tmp_path / "web-a.sock"), {"status": hang})
    await server.start()
    try:
        one = front(tmp_path)
        for _ in range(20):
            assert not (await one.view()).gate.epochs
        assert asked == 1
    finally:
        await server.aclose()
