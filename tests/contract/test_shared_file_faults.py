"""Voting files that hang, tear, rot, shrink, vanish, turn read-only or come from elsewhere: real files, real helpers.

A hung server is a stopped helper process: what it was asked to write lands when it goes on, as with a hung server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.shared_file import SharedFileArbiter, open_arbiter
from arbiters.shared_file.checking import check, lines
from arbiters.shared_file.layout import Header, Presence, read_header
from arbiters.shared_file.making import CannotMake, make_all, plan, replace_file
from arbiters.shared_file.settings import host_identity
from arbiters.shared_file.voting_file import Job, VotingFile
from haagent.arbiter import ArbiterOptions, Conflict, Misconfigured, Record, Unavailable

TIMEOUT = 5.0
SHORT = 0.3
NODES = ("a", "b", "c")


class Files:
    """Three voting files (or ``count``) of one domain in one directory."""

    def __init__(self, directory: Path, count: int = 3) -> None:
        self.paths = [str(directory / f"voting-{number}") for number in range(count)]
        make_all(self.paths, plan(self.paths, "web", NODES, spare=0, registers=6))

    def header(self, number: int) -> Header:
        return read_header(Path(self.paths[number]).read_bytes()[:8192])[0]

    @asynccontextmanager
    async def opened(self, *nodes: str, ttl: float = 0.5) -> AsyncIterator[list[SharedFileArbiter]]:
        opened = []
        try:
            for node in nodes:
                arbiter = await open_arbiter(ArbiterOptions(tuple(self.paths), "web", node, ttl, {}))
                assert isinstance(arbiter, SharedFileArbiter)
                opened.append(arbiter)
            yield opened
        finally:
            for arbiter in opened:
                await arbiter.aclose()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def unique(**content: object) -> bytes:
    return json.dumps({"by": uuid4().hex, **content}).encode()


async def write(
    arbiter: SharedFileArbiter, name: str, expected: Record | None, timeout: float = TIMEOUT
) -> Record:
    value = unique()
    return Record(value, await arbiter.swap(name, value, expected, timeout=timeout))


async def settled(files: Sequence[VotingFile]) -> None:
    """Wait until no helper has anything under way, and all have just looked: they serve one job after the other."""
    jobs = [Job((0,), None, asyncio.get_running_loop().time() + TIMEOUT) for _ in files]
    for file, job in zip(files, jobs, strict=True):
        file.post(job)
    await asyncio.gather(*(job.done for job in jobs))


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come to pass"
        await asyncio.sleep(0.01)


def named(log: str, path: str, words: str) -> bool:
    """Tell whether a line of ``log`` names the voting file and says one of the ``|``-separated ``words``."""
    lines_of_it = [line for line in log.splitlines() if f"voting file {path}" in line]
    return any(word in line for line in lines_of_it for word in words.split("|"))


def flip(path: str, offset: int, size: int = 1) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        was = file.read(size)
        file.seek(offset)
        file.write(bytes(byte ^ 0x10 for byte in was))


@pytest.fixture
def stopped() -> Iterator[Callable[[int], None]]:
    """Stop processes by id; all go on at the end."""
    pids: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)

    yield stop
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


async def test_one_hung_file_costs_nothing_and_two_cost_the_timeout(files, stopped, caplog) -> None:
    async with files.opened("a") as (a,):
        record = await write(a, "claims/web", None)
        stopped(a.files.files[0].pid)
        for _ in range(3):
            begun = time.monotonic()
            record = await write(a, "claims/web", record, timeout=SHORT)
            assert time.monotonic() - begun < SHORT
        await until(lambda: f"voting file {files.paths[0]}: it does not answer" in caplog.text)
        stopped(a.files.files[1].pid)
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="voting-1: it does not answer"):
            await write(a, "claims/web", record, timeout=SHORT)
        assert time.monotonic() - begun < SHORT + 0.05


async def test_closing_does_not_wait_for_a_hung_file_and_the_next_run_cannot_use_it_until_it_is_free(
    files, stopped
) -> None:
    async with files.opened("a") as (a,):
        record = await write(a, "claims/web", None)
        pid = a.files.files[0].pid
        stopped(pid)
        with pytest.raises(Unavailable):
            for file in a.files.files[1:]:
                stopped(file.pid)
            await write(a, "claims/web", record, timeout=SHORT)
        begun = time.monotonic()
        await a.aclose()
        assert time.monotonic() - begun < 1.0
        for file_pid in (one for one in helpers_of(files.paths) if one != pid):
            os.kill(file_pid, signal.SIGCONT)
    async with files.opened("a") as (a,):
        value = await a.read("claims/web", timeout=TIMEOUT)
        assert value is not None
        await write(a, "claims/web", value)
        assert "has not let go of it yet" in a.files.files[0].trouble
        os.kill(pid, signal.SIGCONT)
        await until(lambda: not a.files.files[0].trouble)


def helpers_of(_paths: list[str]) -> list[int]:
    """Return the ids of this process's children that are stopped."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    ]


async def test_a_late_write_lands_but_its_success_never_counts(files, stopped) -> None:
    """A swap times out with two files hung; both go on, the write lands; nobody was told, and a takeover decides."""
    async with files.opened("a", "b") as (a, b):
        first = await write(a, "sessions/a", None)
        hung = [file.pid for file in a.files.files[:2]]
        for pid in hung:
            stopped(pid)
        renewal = unique(renewal=True)
        with pytest.raises(Unavailable):
            await a.swap("sessions/a", renewal, first, timeout=SHORT)
        ended = (
            await write(b, "sessions/a", first)
            if await b.read("sessions/a", timeout=TIMEOUT) == first
            else None
        )
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: not any(file.trouble for file in a.files.files))
        held = await a.read("sessions/a", timeout=TIMEOUT)
        if ended is None:
            assert held is not None
            assert held.value == renewal
        else:
            assert held == ended
            with pytest.raises(Conflict):
                await a.swap("sessions/a", renewal, first, timeout=TIMEOUT)


async def test_what_was_put_forward_before_a_timeout_is_never_forgotten(files, stopped, monkeypatch) -> None:
    """Phase 1 succeeds, then two files hang in phase 2: the value may be, or become, decided, so it binds the node."""
    async with files.opened("a", "b") as (a, b):
        first = await write(b, "sessions/a", await write(a, "sessions/a", None))
        ask = a.files.ask
        hung = [file.pid for file in a.files.files[:2]]
        renewal = unique(renewal=True)

        def hang_in_phase_two(registers, block, deadline):
            if block is not None and block.accepted is not None and block.accepted.value == renewal:
                for pid in hung:
                    stopped(pid)
            return ask(registers, block, deadline)

        monkeypatch.setattr(a.files, "ask", hang_in_phase_two)
        with pytest.raises(Unavailable):
            await a.swap("sessions/a", renewal, first, timeout=SHORT)
        mine = a._places[0].mine
        assert mine is not None
        assert mine.accepted is not None
        assert mine.accepted.value == renewal
        monkeypatch.setattr(a.files, "ask", ask)
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
        with pytest.raises(Conflict):
            await a.swap("sessions/a", unique(), first, timeout=TIMEOUT)
        held = await b.read("sessions/a", timeout=TIMEOUT)
        assert held is not None
        assert held.value == renewal


async def test_a_swap_of_unknown_outcome_that_was_decided_is_found_by_repeating_it(files, stopped) -> None:
    async with files.opened("a") as (a,):
        first = await write(a, "sessions/a", None)
        pids = [file.pid for file in a.files.files]
        for pid in pids:
            stopped(pid)
        value = unique()
        with pytest.raises(Unavailable):
            await a.swap("sessions/a", value, first, timeout=SHORT)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        version = await a.swap("sessions/a", value, first, timeout=TIMEOUT)
        assert await a.read("sessions/a", timeout=TIMEOUT) == Record(value, version)
        assert int(version) == int(first.version) + 1


async def test_a_helper_that_is_killed_is_replaced(files, caplog) -> None:
    async with files.opened("a", ttl=60.0) as (a,):
        first = await write(a, "sessions/a", None)
        await settled(a.files.files)
        killed = [file.pid for file in a.files.files]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        second = await write(a, "sessions/a", first)
        assert await a.read("sessions/a", timeout=TIMEOUT) == second
        await until(lambda: all(not file.trouble for file in a.files.files))
        assert {file.pid for file in a.files.files}.isdisjoint(killed)
    assert all(named(caplog.text, path, "has ended") for path in files.paths)


async def test_a_helper_that_is_killed_while_it_writes_is_not(files, stopped, caplog) -> None:
    """On a network file system what it was writing may still land, over what another process wrote since."""
    async with files.opened("a", ttl=60.0) as (a,):
        first = await write(a, "sessions/a", None)
        await settled(a.files.files)
        broken = a.files.files[0]
        stopped(broken.pid)
        second = await write(a, "sessions/a", first)
        os.kill(broken.pid, signal.SIGKILL)
        await until(lambda: "restart haagent" in broken.trouble)
        await write(a, "sessions/a", second)
        assert "restart haagent" in broken.trouble
    assert named(caplog.text, broken.path, "killed while it wrote")


def _truncate(files: Files, path: str) -> None:
    os.truncate(path, 100_000)


def _remove(files: Files, path: str) -> None:
    os.unlink(path)


def _zero_hole(files: Files, path: str) -> None:
    size = os.path.getsize(path)
    os.truncate(path, files.header(0).front)
    os.truncate(path, size)


def _flip_header(files: Files, path: str) -> None:
    flip(path, 700)


def _garbage(files: Files, path: str) -> None:
    Path(path).write_bytes(os.urandom(os.path.getsize(path)))


def _another_domain(files: Files, path: str) -> None:
    make_all(
        [path],
        [replace(plan([path], "other", NODES, registers=6, spare=0)[0], members=files.header(1).members)],
        force=True,
    )


def _another_init(files: Files, path: str) -> None:
    paths = [path, path + ".x", path + ".y"]
    make_all(paths, plan(paths, "web", NODES, registers=6, spare=0), force=True)


def _copy_of_another(files: Files, path: str) -> None:
    shutil.copy(files.paths[1], path)


FAULTS = {
    _truncate: "truncated",
    _remove: "No such file|removed",
    _zero_hole: "zeros|gone",
    _flip_header: "header is damaged",
    _garbage: "not a voting file",
    _another_domain: "belongs to domain 'other'|not well",
    _another_init: "another 'arbiter init'|another voting file",
    _copy_of_another: "it is a copy|another voting file",
}


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_with_one_file_spoilt_the_majority_goes_on_and_the_log_names_the_file(
    files, fault, running, caplog
) -> None:
    caplog.set_level(logging.INFO)
    async with files.opened("a", "b") as (a, b):
        record = await write(a, "claims/web", None)
        record = await write(b, "claims/web", record)
        if running:
            fault(files, files.paths[0])
            record = await write(a, "claims/web", record)
            await write(b, "claims/web", record)
    if not running:
        fault(files, files.paths[0])
    async with files.opened("a", "b") as (a, b):
        held = await a.read("claims/web", timeout=TIMEOUT)
        held = await write(b, "claims/web", held)
        await write(a, "claims/web", held)
        await until(lambda: named(caplog.text, files.paths[0], FAULTS[fault]))
    report = "\n".join(lines(check(files.paths)))
    assert "the arbiter works" in report
    assert "DOES NOT COUNT" in report or "does not count here" in report, report


async def test_a_flipped_bit_in_an_acknowledged_block_is_not_taken_for_an_older_state(files, caplog) -> None:
    """Two of three hold the newest claim; one of those rots. To pass over its block would be to forget."""
    async with files.opened("a") as (a,):
        record = await write(a, "claims/web", None)
        record = await write(a, "claims/web", record)
    header = files.header(0)
    for slot in (0, 1):
        flip(files.paths[0], header.block_at(0, 0, slot) + 40)
    async with files.opened("b") as (b,):
        assert await b.read("claims/web", timeout=TIMEOUT) == record
        await until(lambda: "the block of node a is damaged" in caplog.text)
        assert files.paths[0] in caplog.text
        Path(files.paths[1]).unlink()
        with pytest.raises(Unavailable, match="the block of node a is damaged"):
            await b.swap("claims/web", unique(), record, timeout=SHORT)


async def test_a_damaged_block_is_mended_by_its_owner(files) -> None:
    async with files.opened("a") as (a,):
        record = await write(a, "claims/web", None)
        for slot in (0, 1):
            flip(files.paths[0], files.header(0).block_at(0, 0, slot) + 40)
        assert any("register 0 does not count" in line for line in lines(check(files.paths)))
        for _ in range(4):
            record = await write(a, "claims/web", record)
            await asyncio.sleep(0.05)
    assert lines(check(files.paths))[-1] == "3 of 3 files count; 2 are needed: the arbiter works"
    assert check(files.paths).exit_code == 0


async def test_a_torn_write_is_passed_over_for_the_one_before_it(tmp_path) -> None:
    """With a single file, of which the last write was cut short between two sectors."""
    files = Files(tmp_path, 1)
    async with files.opened("a") as (a,):
        first = await write(a, "claims/web", None)
        before = Path(files.paths[0]).read_bytes()
        await write(a, "claims/web", first)
        now = Path(files.paths[0]).read_bytes()
    header = files.header(0)
    for slot in (0, 1):
        at = header.block_at(0, 0, slot)
        if before[at : at + 4096] != now[at : at + 4096]:
            with open(files.paths[0], "r+b") as file:  # sectors 0 and 1 are new, the others are not
                file.seek(at + 1024)
                file.write(before[at + 1024 : at + 4096])
    async with files.opened("b") as (b,):
        assert await b.read("claims/web", timeout=TIMEOUT) == first
        await write(b, "claims/web", first)


async def test_a_read_only_file_does_not_count(files, caplog) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    read_only = Path(files.paths[0])
    if subprocess.run(["mount", "--bind", read_only, read_only], check=False).returncode:
        pytest.skip("bind mounts do not work here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", read_only], check=True)
        async with files.opened("a") as (a,):
            await write(a, "claims/web", None)
            await until(lambda: "Read-only" in caplog.text)
            assert f"voting file {read_only}: Read-only file system" in caplog.text
        assert "Read-only file system" in lines(check(files.paths))[0]
    finally:
        subprocess.run(["umount", read_only], check=True)


async def test_settings_that_cannot_work_are_misconfigured(files) -> None:
    for endpoints, domain, node, text in (
        (files.paths, "other", "a", "belongs to domain 'web', not 'other'"),
        (files.paths, "web", "z", "made for the nodes a, b, c, not z"),
        (files.paths[:1], "web", "a", "one of 3 voting files; 1 are configured"),
        (files.paths[:2], "web", "a", "accepted: 1, 3 or 5"),
        (["relative"], "web", "a", "not an absolute path"),
    ):
        with pytest.raises(Misconfigured, match=text):
            await open_arbiter(ArbiterOptions(tuple(endpoints), domain, node, 2.0, {}))


async def test_a_second_host_with_the_same_node_name_ends_the_first(files, monkeypatch) -> None:
    async with files.opened("a") as (first,):
        record = await write(first, "claims/web", None)
        monkeypatch.setattr("arbiters.shared_file.settings.host_identity", lambda: "another boot/1")
        monkeypatch.setattr("arbiters.shared_file.voting_file.VotingFile._lock", lambda self: uuid4().hex)
        async with files.opened("a") as (second,):
            await until(lambda: not any(file.trouble for file in second.files.files))
            await asyncio.sleep(0.3)
            with pytest.raises(Misconfigured, match="node a also runs on"):
                await write(first, "claims/web", record)
            await write(second, "claims/web", record)


async def test_a_lost_file_is_replaced_while_everybody_writes(files) -> None:
    """The counter goes on during the replacement, and afterwards the new file is as good as the old one was."""
    async with files.opened("a", "b") as (a, b):
        await a.swap("claims/counter", unique(count=0), None, timeout=TIMEOUT)
        counting = [asyncio.create_task(count_up(arbiter, 30)) for arbiter in (a, b)]
        await asyncio.sleep(0.1)
        os.unlink(files.paths[2])
        await asyncio.sleep(0.1)
        await asyncio.to_thread(replace_file, files.paths[2], files.paths[:2])
        assert sum(await asyncio.gather(*counting)) == 60
        await until(lambda: not any(file.trouble for file in a.files.files + b.files.files))
        os.unlink(files.paths[0])
        record = await a.read("claims/counter", timeout=TIMEOUT)
        assert record is not None
        assert json.loads(record.value)["count"] == 60
        await write(b, "claims/counter", record)


async def test_the_predecessor_of_a_replaced_file_never_counts_again(files, tmp_path) -> None:
    """The old file comes back with what it knew. It says it is a member; the others know better."""
    async with files.opened("a") as (a,):
        record = await write(a, "claims/web", None)
    old = tmp_path / "old"
    os.rename(files.paths[2], old)
    replace_file(files.paths[2], files.paths[:2])
    os.rename(old, files.paths[2])
    assert "this is the predecessor" in "\n".join(lines(check(files.paths)))
    async with files.opened("b") as (b,):
        record = await write(b, "claims/web", record)
        os.unlink(files.paths[1])
        with pytest.raises(Unavailable):
            await b.swap("claims/web", unique(), record, timeout=SHORT)


def test_replace_refuses_what_would_forget(files) -> None:
    with pytest.raises(CannotMake, match="1 files to copy from; needed: 2"):
        replace_file(files.paths[2], files.paths[:1])
    with pytest.raises(CannotMake, match="is among the files to copy from"):
        replace_file(files.paths[2], files.paths[:2], index=0)
    with pytest.raises(CannotMake, match="--force"):
        make_all(files.paths, plan(files.paths, "web", NODES, spare=0))


async def count_up(arbiter: SharedFileArbiter, times: int) -> int:
    """Add one ``times`` times; a swap of unknown outcome is repeated until it is known."""
    for _ in range(times):
        while True:
            record = await arbiter.read("claims/counter", timeout=TIMEOUT)
            assert record is not None
            value = unique(count=json.loads(record.value)["count"] + 1)
            try:
                await arbiter.swap("claims/counter", value, record, timeout=TIMEOUT)
            except Conflict:
                continue
            break
    return times


def _count_in_process(paths: list[str], node: str, times: int) -> None:
    async def run() -> None:
        arbiter = await open_arbiter(ArbiterOptions(tuple(paths), "web", node, 2.0, {}))
        assert isinstance(arbiter, SharedFileArbiter)
        await count_up(arbiter, times)
        await arbiter.aclose()

    asyncio.run(run())


async def test_processes_count_together_and_lose_nothing(files) -> None:
    async with files.opened("a") as (a,):
        await a.swap("claims/counter", unique(count=0), None, timeout=TIMEOUT)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_count_in_process, args=(files.paths, node, 40)) for node in NODES]
    for worker in workers:
        worker.start()
    for worker in workers:
        await asyncio.to_thread(worker.join, 40)
        assert worker.exitcode == 0
    async with files.opened("a") as (a,):
        record = await a.read("claims/counter", timeout=TIMEOUT)
        assert record is not None
        assert json.loads(record.value)["count"] == 120
        assert record.version == "121"


async def test_a_holder_that_is_killed_is_taken_over_from_and_its_successor_goes_on(files) -> None:
    """kill -9 in the middle of renewals, again and again: no version is ever decided twice."""
    code = (
        "import asyncio, sys, json, uuid\n"
        "from arbiters.shared_file import open_arbiter\n"
        "from haagent.arbiter import ArbiterOptions, Record\n"
        "async def main():\n"
        "    a = await open_arbiter(ArbiterOptions(tuple(sys.argv[1:]), 'web', 'a', 2.0, {}))\n"
        "    r = await a.read('sessions/a', timeout=5)\n"
        "    while True:\n"
        "        v = json.dumps({'by': uuid.uuid4().hex}).encode()\n"
        "        r = Record(v, await a.swap('sessions/a', v, r, timeout=5))\n"
        "        print(r.version, r.value.decode(), flush=True)\n"
        "asyncio.run(main())\n"
    )
    decided: dict[int, str] = {}
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *files.paths], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines_read = [process.stdout.readline() for _ in range(7)]
        process.kill()
        lines_read += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        for version, value in (line.split(" ", 1) for line in lines_read if line.strip().endswith("}")):
            assert int(version) > max(decided, default=0)
            decided[int(version)] = value.strip()
        async with files.opened("b") as (b,):
            record = await b.read("sessions/a", timeout=TIMEOUT)
            assert record is not None
            assert int(record.version) >= max(decided)
            if int(record.version) == max(decided):
                assert record.value.decode() == decided[max(decided)]
            taken = await write(b, "sessions/a", record)
            decided[int(taken.version)] = taken.value.decode()


@pytest.fixture
def loop_devices(tmp_path: Path) -> Iterator[list[str]]:
    """Three block devices. Skips where loop devices cannot be made."""
    devices: list[str] = []
    try:
        for number in range(3):
            backing = tmp_path / f"disk-{number}"
            with backing.open("wb") as file:
                file.truncate(1 << 20)
            done = subprocess.run(
                ["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"losetup does not work here: {done.stderr.strip()}")
            devices.append(done.stdout.strip())
        yield devices
    finally:
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=False)


async def test_block_devices_serve_as_files_do(loop_devices) -> None:
    headers = plan(loop_devices, "web", NODES, spare=0, registers=6)
    with pytest.raises(CannotMake, match="--force"):
        make_all(loop_devices, headers)  # whatever is on a device, it is asked for twice
    make_all(loop_devices, headers, force=True)
    options = ArbiterOptions(tuple(loop_devices), "web", "a", 2.0, {})
    arbiter = await open_arbiter(options)
    assert isinstance(arbiter, SharedFileArbiter)
    try:
        record = await write(arbiter, "claims/web", None)
        await write(arbiter, "claims/web", record)
    finally:
        await arbiter.aclose()
    replace_file(loop_devices[0], loop_devices[1:])
    assert check(loop_devices).exit_code == 0


async def test_a_file_system_without_o_direct_is_used_and_said(caplog) -> None:
    directory = Path("/dev/shm") / f"haagent-{uuid4().hex[:8]}"
    directory.mkdir()
    try:
        files = Files(directory, 1)
        async with files.opened("a") as (a,):
            await write(a, "claims/web", None)
            direct = a.files.files[0]._channel.direct
        if direct:
            pytest.skip("this tmpfs takes O_DIRECT")
        assert "has no O_DIRECT" in caplog.text
    finally:
        shutil.rmtree(directory)


def test_the_identity_of_a_host_is_its_boot_and_network_namespace() -> None:
    boot, _, namespace = host_identity().partition("/")
    assert len(boot) == 36
    assert namespace.isdecimal()
    assert Presence("a", "1", host_identity(), "h").host == host_identity()
