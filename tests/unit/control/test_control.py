"""The control socket with real sockets and processes: replies, refusals, hostile and slow clients, dead agents."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from haagent.control import server as server_module
from haagent.control.client import (
    NotAnsweringError,
    NotRunningError,
    RefusedError,
    find_socket,
    request,
)
from haagent.control.server import ControlServer
from haagent.errors import ControlError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run" / "n1.sock")


@pytest.fixture
async def serve(path):
    """Start a server with a few commands; it is closed at the end."""
    started = []

    async def start(**more) -> ControlServer:
        async def status(arguments):
            return {"seen": arguments}

        async def refuse(arguments):
            raise ControlError("not while paused")

        async def wrong(arguments):
            raise ValueError("to: expected a node")

        async def broken(arguments):
            return {}[0]

        async def slow(arguments):
            await asyncio.sleep(60)
            return {}

        async def big(arguments):
            return {"text": "x" * 1_000_000}

        handlers = {
            "status": status, "refuse": refuse, "wrong": wrong, "broken": broken, "slow": slow, "big": big,
            "switchover": status,
        }  # fmt: skip
        server = ControlServer(path, handlers, changing={"switchover"}, **more)
        await server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        await server.aclose()


async def ask(path: str, command: str, **arguments):
    return await asyncio.to_thread(request, path, command, **arguments)


async def test_a_request_gets_its_result(serve, path):
    await serve()
    assert await ask(path, "status", instance="VI_1") == {"seen": {"instance": "VI_1"}}
    assert await ask(path, "switchover", to="n2") == {"seen": {"to": "n2"}}
    assert len((await ask(path, "big"))["text"]) == 1_000_000


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("refuse", "refused", "not while paused"),
        ("wrong", "invalid", "expected a node"),
        ("broken", "failed", "KeyError"),
        ("reboot", "unknown", "there are: big, broken"),
    ],
)
async def test_a_no_says_which_kind_and_why(serve, path, command, kind, words):
    await serve()
    with pytest.raises(RefusedError, match=words) as caught:
        await ask(path, command)
    assert caught.value.kind == kind


async def test_a_command_that_takes_too_long_is_given_up(serve, path):
    await serve(handler_timeout=0.1)
    with pytest.raises(RefusedError, match=r"longer than 0\.1 s"):
        await ask(path, "slow")


async def lines_of(path: str, *lines: bytes) -> list[dict]:
    reader, writer = await asyncio.open_unix_connection(path)
    replies = []
    for line in lines:
        writer.write(line)
        replies.append(json.loads(await asyncio.wait_for(reader.readline(), 5)))
    writer.close()
    return replies


async def test_nonsense_is_answered_and_the_connection_goes_on(serve, path):
    await serve()
    nonsense = [b"\n", b"[1]\n", b"{}\n", b'{"command": 1}\n', b"\xff\xfe\n", b"[" * 20000 + b"\n"]
    replies = await lines_of(path, *nonsense, b'{"command": "status"}\n')
    assert [reply["ok"] for reply in replies] == [False] * len(nonsense) + [True]
    assert {reply.get("kind") for reply in replies[:-1]} == {"invalid"}


async def test_a_line_that_is_too_long_is_refused(serve, path):
    await serve()
    (reply,) = await lines_of(path, b"x" * 200_000)
    assert "longer than 65536" in reply["error"]


async def test_clients_that_sleep_do_not_keep_others_out(serve, path, monkeypatch):
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT", 0.5)
    await serve()
    sleepers = [await asyncio.open_unix_connection(path) for _ in range(server_module.MOST_CLIENTS + 1)]
    assert await ask(path, "status") == {"seen": {}}
    assert await asyncio.wait_for(sleepers[0][0].read(), 0.2) == b""  # the oldest had to leave for it
    assert await asyncio.wait_for(sleepers[-1][0].read(), 2) == b""  # and the others sleep for too long
    for _, writer in sleepers:
        writer.close()


@root_only
async def test_another_user_cannot_keep_root_out(monkeypatch):
    monkeypatch.setattr(server_module, "MOST_CLIENTS", 4)
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = f"{directory}/n.sock"
        server = ControlServer(path, {"status": _empty})
        await server.start()
        os.chmod(path, 0o666)
        reader, writer = await asyncio.open_unix_connection(path)
        crowd = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CROWD, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert await asyncio.wait_for(crowd.stdout.readline(), 20) == b"connected\n"
            writer.write(b'{"command": "status"}\n')  # on a connection that is older than all of theirs
            assert json.loads(await asyncio.wait_for(reader.readline(), 5))["ok"]
            assert await ask(path, "status") == {}
            writer.close()
        finally:
            crowd.kill()
            await crowd.wait()
            await server.aclose()


async def test_a_client_that_leaves_early_hurts_nobody(serve, path):
    await serve()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b'{"command": "big"}\n')
    assert await ask(path, "status") == {"seen": {}}


async def test_the_socket_is_for_root_and_its_group(serve, path):
    await serve()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660


CLIENT = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    client.sendall(b'{"command": "%s"}\\n' % sys.argv[2].encode())
    print(client.recv(65536).decode(), end="")
"""


CROWD = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
clients = [socket.socket(socket.AF_UNIX) for _ in range(12)]
for client in clients:
    client.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


@root_only
@pytest.mark.parametrize(("command", "kind"), [("status", None), ("switchover", "forbidden")])
async def test_the_kernel_says_who_asks_and_others_may_only_look(serve, command, kind):
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        handlers = dict.fromkeys(("status", "switchover"), _empty)
        server = ControlServer(f"{directory}/n.sock", handlers, changing={"switchover"})
        await server.start()
        os.chmod(f"{directory}/n.sock", 0o666)  # an operator may open it to more users
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CLIENT, f"{directory}/n.sock", command, stdout=subprocess.PIPE
            )
            out, _ = await asyncio.wait_for(process.communicate(), 20)
        finally:
            await server.aclose()
    assert json.loads(out).get("kind") == kind


async def _empty(arguments):
    return {}


async def test_a_second_agent_is_refused_and_a_left_over_socket_is_replaced(serve, path):
    first = await serve()
    with pytest.raises(ControlError, match="another haagent is running"):
        await serve()
    assert await ask(path, "status") == {"seen": {}}
    await first.aclose()
    assert not os.path.exists(path)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)
    await serve()
    assert await ask(path, "status") == {"seen": {}}


async def test_a_place_that_cannot_be_used_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ControlError, match=r"control socket .*file/n1\.sock"):
        await ControlServer(str(tmp_path / "file" / "n1.sock"), {}).start()


async def test_closing_is_quick_with_clients_connected_and_idempotent(serve, path):
    server = await serve()
    _, writer = await asyncio.open_unix_connection(path)
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await server.aclose()
    await server.aclose()
    assert time.monotonic() - began < 1
    writer.close()


def test_nobody_there(path):
    with pytest.raises(NotRunningError, match="nobody listens"):
        request(path, "status")
    Path(path).parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)
    with pytest.raises(NotRunningError):
        request(path, "status")


SERVER = """
import asyncio, sys
from haagent.control.server import ControlServer
async def status(arguments): return {}
async def main():
    await ControlServer(sys.argv[1], {"status": status}).start()
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_stopped_and_a_killed_agent_are_told_apart(path):
    with subprocess.Popen([sys.executable, "-c", SERVER, path], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout.readline() == b"up\n"
            assert request(path, "status") == {}
            agent.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(NotAnsweringError, match=r"does not answer within 0\.3 s"):
                request(path, "status", timeout=0.3)
            assert time.monotonic() - began < 1
        finally:
            agent.kill()
            agent.send_signal(signal.SIGCONT)
    with pytest.raises(NotRunningError):
        request(path, "status")


def test_an_answer_in_drops_cannot_outlast_the_deadline(tmp_path):
    path = str(tmp_path / "slow.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def drip():
            connection, _ = listener.accept()
            with connection:
                time.sleep(0.5)
                connection.sendall(b" ")
                connection.recv(1000)
                connection.recv(1000)  # until the client has given up

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(NotAnsweringError):
            request(path, "status", timeout=0.6)
        assert time.monotonic() - began < 0.9
        thread.join()


def test_the_only_agent_is_found_and_several_need_a_name(tmp_path):
    directory = str(tmp_path)
    with pytest.raises(NotRunningError):
        find_socket(None, directory)
    (tmp_path / "n1.json").write_text("{}")
    assert find_socket(None, directory) == f"{directory}/n1.sock"
    (tmp_path / "n2.sock").write_text("")
    with pytest.raises(ControlError, match="n1, n2"):
        find_socket(None, directory)
    assert find_socket("n2", directory) == f"{directory}/n2.sock"
    assert find_socket("/elsewhere.sock", directory) == "/elsewhere.sock"
