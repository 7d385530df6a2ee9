"""What the fault tests of several arbiters need: patience, a hole in the network, and a client inside a namespace."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from haagent.arbiter import Arbiter, ArbiterError, ArbiterOptions, Conflict, OpenArbiter, Record, Unavailable
from haagent.testing.contract import collect, hint, unique, write


async def first_success(arbiter: Arbiter, name: str, within: float) -> Record:
    """Swap again and again until it succeeds; every failure on the way must be Unavailable."""
    until = time.monotonic() + within
    while True:
        with suppress(Unavailable):
            record = await arbiter.read(name, timeout=0.5)
            value = unique()
            return Record(value, await arbiter.swap(name, value, record, timeout=0.5))
        assert time.monotonic() < until, f"no success within {within} s"
        await asyncio.sleep(0.02)


async def watch_ends_with_the_connection_and_goes_on(arbiter: Arbiter, lose: Callable[[], object]) -> None:
    """Watch, lose the connection, and see that the iterator ends soon and that another one goes on."""
    record = await write(arbiter, "claims/web", None)
    seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
    watching = asyncio.create_task(collect(arbiter, seen))
    await hint(seen, "claims/web", record)
    lose()
    await asyncio.wait((watching,), timeout=3.0)
    assert watching.done()
    watching = asyncio.create_task(collect(arbiter, seen))
    await hint(seen, "claims/web", record)
    watching.cancel()
    await asyncio.wait((watching,))


@contextmanager
def no_defects() -> Iterator[None]:
    """See that nothing reaches the loop's exception handler: the agent would end on it."""
    loop, found = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: found.append(context))
    try:
        yield
        gc.collect()  # asyncio reports an error nobody fetched when its task goes
    finally:
        loop.set_exception_handler(None)
    assert not found


class Hole:
    """A TCP proxy whose present connections can be made to swallow everything, as a lost firewall state does."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._generation = 0
        self._writers: list[asyncio.StreamWriter] = []

    def swallow(self) -> None:
        self._generation += 1

    def lead_to(self, target: str) -> None:
        """Take new connections to another server from now on, as an address that moved."""
        self._host, _, self._port = target.rpartition(":")

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, there_writer]
        born = self._generation
        await asyncio.gather(self._copy(reader, there_writer, born), self._copy(there_reader, writer, born))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        while data := await reader.read(65536):
            if self._generation == born:
                writer.write(data)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        try:
            yield "{}:{}".format(*server.sockets[0].getsockname())
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()


class Namespace:
    """A network namespace with a loopback that can be made to swallow every packet of one TCP port."""

    def __init__(self, name: str) -> None:
        self.name = name

    def swallow(self, port: int) -> None:
        self._nft(
            "add table inet hole; add chain inet hole in { type filter hook input priority 0; }; "
            f"add rule inet hole in tcp dport {port} drop; add rule inet hole in tcp sport {port} drop"
        )

    def heal(self) -> None:
        self._nft("delete table inet hole")

    def _nft(self, rules: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name, "nft", rules], check=True)


@contextmanager
def namespace(prefix: str) -> Iterator[Namespace]:
    """Make a namespace and remove it afterwards."""
    name = f"{prefix}-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


async def swap_for(open_arbiter: OpenArbiter, seconds: float, words: dict[str, Any]) -> None:
    """Swap one register every 50 ms, and print each outcome, its time, and how long it took, as a line of JSON."""
    arbiter = await open_arbiter(ArbiterOptions(**words))
    record: Record | None = None
    until = time.monotonic() + seconds
    while (begun := time.monotonic()) < until:
        try:
            value = unique()
            record = Record(value, await arbiter.swap("claims/web", value, record, timeout=0.25))
            outcome = "ok"
        except ArbiterError as error:
            named = {Unavailable: "unavailable", Conflict: "conflict"}
            outcome = next((name for kind, name in named.items() if isinstance(error, kind)), str(error))
            with suppress(ArbiterError):
                record = await arbiter.read("claims/web", timeout=0.25)
        print(json.dumps([begun, outcome, time.monotonic() - begun]), flush=True)
        await asyncio.sleep(0.05)
    await arbiter.aclose()


def swapping(inside: Namespace, module: str, seconds: float, words: dict[str, Any]) -> subprocess.Popen[str]:
    """Start ``swap_for`` with the ``open_arbiter`` of ``module`` in a namespace; its output is for the caller."""
    program = (
        f"import asyncio, json, sys; from {module} import open_arbiter; from tests.contract.faults import swap_for; "
        "asyncio.run(swap_for(open_arbiter, float(sys.argv[1]), json.loads(sys.argv[2])))"
    )
    return subprocess.Popen(
        ["ip", "netns", "exec", inside.name, sys.executable, "-c", program, str(seconds), json.dumps(words)],
        stdout=subprocess.PIPE,
        text=True,
    )
