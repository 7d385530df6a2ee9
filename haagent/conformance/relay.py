"""A TCP relay in front of a server, whose connections can be cut, silenced, or not be accepted any more.

Promises to listen on 127.0.0.1 only, to change no byte it passes on, and to leave no task or socket when closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Relay:
    """Passes connections on to ``target`` (host:port). Use as a context manager; ``endpoint`` is where it listens."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host.strip("[]"), int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._silent = False
        self._generation = 0
        self.endpoint = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.endpoint = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection; new ones are passed on."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def swallow(self) -> None:
        """Let present connections stay open and lose everything, as lost state in a firewall does; new ones work."""
        self._generation += 1

    def silence(self) -> None:
        """Lose everything, also on new connections, until ``heal``."""
        self._silent = True

    def heal(self) -> None:
        """Pass on again what arrives on new connections; those that were silenced stay so."""
        self._generation += self._silent
        self._silent = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        born = self._generation
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection(*self._target)
            self._writers.add(there)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, there, born))
                both.create_task(self._pass_on(answers, writer, born))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # one end is gone, and so is the other
        finally:
            for one in filter(None, (writer, there)):
                one.transport.abort()
                self._writers.discard(one)
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        while data := await reader.read(65536):
            if born == self._generation and not self._silent:
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
