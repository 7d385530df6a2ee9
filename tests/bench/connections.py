"""What clients of a HAProxy pair see when the address moves: ``python -m tests.bench.connections``.

Five clients use the published active/passive pair at the same time, 20 exchanges a second each:

    new        a new connection for every request
    busy       one connection for all requests, as a pool has it; a new one when it is told to, or broken
    idle       the same with one request a second only
    stream     a connection that was upgraded (as by WebSocket), which says something and hears its echo
    listener   the same, but the client only listens: the server speaks

Each reports how many exchanges failed, how the first failure looked, and the longest time between two successes. An
exchange that is not over after ``PATIENCE`` has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from haagent.cli.building import clean_exit
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.namespaces import inside, require_lab_host
from haagent.lab.report import in_words, table
from haagent.lab.topology import VIP4
from tests.bench.haproxy_pair import EXAMPLES, Member, Pair, eventually, pair

PATIENCE = 5.0  # seconds for one exchange
PACE, IDLE_PACE = 0.05, 1.0  # seconds between exchanges
CLIENTS = ("new", "busy", "idle", "stream", "listener")
Handover = Callable[[Pair], None]


@dataclass
class Life:
    """What one client saw. ``gap`` is the longest time between two successes, with the end as one of them."""

    kind: str
    done: int = 0
    failed: int = 0
    how: str = ""
    gap: Duration = 0
    servers: set[str] = field(default_factory=set)
    _last: Instant = 0

    def success(self, server: str = "") -> None:
        self.done += 1
        if server:
            self.servers.add(server)
        self.end()

    def end(self) -> None:
        now = time.monotonic_ns()
        if self._last:
            self.gap = max(self.gap, now - self._last)
        self._last = now

    def failure(self, error: Exception) -> None:
        self.failed += 1
        self.how = self.how or _in_words(error)


def _in_words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"silence for {PATIENCE:g} s"
        case ConnectionResetError() | BrokenPipeError():
            return "reset"
        case ConnectionRefusedError():
            return "refused"
        case asyncio.IncompleteReadError():
            return "end"
        case _:
            return type(error).__name__


class Connection:
    """One connection of a client, and whether its server wants to keep it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.kept = reader, writer, True

    async def head(self, request: str) -> dict[str, str]:
        """Send a request and return the answer's header fields, in lower case."""
        self.writer.write(f"{request}\r\nHost: {VIP4}\r\n".encode() + b"\r\n")
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in text.strip().split("\r\n")[1:])
        self.kept = "close" not in fields.get("connection", "")
        return fields

    async def get(self) -> str:
        """Return the server that answered, or raise ConnectionError for an answer of HAProxy itself."""
        fields = await self.head("GET / HTTP/1.1")
        words = (await self.reader.readexactly(int(fields["content-length"]))).split()
        if len(words) != 2:
            raise ConnectionError("no server")
        return words[0].decode()

    async def upgrade(self, path: str) -> None:
        """Make a stream of it."""
        fields = await self.head(f"GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: stream")
        if fields.get("upgrade") != "stream":
            raise ConnectionError("not upgraded")
        self.kept = True

    def close(self) -> None:
        self.writer.transport.abort()


async def _open(kind: str) -> Connection:
    made = Connection(*await asyncio.open_connection(str(VIP4), 80))
    try:
        if kind in ("stream", "listener"):
            await made.upgrade("/ticks" if kind == "listener" else "/echo")
    except BaseException:
        made.close()
        raise
    return made


async def _exchange(kind: str, connection: Connection) -> str:
    if kind == "listener":
        await connection.reader.readexactly(1)
        return ""
    if kind == "stream":
        connection.writer.write(b"x")
        await connection.reader.readexactly(1)
        return ""
    return await connection.get()


async def live(life: Life, ended: threading.Event) -> None:
    """Be a client of ``life.kind`` until told to end."""
    connection: Connection | None = None
    while not ended.is_set():
        try:
            async with asyncio.timeout(PATIENCE):
                connection = connection or await _open(life.kind)
                life.success(await _exchange(life.kind, connection))
            keep = connection.kept and life.kind != "new"
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
            life.failure(error)
            keep = False
        if not keep and connection is not None:
            connection.close()
            connection = None
        if life.kind != "listener" or connection is None:
            await asyncio.sleep(IDLE_PACE if life.kind == "idle" else PACE)
    life.end()
    if connection is not None:
        connection.close()


@contextmanager
def clients(both: Pair, kinds: tuple[str, ...] = CLIENTS) -> Iterator[dict[str, Life]]:
    """Run clients in the client's namespace for the time of the block; what they saw is complete after it."""
    lives, ended = {kind: Life(kind) for kind in kinds}, threading.Event()

    async def all_of_them() -> None:
        await asyncio.gather(*(live(life, ended) for life in lives.values()))

    def work() -> None:
        with inside(both.topology.client.namespace):
            asyncio.run(all_of_them())

    thread = threading.Thread(target=work, name="clients")
    thread.start()
    try:
        eventually(lambda: all(life.done > 2 for life in lives.values()), 15, "clients at work")
        yield lives
    finally:
        ended.set()
        thread.join(timeout=PATIENCE + 5)


# -- how the address moves


def switchover(both: Pair) -> None:
    """Hand over as planned, without a word to the clients."""
    done = both.members["web-a"].cli("switchover", "web")
    assert done.returncode == 0, done.stdout + done.stderr


def drained(both: Pair, *options: str, seconds: float = 3) -> None:
    """Hand over by the published drain.py."""
    member = both.members["web-a"]
    script = member.directory / "drain.py"
    script.write_text(both.adapted((EXAMPLES / "drain.py").read_text(), member))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    own = ["--seconds", f"{seconds:g}", *options, "--socket", f"{member.directory}/web-a.sock"]
    argv = ["ip", "netns", "exec", member.node.namespace, sys.executable, str(script), "web", *own]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def drained_and_cut(both: Pair) -> None:
    """The same, and streams are ended a moment before."""
    drained(both, "--cut")


def agent_killed(both: Pair) -> None:
    """Kill all of haagent with SIGKILL; HAProxy and the node live."""
    agent = both.members["web-a"].agent
    assert agent is not None
    agent.kill()


def haproxy_killed(both: Pair) -> None:
    """Kill HAProxy with SIGKILL; haagent notices."""
    haproxy = both.members["web-a"].haproxy
    assert haproxy is not None
    haproxy.kill()


def power_lost(both: Pair) -> None:
    """Lose everything from and to the node at once, as when its power fails: its links stay up, so it lets go of nothing."""
    both.silence.inject()


STANDS_BACK = 4.5  # seconds: a node that handed over leaves the claim to others for two leases
# Otherwise web-a, which is the better node, would take the address back while the clients are watched.
STAY = {"    advert_int 1\n": "    advert_int 1\n    nopreempt\n"}
HANDOVERS: dict[str, Handover] = {
    "switchover": switchover,
    "drain.py": drained,
    "drain.py --cut": drained_and_cut,
    "haagent killed": agent_killed,
    "HAProxy killed": haproxy_killed,
    "node without power": power_lost,
}


def heal(both: Pair) -> None:
    """Put everything right and wait until web-a has the address again."""
    both.silence.heal()
    for member in both.members.values():
        if member.haproxy is None or not member.haproxy.alive:
            member.start_haproxy()
        member.start_agent()
    owner = eventually(both.owner, 40, "an owner")
    if owner != "web-a":
        both.wait_backup("web-a")
        back = both.members[owner]
        eventually(lambda: back.cli("switchover", "web").returncode == 0, 60, "a switchover back")
        both.wait_owner("web-a")
        time.sleep(STANDS_BACK)
    eventually(lambda: both.get(f"http://{VIP4}/").startswith("app"), 20, "an answer by web-a")


def stuck_to(member: Member) -> str:
    """Return the server that this node's stick table has for the client, "" for none."""
    for line in member.runtime("show table app").splitlines():
        if "key=192.0.2.200 " in line:
            return line.partition("server_id=")[2].split()[0]
    return ""


def measure(both: Pair, handover: Handover, after: float = 6.5) -> tuple[dict[str, Life], bool]:
    """Move the address once; return what the clients saw, and whether the stick table's entry was there before and after."""
    with clients(both) as lives:
        eventually(lambda: stuck_to(both.members["web-a"]), 5, "an entry in the stick table")
        before = eventually(lambda: stuck_to(both.members["web-b"]), 5, "the entry at the peer")
        handover(both)
        both.wait_owner("web-b", patience=20)
        time.sleep(after)
    return lives, stuck_to(both.members["web-b"]) == before


@click.command()
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--only", type=click.Choice(tuple(HANDOVERS)), multiple=True, default=tuple(HANDOVERS))
@click.option(
    "--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers here, too."
)
def main(runs: int, only: tuple[str, ...], out: Path | None) -> None:
    """Move the address of the published pair in every way, several times, and print what clients saw: the median run."""
    require_lab_host()
    rows, numbers = [], []
    with pair("active-passive", "hha", STAY) as both:
        for name in only:
            found = []
            for _ in range(runs):
                heal(both)
                lives, kept = measure(both, HANDOVERS[name])
                found.append(lives)
                numbers.append(
                    {
                        "handover": name,
                        "stick table kept": kept,
                        "clients": [_plain(one) for one in lives.values()],
                    }
                )
                click.echo(
                    f"{name}: stick table kept: {kept}; " + "; ".join(_cell(one) for one in lives.values()),
                    err=True,
                )
            rows.append((name, *(_cell(_median([one[kind] for one in found])) for kind in CLIENTS)))
    with contextlib.suppress(OSError):
        click.echo(table(rows, ("how the address moves", *CLIENTS)))
    if out is not None:
        out.write_text(json.dumps(numbers, indent=2) + "\n")


def _median(lives: list[Life]) -> Life:
    return sorted(lives, key=lambda one: one.gap)[len(lives) // 2]


def _cell(life: Life) -> str:
    rounded = max(life.gap, MILLISECOND) // (10 * MILLISECOND) * (10 * MILLISECOND)
    lost = f"{life.failed} failed ({life.how})" if life.failed else "none failed"
    return f"{lost}, gap {in_words(rounded if rounded < SECOND else life.gap)}"


def _plain(life: Life) -> dict[str, object]:
    found = {key: value for key, value in asdict(life).items() if not key.startswith("_")}
    return {**found, "servers": sorted(life.servers)}


if __name__ == "__main__":
    with clean_exit("bench"):  # a SIGTERM must not leave the lab behind
        main()
