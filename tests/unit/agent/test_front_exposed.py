"""The process that strangers talk to: it answers, it may do nothing else, and it is replaced without turning anybody away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from haagent.agent import front as front_module
from haagent.agent.front import Front
from haagent.agent.sources import Sources
from haagent.config.model import Configuration, Daemon, GlobalDefs, Listen
from haagent.control.server import ControlServer
from haagent.control.snapshot import snapshot_path, write_snapshot
from haagent.core.units import SECOND
from tests.unit.agent.test_front import status
from tests.unit.control.test_http import free_port

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives up its privileges")


def configuration(directory: Path, http: tuple[int, ...] = (), checks: tuple[int, ...] = ()) -> Configuration:
    daemon = Daemon(
        "web-a",
        control_socket=str(directory / "web-a.sock"),
        http=tuple(Listen("127.0.0.1", port) for port in http),
        agent_checks=tuple(Listen("127.0.0.1", port) for port in checks),
    )
    return Configuration(GlobalDefs(), (), (), (), None, None, daemon)


@asynccontextmanager
async def running(directory: Path, given: Configuration) -> AsyncIterator[Front]:
    """Run a front about a MASTER whose gate is not in the kernel, and who answers for itself."""
    write_snapshot(snapshot_path(str(directory / "web-a.sock")), status(left=60 * SECOND))
    front = Front(Sources((), run_directory=str(directory)), given, "web-a")
    await front._listen()
    try:
        yield front
    finally:
        await front.aclose()


@asynccontextmanager
async def agent(directory: Path) -> AsyncIterator[list[float]]:
    """Answer ``status`` as the agent does; yield the times of the questions."""
    asked: list[float] = []

    async def answer(_arguments: dict[str, object]) -> dict[str, object]:
        asked.append(asyncio.get_running_loop().time())
        return status(left=60 * SECOND).to_json()

    server = ControlServer(str(directory / "web-a.sock"), {"status": answer})
    await server.start()
    try:
        yield asked
    finally:
        await server.aclose()


async def get(port: int, target: str = "/primary") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.0\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def line(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


def exposed(front: Front) -> int:
    assert front._exposed is not None
    return front._exposed.pid


@root_only
async def test_what_strangers_talk_to_has_no_rights_and_no_secrets(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ETCD_PASSWORD", "a secret")
    port = free_port()
    async with agent(tmp_path), running(tmp_path, configuration(tmp_path, (port,))) as front:
        for target in ("/primary", "/", "/status", "/metrics", "/nothing"):
            assert (await get(port, target)).startswith(b"HTTP/1.1 "), target
        assert (await get(port)).startswith(b"HTTP/1.1 200 ")
        process = Path(f"/proc/{exposed(front)}")
        facts = dict(one.split(":\t", 1) for one in (process / "status").read_text().splitlines())
        assert {facts[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
        assert (facts["Uid"].split(), facts["NoNewPrivs"]) == (["65534"] * 4, "1")
        assert facts["Groups"].strip() == ""
        assert b"a secret" not in (process / "environ").read_bytes()
        open_files = [os.readlink(one) for one in (process / "fd").iterdir()]
        assert not [one for one in open_files if one.startswith(str(tmp_path))]


async def test_one_that_is_killed_is_replaced_and_who_comes_meanwhile_waits(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(front_module, "RETRY", 0.1)
    port = free_port()
    async with agent(tmp_path), running(tmp_path, configuration(tmp_path, (port,))) as front:
        assert (await get(port)).startswith(b"HTTP/1.1 200 ")
        killed = exposed(front)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: front._exposed is None or front._exposed.pid != killed)
        assert (await get(port)).startswith(b"HTTP/1.1 200 ")
        assert exposed(front) != killed


async def test_a_defect_in_an_answer_does_not_end_the_front(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(front_module, "RETRY", 0.1)
    port, looks = free_port(), []

    def broken(path: str) -> None:
        looks.append(path)
        if len(looks) == 1:
            raise KeyError(path)

    monkeypatch.setattr(front_module, "read_snapshot", broken)
    async with running(tmp_path, configuration(tmp_path, (port,))) as front:
        begun = exposed(front)
        with contextlib.suppress(ConnectionError):
            assert await get(port) == b""
        await until(lambda: front._exposed is not None and front._exposed.pid != begun)
        assert (await get(port)).startswith(b"HTTP/1.1 503 ")


async def test_an_address_may_change_its_purpose(tmp_path) -> None:
    port, other = free_port(), free_port()
    async with agent(tmp_path), running(tmp_path, configuration(tmp_path, (port, other))) as front:
        assert (await get(port)).startswith(b"HTTP/1.1 200 ")
        begun = exposed(front)
        await front._listen()
        assert exposed(front) == begun  # nothing changed
        front._configuration = configuration(tmp_path, (other,), (port,))
        await front._listen()
        await until(lambda: not Path(f"/proc/{begun}").exists())
        assert await line(port) == b"ready up 100%\n"
        assert (await get(other)).startswith(b"HTTP/1.1 200 ")


async def test_what_it_says_but_a_question_ends_it(tmp_path) -> None:
    front = Front(Sources((), run_directory=str(tmp_path)), configuration(tmp_path), "web-a")
    asked = 0

    async def view():
        nonlocal asked
        asked += 1
        return await front.view()

    ours, theirs = await channel()
    serving = asyncio.create_task(ours.serve(view))
    theirs.write(b"??x?")
    await asyncio.wait_for(serving, 10)
    assert asked == 2


async def channel():
    """Return an exposed process that sleeps, and the end of its channel to write nonsense into."""
    import socket

    from haagent.agent.exposed_process import ExposedProcess

    left, right = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    made = ExposedProcess(process, *await asyncio.open_connection(sock=left))
    return made, (await asyncio.open_connection(sock=right))[1]


async def test_a_flood_asks_the_agent_ten_times_a_second(tmp_path) -> None:
    port = free_port()
    async with agent(tmp_path) as asked, running(tmp_path, configuration(tmp_path, (port,))):
        answers = [one for _ in range(4) for one in await asyncio.gather(*(get(port) for _ in range(40)))]
        assert all(one.startswith(b"HTTP/1.1 200 ") for one in answers)
        apart = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert min(apart, default=1) > 0.05


async def test_an_address_that_is_taken_is_tried_again(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(front_module, "RETRY", 0.1)
    port = free_port()
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)
    async with agent(tmp_path), running(tmp_path, configuration(tmp_path, (port,))):
        await asyncio.sleep(0.3)
        taken.close()
        await taken.wait_closed()
        for _ in range(100):
            await asyncio.sleep(0.05)
            try:
                answer = await get(port)
            except ConnectionRefusedError:
                continue
            assert answer.startswith(b"HTTP/1.1 200 ")
            break
        else:
            raise AssertionError("nobody listens")
    assert len([one for one in caplog.records if "cannot listen" in one.message]) == 1


async def test_it_does_not_outlive_the_front(tmp_path) -> None:
    port = free_port()
    async with agent(tmp_path), running(tmp_path, configuration(tmp_path, (port,))) as front:
        assert await get(port)
        pid = exposed(front)
    assert not Path(f"/proc/{pid}").exists()


FRONT = """
import asyncio, sys
from pathlib import Path
from tests.unit.agent.test_front_exposed import configuration, exposed, running
async def main():
    async with running(Path(sys.argv[1]), configuration(Path(sys.argv[1]), (int(sys.argv[2]),))) as front:
        print(exposed(front), flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_it_dies_with_a_front_that_is_killed_and_leaves_the_address_free(tmp_path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FRONT, str(tmp_path), str(port), stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    pid = int(await asyncio.wait_for(process.stdout.readline(), 20))
    assert await get(port)
    process.kill()
    await process.wait()
    await until(lambda: not Path(f"/proc/{pid}").exists())
    (await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)).close()
