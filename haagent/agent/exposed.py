"""The process that strangers talk to: reads their HTTP, answers what the front tells it, and owns nothing.

``python -m haagent.agent.exposed SETTINGS``, started by ``exposed_process`` with listening sockets and a socket to the
front. Promises that before it takes the first connection it has given up every right for good; and that strangers,
however many, cause one question to the front at a time. It dies with the front.

It is a program of its own, not a fork: a fork of the agent would have the peers' key and the arbiter's password in its
memory. Everything is imported before the rights go: an installation below /root is not readable afterwards.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from haagent.agent.exposed_process import LONGEST_ANSWER, QUESTION
from haagent.config.model import Listen
from haagent.control import agent_check, endpoints, http
from haagent.control.listener import Listener, Serve
from haagent.control.view import GateView, View
from haagent.effects import journal
from haagent.effects.confinement import become_nobody, die_with

RETIRING = 1.0  # seconds for what is being answered when another process takes over


class Front:
    """The front as it is seen from here: it says what is so now."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._asking = asyncio.Lock()
        self._next: asyncio.Task[View] | None = None

    async def view(self) -> View:
        """Return the node at a moment after this call; all who come while a question is under way share the next one."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(self._next)

    async def _ask(self) -> View:
        async with self._asking:
            self._next = None
            self._writer.write(QUESTION)
            answer = await self._reader.readline()
        return View.from_json(json.loads(answer), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def _http(front: Front) -> Serve:
    async def respond(target: str) -> http.Response:
        return endpoints.respond(target, await front.view())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await http.serve(reader, writer, respond)

    return serve


def _agent_check(front: Front, subject: str) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(agent_check.line(await front.view(), subject).encode())

    return serve


async def _run(listeners: Sequence[dict[str, Any]], channel: socket.socket, parent: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    front = Front(*await asyncio.open_connection(sock=channel, limit=LONGEST_ANSWER))
    # What is read from files is read while that is possible.
    endpoints.respond("/", View(None, GateView(), 0))
    become_nobody()
    die_with(parent, signal.SIGKILL)
    opened = []
    for one in listeners:
        listen = Listen(one["host"], one["port"], one["subject"])
        serve = _agent_check(front, listen.subject) if one["check"] else _http(front)
        opened.append(Listener(listen, serve))
        await opened[-1].start(socket.socket(fileno=one["fd"]))
    await ended.wait()
    await asyncio.gather(*(listener.retire(RETIRING) for listener in opened))


def main(settings: str) -> None:
    """Serve until SIGTERM. ``settings`` is what ``exposed_process`` wrote."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload is the front's business
    given = json.loads(settings)
    journal.configure(given["level"], form=given["form"])
    channel = socket.socket(fileno=given["front"])
    asyncio.run(_run(given["listeners"], channel, given["parent"]))


if __name__ == "__main__":
    main(sys.argv[1])
