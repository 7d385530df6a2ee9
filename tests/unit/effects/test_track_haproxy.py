"""track_haproxy against servers that are no HAProxy, or one in trouble: bounded, in time, and down."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haagent.config.model import Configuration, Daemon, GlobalDefs, VrrpInstance
from haagent.config.tracking_model import Track, TrackHaproxy
from haagent.core.events import TrackResult
from haagent.core.reports import Report
from haagent.core.units import MILLISECOND
from haagent.effects.haproxy import HaproxyError, ask, read_state
from haagent.effects.track_haproxy import TrackHaproxies, look

INFO = "Name: HAProxy\nVersion: 2.6.12\nPid: 4711\nStopping: 0\n\n"
HEADER = "# pxname,svname,qcur,status,weight,act,bck,\n"
FRONTEND = "web,FRONTEND,,OPEN,,,,\n"
HEALTHY = INFO + HEADER + FRONTEND + "app,BACKEND,0,UP,2,2,0,\n\n"
Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Give a function that serves connections at a socket, one after the other, and returns its path."""
    with contextlib.ExitStack() as stack:

        def begin(answer: Callable[[socket.socket], None]) -> str:
            path = str(tmp_path / "admin.sock")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen(4)

            def work() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        channel, _ = listener.accept()
                        with channel, contextlib.suppress(OSError):
                            channel.recv(4096)
                            answer(channel)

            threading.Thread(target=work, daemon=True).start()
            stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return path

        yield begin


def block(path: str, **words: object) -> TrackHaproxy:
    usual: dict[str, object] = {"timeout": 200 * MILLISECOND, "backends": (("app", 1),)}
    return TrackHaproxy("web", path, **{**usual, **words})  # type: ignore[arg-type]


def says(text: str) -> Callable[[socket.socket], None]:
    return lambda channel: channel.sendall(text.encode())


@pytest.mark.parametrize(
    ("answer", "words", "complaint"),
    [
        (HEALTHY, {}, ""),
        (HEALTHY, {"backends": (("app", 2),), "frontends": ("web",)}, ""),
        (HEALTHY, {"backends": (("app", 3),)}, "backend app has 2 usable servers, fewer than 3"),
        (HEALTHY, {"backends": (("api", 1),)}, "there is no backend api"),
        (HEALTHY, {"frontends": ("admin",)}, "there is no frontend admin"),
        (HEALTHY.replace("Stopping: 0", "Stopping: 1"), {}, "process 4711 is stopping"),
        (HEALTHY.replace("UP,2,2,0", "DOWN,0,0,0"), {}, "backend app is DOWN"),
        (HEALTHY.replace("UP,2,2,0", "UP,2,0,2"), {"backends": (("app", 2),)}, ""),  # backup servers serve
        (HEALTHY.replace("OPEN", "STOP"), {"frontends": ("web",)}, "no frontend is open; frontend web is STOP"),
        (HEALTHY.replace("OPEN", "PAUSED"), {}, "no frontend is open"),
    ],
)  # fmt: skip
def test_what_an_answer_means(serve, answer, words, complaint) -> None:
    assert look(block(serve(says(answer)), **words)) == complaint


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Permission denied\n",
        "Unknown command: 'show info'\n",
        INFO,
        INFO.replace("4711", "many") + HEADER + FRONTEND,
        INFO + "# pxname,svname,status\nweb,FRONTEND,OPEN\n",
        HEALTHY.replace("UP,2,2,0,", "UP,2,2"),  # cut short
        HEALTHY.replace("UP,2,2,0,", "UP,2,two,0,"),
        HEALTHY.replace("UP,2,2,0,", "UP,2,-2,0,"),
        HEALTHY.replace("UP,2,2,0,", f"UP,2,{'9' * 5000},0,"),
        HEALTHY.replace("app", '"app'),
        INFO + HEADER[:9],
        "\0" * 200,
        "HTTP/1.1 400 Bad request\r\n\r\n",
    ],
)
def test_an_answer_that_is_none_is_an_error(serve, answer) -> None:
    with pytest.raises(HaproxyError):
        look(block(serve(says(answer))))


def test_an_answer_without_end_is_cut_off(serve) -> None:
    sent: list[int] = []

    def flood(channel: socket.socket) -> None:
        while True:
            sent.append(channel.send(b"x" * 65_536))

    begun = time.monotonic()
    with pytest.raises(HaproxyError, match="longer than 1000000 bytes"):
        ask(serve(flood), ("show info",), 5, limit=1_000_000)
    assert time.monotonic() - begun < 2
    assert sum(sent) < 2_000_000


def test_a_trickle_does_not_outlive_the_timeout(serve) -> None:
    def trickle(channel: socket.socket) -> None:
        for _ in range(100):
            channel.sendall(b"N")
            time.sleep(0.05)

    begun = time.monotonic()
    with pytest.raises(HaproxyError, match=r"does not answer within 0\.3 s"):
        ask(serve(trickle), ("show info",), 0.3)
    assert time.monotonic() - begun < 0.6


def test_nobody_there_is_an_error_that_names_the_socket(tmp_path: Path) -> None:
    with pytest.raises(HaproxyError, match="No such file"):
        ask(str(tmp_path / "admin.sock"), ("show info",), 1)


def test_a_backlog_that_is_full_is_no_answer(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(path)
        with pytest.raises(HaproxyError):
            ask(path, ("show info",), 0.2)


def test_8000_proxies_fit_into_an_answer() -> None:
    rows = "".join(f"proxy-with-a-long-name-{n},BACKEND,0,UP,1,1,0,\n" for n in range(8000))
    begun = time.monotonic()
    assert len(read_state(INFO + HEADER + rows).backends) == 8000
    assert time.monotonic() - begun < 1


def configuration(one: TrackHaproxy) -> Configuration:
    instance = VrrpInstance("VI_1", "lo", 51, (), track_haproxies=(Track("web"),))
    return Configuration(GlobalDefs(), (instance,), (), (), None, None, Daemon("here"), haproxies=(one,))


async def test_every_question_is_a_result_and_a_reason_is_told_once(serve) -> None:
    answers = [HEALTHY]
    one = block(serve(lambda channel: channel.sendall(answers[0].encode())), interval=20 * MILLISECOND)
    results: list[TrackResult] = []
    told: list[Report] = []
    tracked = TrackHaproxies(results.append, told.append)
    tracked.reconfigure(configuration(one))
    try:
        await asyncio.sleep(0.2)
        assert len(results) > 2
        assert all(result == TrackResult("haproxy web", passed=True) for result in results)
        assert not told
        answers[0] = "what?\n"
        await asyncio.sleep(0.1)
        del results[:]
        await asyncio.sleep(0.2)
        assert len(results) > 2
        assert not any(result.passed for result in results)
        assert len(told) == 1
        tracked.reconfigure(configuration(one))  # nothing has changed, so nothing begins anew
        await asyncio.sleep(0.1)
        assert len(told) == 1
    finally:
        tracked.close()
    del results[:]
    await asyncio.sleep(0.1)
    assert not results
