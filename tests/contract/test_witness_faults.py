"""What a witness and its clients do when it is killed, stopped, restarted, cut off, forgets, goes back, or is lied to."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.quorum import open_arbiter as open_quorum
from arbiters.witness import open_arbiter
from haagent.arbiter import Arbiter, ArbiterOptions, Conflict, Misconfigured, Record, Unavailable
from haagent.conformance.relay import Relay
from haagent.lab.members import Site
from haagent.lab.servers import make_certificates
from haagent.lab.witness import Witnesses, WitnessMember
from haagent.testing.contract import LATENESS, TIMEOUT, collect, hint, unique, write
from haagent.witness.server import MOST_STRANGERS
from haagent.witness.store import MOST_REGISTERS, EraseOf, Held, Store, StoreError, SwapOf, show

WEB = "claims/web"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Witnesses]:
    with Witnesses(tmp_path / "witness") as one:
        yield one


@pytest.fixture
def member(servers: Witnesses) -> WitnessMember:
    return servers.members[0]


@asynccontextmanager
async def opened(
    servers: Witnesses, endpoint: str = "", domain: str = "", **words: str
) -> AsyncIterator[Arbiter]:
    settings = {**servers.settings, **words}
    domain = domain or f"faults-{uuid4().hex[:8]}"
    arbiter = await open_arbiter(
        ArbiterOptions((endpoint or servers.endpoints[0],), domain, "a", 0.5, settings)
    )
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


async def in_thread(action, *arguments):
    return await asyncio.to_thread(action, *arguments)


async def first_success(arbiter: Arbiter, within: float) -> Record:
    """Swap until it succeeds; on the way it may be unavailable, or meet an earlier swap that came late."""
    until = time.monotonic() + within
    while True:
        with suppress(Unavailable, Conflict):
            record = await arbiter.read(WEB, timeout=0.5)
            value = unique()
            return Record(value, await arbiter.swap(WEB, value, record, timeout=0.5))
        assert time.monotonic() < until, f"no success within {within} s"
        await asyncio.sleep(0.02)


async def test_what_was_acknowledged_survives_a_kill(servers: Witnesses, member: WitnessMember) -> None:
    async with opened(servers) as arbiter:
        record = await write(arbiter, WEB, None)
        for _ in range(20):
            record = await write(arbiter, WEB, record)
        servers.kill(member)
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="connection"):
            await arbiter.swap(WEB, unique(), record, timeout=TIMEOUT)
        assert time.monotonic() - begun < 1.0, "a witness that is not there is told at once"
        await in_thread(servers.revive)
        assert await arbiter.read(WEB, timeout=TIMEOUT) == record
        await write(arbiter, WEB, record)


async def test_stopped_witness_costs_each_call_its_timeout_and_goes_on(
    servers: Witnesses, member: WitnessMember
) -> None:
    async with opened(servers) as arbiter:
        record = await write(arbiter, WEB, None)
        servers.freeze(member)
        try:
            for timeout in (0.05, 0.25, 0.25, 1.0):
                begun = time.monotonic()
                with pytest.raises(Unavailable, match="no answer within"):
                    await arbiter.swap(WEB, unique(), record, timeout=timeout)
                assert time.monotonic() - begun < timeout + LATENESS
        finally:
            servers.thaw(member)
        await first_success(arbiter, within=5.0)


async def test_black_hole_costs_one_call(servers: Witnesses) -> None:
    async with Relay(servers.endpoints[0]) as relay, opened(servers, relay.endpoint) as arbiter:
        record = await write(arbiter, WEB, None)
        relay.swallow()
        with pytest.raises(Unavailable):
            await arbiter.swap(WEB, unique(), record, timeout=0.5)
        await arbiter.swap(WEB, unique(), record, timeout=TIMEOUT)


async def test_wrong_key_is_misconfigured_and_said_by_both(
    servers: Witnesses, member: WitnessMember, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    other.write_text(secrets.token_hex(32))
    async with opened(servers, key_file=str(other)) as stranger:
        for _ in range(3):
            with pytest.raises(Misconfigured, match="another key than key_file"):
                await stranger.read(WEB, timeout=TIMEOUT)
    async with opened(servers) as arbiter:
        await write(arbiter, WEB, None)


async def test_something_else_is_misconfigured(servers: Witnesses) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
        await writer.drain()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    endpoint = "{}:{}".format(*server.sockets[0].getsockname())
    async with server, opened(servers, endpoint) as arbiter:
        with pytest.raises(Misconfigured, match="not a witness"):
            await arbiter.read(WEB, timeout=TIMEOUT)


@pytest.mark.parametrize(
    ("words", "endpoints", "complaint"),
    [
        ({}, ("a:1",), "no key_file"),
        ({"key_file": "/nowhere"}, ("a:1",), "cannot read key_file"),
        ({"key_file": "short"}, ("a:1",), "has 5 characters"),
        ({"key_file": "good", "colour": "red"}, ("a:1",), "unknown setting 'colour'"),
        ({"key_file": "good"}, ("a:1", "b:1"), "two of them would be two arbiters"),
        ({"key_file": "good"}, ("a:b",), "accepted: host:port"),
        ({"key_file": "good", "ca": "/nowhere"}, ("a:1",), "ca /nowhere"),
    ],
)
async def test_settings_that_cannot_work_are_misconfigured(words, endpoints, complaint, tmp_path) -> None:
    (tmp_path / "short").write_text("short")
    (tmp_path / "good").write_text("g" * 32)
    if words.get("key_file") in {"short", "good"}:
        words = {**words, "key_file": str(tmp_path / words["key_file"])}
    with pytest.raises(Misconfigured, match=complaint):
        await open_arbiter(ArbiterOptions(endpoints, "web", "a", 1.0, words))


async def test_untrusted_certificate_is_misconfigured(tmp_path: Path) -> None:
    own = make_certificates(tmp_path / "own", ["127.0.0.1"])
    other = make_certificates(tmp_path / "other", ["127.0.0.1"])
    with Witnesses(tmp_path / "tls", certificates=own) as servers:
        async with opened(servers, ca=str(other.ca)) as arbiter:
            with pytest.raises(Misconfigured, match="certificate is not trusted"):
                await arbiter.read(WEB, timeout=TIMEOUT)


async def test_wiped_file_is_a_conflict_and_versions_do_not_repeat(servers: Witnesses) -> None:
    async with opened(servers) as arbiter:
        old = await write(arbiter, WEB, None)
        await in_thread(servers.wipe)
        assert await arbiter.read(WEB, timeout=TIMEOUT) is None
        with pytest.raises(Conflict):
            await arbiter.swap(WEB, unique(), old, timeout=TIMEOUT)
        new = await write(arbiter, WEB, None)
        assert new.version.partition("-")[0] == old.version.partition("-")[0] == "1"
        assert new.version != old.version


async def test_restored_file_is_a_conflict_and_versions_do_not_repeat(
    servers: Witnesses, member: WitnessMember, tmp_path: Path
) -> None:
    domain = "restored"
    async with opened(servers, domain=domain) as arbiter:
        saved = await write(arbiter, WEB, None)
        await in_thread(servers.save, member, tmp_path / "copy")
        await in_thread(servers.revive)
        lost = await write(arbiter, WEB, saved)
        await in_thread(servers.kill, member)
        servers.remove(member)
        shutil.copy(tmp_path / "copy", member.file)
        await in_thread(servers.revive)
        assert await arbiter.read(WEB, timeout=TIMEOUT) == saved
        with pytest.raises(Conflict):
            await arbiter.swap(WEB, unique(), lost, timeout=TIMEOUT)
        again = await write(arbiter, WEB, saved)
        assert again.version != lost.version
        assert again.version.partition("-")[0] == lost.version.partition("-")[0]


async def test_watch_notices_a_stopped_witness_and_goes_on_when_asked_again(
    servers: Witnesses, member: WitnessMember
) -> None:
    async with opened(servers) as arbiter:
        record = await write(arbiter, WEB, None)
        seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, WEB, record)
        servers.freeze(member)
        try:
            done, _ = await asyncio.wait((watching,), timeout=4.0)
            assert done, "a watch that hears nothing goes on for ever"
        finally:
            servers.thaw(member)
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, WEB, record)
        watching.cancel()
        await asyncio.wait((watching,))


async def test_a_quorum_with_a_witness_lives_without_it_and_heals_it(tmp_path: Path) -> None:
    with Witnesses(tmp_path / "three", [Site()] * 3) as servers:
        members = tuple(
            ("witness", ArbiterOptions((one,), "web", "a", 1.0, servers.settings))
            for one in servers.endpoints
        )
        arbiter = await open_quorum(ArbiterOptions((), "web", "a", 1.0, {}, members))
        try:
            record = await write(arbiter, WEB, None)
            lost = servers.members[2]
            servers.kill(lost)
            record = await write(arbiter, WEB, record)
            servers.remove(lost)
            await in_thread(servers.revive)
            record = await write(arbiter, WEB, record)
            until = time.monotonic() + 10
            while not any(row.value.endswith(record.value) for row in show(lost.file)):
                assert time.monotonic() < until, "the member that forgot is not told"
                await asyncio.sleep(0.1)
        finally:
            await arbiter.aclose()


# -- who is no client


def connect(servers: Witnesses) -> socket.socket:
    host, _, port = servers.endpoints[0].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n" + bytes(64),
        b"HAW\x01" + bytes(32) + bytes(32),  # a greeting, and a proof of nothing
        b"HAW\x07" + bytes(64),
        b"HAW\x01" + bytes(31),
        bytes(200_000),
    ],
)
async def test_nonsense_ends_the_connection_and_nothing_else(servers: Witnesses, nonsense: bytes) -> None:
    def speak() -> bytes:
        with connect(servers) as stranger, suppress(ConnectionError):
            stranger.sendall(nonsense)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(4096):
                pass
        return b""

    assert await in_thread(speak) == b""
    async with opened(servers) as arbiter:
        await write(arbiter, WEB, None)


async def test_strangers_that_wait_do_not_keep_clients_out(servers: Witnesses) -> None:
    crowd = [connect(servers) for _ in range(3 * MOST_STRANGERS)]
    try:
        async with opened(servers) as arbiter:
            await write(arbiter, WEB, None)
        await asyncio.sleep(0.2)
        gone = 0
        for one in crowd:
            one.settimeout(0.01)
            with suppress(TimeoutError, ConnectionError):
                gone += one.recv(1) == b""
                continue
        assert len(os.listdir(f"/proc/{servers.members[0].pid}/fd")) < 2 * MOST_STRANGERS
    finally:
        for one in crowd:
            one.close()


async def test_a_changed_or_repeated_frame_ends_the_connection(servers: Witnesses) -> None:
    """Who sits on the wire can end connections, and nothing else."""
    for meddle in (lambda data: data + data, lambda data: data[:-3] + bytes((data[-3] ^ 1,)) + data[-2:]):
        host, _, port = servers.endpoints[0].rpartition(":")
        frames = 0

        async def accept(reader, writer, meddle=meddle, host=host, port=port) -> None:
            nonlocal frames
            answers, there = await asyncio.open_connection(host, int(port))

            async def back() -> None:
                while data := await answers.read(65536):
                    writer.write(data)
                writer.close()

            returning = asyncio.create_task(back())
            there.write(await reader.readexactly(36 + 32))  # greeting and proof, as they are
            while head := await reader.readexactly(36):
                frames += 1
                frame = head + await reader.readexactly(int.from_bytes(head[:4], "big"))
                there.write(meddle(frame) if frames > 1 else frame)
            await returning

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            async with opened(servers, "{}:{}".format(*server.sockets[0].getsockname())) as arbiter:
                for _ in range(2):  # the first may still be answered, the copy ends the connection
                    with suppress(Unavailable):
                        await arbiter.swap(WEB, unique(), None, timeout=2.0)
                        await arbiter.read(WEB, timeout=2.0)
                        continue
                    break
                else:
                    raise AssertionError("a meddled stream went on")
        finally:
            server.close()


async def test_a_client_that_takes_no_answers_is_bounded(servers: Witnesses, member: WitnessMember) -> None:
    from haagent.witness.keys import read_key
    from haagent.witness.wire import Request, greet

    key, _ = read_key(str(servers.key_file), "test")
    reader, writer = await asyncio.open_connection(*connect_address(servers))
    channel = await greet(reader, writer, key)
    channel.send(Request(1, "open", "greedy/a").encode())
    channel.send(Request(2, "swap", WEB, unique(text="x" * 10_000), None).encode())
    reader._transport.pause_reading()  # takes nothing any more
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(3.0):
            for number in range(3, 20_000):
                channel.send(Request(number, "read", WEB).encode())
                await writer.drain()
    resident = int(Path(f"/proc/{member.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 120 << 20, f"{resident >> 20} MiB"
    async with opened(servers) as arbiter:
        await write(arbiter, WEB, None)
    writer.transport.abort()


def connect_address(servers: Witnesses) -> tuple[str, int]:
    host, _, port = servers.endpoints[0].rpartition(":")
    return host, int(port)


# -- the file


def test_file_in_use_is_refused(servers: Witnesses, member: WitnessMember) -> None:
    with pytest.raises(StoreError, match="another witness serves this file"):
        Store(member.file)


def test_something_else_is_not_taken_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, but long enough to be looked at as one\n" * 40)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path / "text")
    subprocess.run(
        [
            "python3",
            "-c",
            f"import sqlite3; sqlite3.connect('{tmp_path}/other').execute('create table t (x)')",
        ],
        check=True,
    )
    with pytest.raises(StoreError, match="not a file of a witness"):
        Store(tmp_path / "other")


def test_registers_are_bounded_and_erasing_gives_room(tmp_path: Path) -> None:
    store = Store(tmp_path / "registers")
    try:
        names = [SwapOf("web", f"claims/{n}", unique(), None) for n in range(MOST_REGISTERS + 1)]
        results = store.apply(names)
        assert all(isinstance(one, Held) for one in results[:-1])
        assert "which is the most" in str(results[-1])
        store.apply([EraseOf("web")])
        assert isinstance(store.apply([SwapOf("web", WEB, unique(), None)])[0], Held)
    finally:
        store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
async def test_full_disk_is_unavailable_and_passes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "haagent-test", disk], check=True)
    try:
        with Witnesses(disk / "w") as servers:
            async with opened(servers) as arbiter:
                record = await write(arbiter, WEB, None)
                ballast = disk / "ballast"
                with suppress(OSError), open(ballast, "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                with pytest.raises(Unavailable, match="full"):
                    for _ in range(50):  # what the log has room for still goes
                        record = await write(arbiter, WEB, record)
                assert await arbiter.read(WEB, timeout=TIMEOUT) == record
                ballast.unlink()
                await write(arbiter, WEB, record)
    finally:
        subprocess.run(["umount", disk], check=True)


# -- the process


async def test_show_prints_what_a_running_witness_holds(servers: Witnesses, member: WitnessMember) -> None:
    async with opened(servers, domain="shown") as arbiter:
        record = await write(arbiter, WEB, None)
    command = (*servers.command(member)[:4], "--file", str(member.file), "--show")
    done = await in_thread(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    assert record.version in done.stdout
    assert "shown" in done.stdout


def test_every_address_means_both_families(servers: Witnesses, member: WitnessMember, tmp_path: Path) -> None:
    command = [*servers.command(member)[:4], "--file", str(tmp_path / "new")]
    command += ["--key-file", str(servers.key_file), "--listen", "[::]:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = int(process.stderr.readline().split(" port ")[1].split(";")[0])
            for host in ("127.0.0.1", "::1"):
                socket.create_connection((host, port), timeout=5).close()
        finally:
            process.terminate()


async def test_term_ends_it_in_order_while_clients_are_connected(
    servers: Witnesses, member: WitnessMember
) -> None:
    async with opened(servers) as arbiter:
        await write(arbiter, WEB, None)
        assert await in_thread(servers.end, member) == 0
    assert "ended; 1 swaps" in servers.tail(member)


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--listen", "127.0.0.1:0"], 78, "no --key-file"),
        (["--key-file", "KEY", "--listen", "nonsense"], 78, "HOST:PORT"),
        (["--key-file", "KEY", "--listen", "no.such.host.invalid:1"], 69, "cannot listen"),
        (["--key-file", "KEY", "--tls-cert", "x"], 78, "go together"),
        (["--key-file", "KEY", "--file", "/nowhere/at/all"], 74, "/nowhere/at/all"),
    ],
)
def test_options_that_cannot_work_are_refused(words, status, complaint, servers, member, tmp_path) -> None:
    words = [str(servers.key_file) if word == "KEY" else word for word in words]
    command = [*servers.command(member)[:4], "--file", str(tmp_path / "new"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == status
    assert complaint in done.stderr


# -- a black hole made by the kernel


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
async def test_packets_dropped_in_the_kernel_cost_each_call_its_timeout(tmp_path: Path) -> None:
    name = f"hwt{os.getpid()}"
    inside = ("ip", "netns", "exec", name)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        link = ("ip", "link", "add", f"{name}h", "type", "veth", "peer", "name", "uplink", "netns", name)
        subprocess.run(link, check=True)
        subprocess.run(["ip", "addr", "add", "198.18.77.1/30", "dev", f"{name}h"], check=True)
        subprocess.run(["ip", "link", "set", f"{name}h", "up"], check=True)
        for words in ("addr add 198.18.77.2/30 dev uplink", "link set uplink up", "link set lo up"):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        with Witnesses(tmp_path / "w", [Site("198.18.77.2", name)]) as servers:
            async with opened(servers) as arbiter:
                record = await write(arbiter, WEB, None)
                subprocess.run([*inside, "nft", "add table ip hole"], check=True)
                chain = "add chain ip hole input { type filter hook input priority 0; policy drop; }"
                subprocess.run([*inside, "nft", chain], check=True)
                for _ in range(3):
                    begun = time.monotonic()
                    with pytest.raises(Unavailable, match="no answer within"):
                        await arbiter.swap(WEB, unique(), record, timeout=0.25)
                    assert time.monotonic() - begun < 0.25 + LATENESS
                subprocess.run([*inside, "nft", "delete table ip hole"], check=True)
                await first_success(arbiter, within=2.0)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_signals_are_those_of_the_process_itself(servers: Witnesses, member: WitnessMember) -> None:
    """SIGINT, as from a terminal, is a clean end, too."""
    assert member.process is not None
    member.process.send_signal(signal.SIGINT)
    assert member.process.wait(timeout=10) == 0
    member.process = None
