"""Track scripts with real processes: schedule, timeouts, users, and above all: what cannot run has failed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from haagent.config.command_model import Command
from haagent.config.model import Configuration, Daemon, GlobalDefs, SyncGroup, VrrpInstance
from haagent.config.tracking_model import Track, VrrpScript
from haagent.core.events import TrackResult
from haagent.core.units import MILLISECOND
from haagent.effects.commands import prepare
from haagent.effects.processes import Child
from haagent.effects.scripts import TrackScripts, tracked_names

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes other users")
INTERVAL = 100 * MILLISECOND


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition, seconds: float = 5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def vrrp_script(*argv: str, name: str = "chk", timeout: int = 5_000 * MILLISECOND, **more) -> VrrpScript:
    user = more.pop("user", None)
    return VrrpScript(name, Command(argv, user=user), interval=INTERVAL, timeout=timeout, **more)


def configuration(*scripts: VrrpScript, track: tuple[str, ...] | None = None, **defaults) -> Configuration:
    names = track if track is not None else tuple(script.name for script in scripts)
    instance = VrrpInstance("VI_1", "eth0", 51, (), track_scripts=tuple(Track(name) for name in names))
    return Configuration(GlobalDefs(**defaults), (instance,), (), scripts, None, None, Daemon())


@pytest.fixture
async def run():
    """Start checks for some scripts; everything is closed, and seen to be gone, at the end."""
    running = []

    def start(*scripts, **more):
        results, told = [], []
        checks = TrackScripts(results.append, told.append)
        running.append(checks)
        checks.reconfigure(configuration(*scripts, **more))
        return checks, results, told

    yield start
    for checks in running:
        await checks.aclose()


def write(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def test_a_passing_and_a_failing_script(run):
    _, results, told = run(vrrp_script("/bin/true", name="good"), vrrp_script("/bin/false", name="bad"))
    await until(lambda: len(results) >= 6)
    assert {r.passed for r in results if r.tracker == "good"} == {True}
    assert {r.passed for r in results if r.tracker == "bad"} == {False}
    assert [(n.subject, n.what, n.detail) for n in told] == [
        ("bad", "track_script failed", "exited with status 1")
    ]


async def test_starts_are_one_interval_apart_and_do_not_drift(run, tmp_path):
    stamps = tmp_path / "stamps"
    text = f"#!/bin/sh\ncut -d' ' -f1 /proc/uptime >> {stamps}\nsleep 0.04\n"
    _, results, _ = run(vrrp_script(write(tmp_path / "s.sh", text)))
    began = time.monotonic()
    await until(lambda: len(results) >= 10)
    took = time.monotonic() - began
    assert 0.9 <= took <= 1.6  # nine intervals and one run


async def test_a_start_that_finds_the_previous_run_alive_is_skipped(run):
    _, results, _ = run(vrrp_script("/bin/sleep", "0.25"))
    began = time.monotonic()
    await until(lambda: len(results) >= 3)
    assert 0.8 <= time.monotonic() - began <= 1.3  # runs at 0, 0.3, 0.6
    assert all(r.passed for r in results)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: str(d / "missing"), "No such file"),
        (lambda d: write(d / "plain", "#!/bin/sh\n", 0o644), "no execute permission"),
        (lambda d: write(d / "orphan", "#!/no/such/interpreter\n"), "127|cannot be executed"),
        (lambda d: write(d / "garbage", "\x7fELF not really"), "12[67]|cannot be executed|exited"),
        (lambda d: "relative/path", "relative path"),
    ],
    ids=["missing", "not-executable", "no-interpreter", "garbage", "relative"],
)
async def test_what_cannot_run_has_failed_and_says_why_once(run, tmp_path, make, words):
    _, results, told = run(vrrp_script(make(tmp_path)))
    await until(lambda: len(results) >= 3)
    assert not any(r.passed for r in results)
    assert len(told) == 1
    assert re.search(words, told[0].detail)


async def test_a_missing_user_has_failed(run):
    _, results, told = run(vrrp_script("/bin/true", user="no-such-user"))
    await until(lambda: len(results) >= 2)
    assert not any(r.passed for r in results)
    assert "no-such-user" in told[0].detail


@root_only
async def test_an_insecure_script_has_failed_and_passes_once_it_is_repaired(run, tmp_path):
    path = write(tmp_path / "s.sh", "#!/bin/sh\nexit 0\n", 0o777)
    _, results, told = run(vrrp_script(path), script_user="root")
    await until(lambda: len(results) >= 2)
    assert not any(r.passed for r in results)
    assert "writable by everybody" in told[0].detail
    os.chmod(path, 0o755)
    await until(lambda: results[-1].passed)
    os.chmod(path, 0o777)
    await until(lambda: not results[-1].passed)


@root_only
async def test_a_script_runs_as_its_user_and_with_nothing_of_ours(run, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is closed to other users
        os.chmod(directory, 0o777)
        await look_around(run, Path(directory) / "out")


async def look_around(run, out: Path) -> None:
    secret = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(secret, True)
    looks = "id -un; id -Gn; pwd; ls /proc/self/fd | wc -l; env | grep -c NOTIFY; ps -o sid= -p $$; echo $$"
    script = f"({looks}) > {out}"
    _, results, _ = run(vrrp_script("/bin/sh", "-c", script, user="nobody"))
    await until(lambda: len(results) >= 1)
    os.close(secret)
    user, groups, cwd, fds, notify, session, pid = out.read_text().split()
    assert (user, cwd, notify) == ("nobody", "/", "0")
    assert groups == "nogroup"
    assert int(fds) <= 5  # 0, 1, 2 and the one ls opens
    assert session == pid


async def test_a_timeout_is_a_failure_whatever_the_script_exits_with(run, tmp_path):
    text = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.02; done\n"
    script = vrrp_script(write(tmp_path / "s.sh", text), timeout=150 * MILLISECOND)
    _, results, told = run(script)
    began = time.monotonic()
    await until(lambda: len(results) >= 1)
    assert time.monotonic() - began < 0.6
    await until(lambda: len(results) >= 3)
    assert not any(r.passed for r in results)
    assert [n.detail for n in told] == ["timed out after 0.15 s"]


async def test_a_script_that_ignores_term_is_killed_with_its_children(run, tmp_path):
    pids = tmp_path / "pids"
    text = f"#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $$ $! >> {pids}\nwait\nsleep 300\n"
    _, results, _ = run(vrrp_script(write(tmp_path / "s.sh", text), timeout=200 * MILLISECOND))
    await until(lambda: results)
    assert not results[0].passed
    leader, child = (int(pid) for pid in pids.read_text().split()[:2])
    assert alive(leader)
    await until(lambda: not alive(leader) and not alive(child), 4)


async def test_a_killed_script_has_failed(run, tmp_path):
    _, results, told = run(vrrp_script("/bin/sh", "-c", "kill -9 $$"))
    await until(lambda: results)
    assert not results[0].passed
    assert told[0].detail == "was killed by SIGKILL"


async def test_a_status_that_somebody_else_collected_is_a_failure(run, monkeypatch):
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then throws statuses away
    try:
        _, results, told = run(vrrp_script("/bin/true"))
        await until(lambda: results)
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert not results[0].passed
    assert (
        "lost" in told[0].detail or "No such process" in told[0].detail
    )  # gone before we could even watch it


async def test_no_shell_is_involved(run):
    _, results, _ = run(vrrp_script("/bin/sh", "-c", 'test "$#" = 3', "x", "&&", "|", "$HOME"))
    await until(lambda: results)
    assert results[0].passed


@pytest.mark.parametrize(("target", "passed"), [("/etc/passwd", True), ("/no/such/file", False)])
async def test_the_file_form_asks_whether_a_file_can_be_opened(run, target, passed):
    _, results, _ = run(vrrp_script(f"<{target}"))
    await until(lambda: results)
    assert results[0].passed is passed


async def test_only_tracked_scripts_run(run, tmp_path):
    marker = tmp_path / "ran"
    _, results, _ = run(
        vrrp_script("/bin/true"), vrrp_script("/usr/bin/touch", str(marker), name="idle"), track=("chk",)
    )
    await until(lambda: len(results) >= 3)
    assert not marker.exists()
    assert {r.tracker for r in results} == {"chk"}


async def test_a_tracked_name_without_a_script_has_failed(run):
    _, results, told = run(track=("ghost",))
    assert results == [TrackResult("ghost", passed=False)]
    assert told[0].subject == "ghost"


async def test_reconfigure_keeps_unchanged_runs_and_ends_the_others(run, tmp_path):
    def sleeper(name: str, seconds: str = "300") -> VrrpScript:
        command = f"echo $$ >> {tmp_path}/{name}; exec sleep {seconds}"
        return vrrp_script("/bin/sh", "-c", command, name=name)

    checks, _, _ = run(sleeper("kept"), sleeper("changed"), sleeper("gone"))
    names = ("kept", "changed", "gone")
    await until(lambda: all((tmp_path / n).exists() and (tmp_path / n).read_text() for n in names))
    pids = {n: int((tmp_path / n).read_text()) for n in names}
    checks.reconfigure(configuration(sleeper("kept"), sleeper("changed", "301")))
    await until(lambda: not alive(pids["changed"]) and not alive(pids["gone"]))
    await until(lambda: len((tmp_path / "changed").read_text().split()) == 2)
    assert alive(pids["kept"])
    assert (tmp_path / "kept").read_text().split() == [str(pids["kept"])]


async def test_closing_leaves_no_process_even_of_stubborn_groups(tmp_path):
    pids = tmp_path / "pids"
    text = f"#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $$ $! > {pids}\nwait\nsleep 300\n"
    script = vrrp_script(write(tmp_path / "s.sh", text))
    checks = TrackScripts(lambda _: None, lambda _: None)
    checks.reconfigure(configuration(script))
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    began = time.monotonic()
    await checks.aclose()
    assert time.monotonic() - began < 2
    assert not any(alive(int(pid)) for pid in pids.read_text().split())
    await checks.aclose()


def test_a_script_dies_with_the_agent_that_was_killed(tmp_path):
    pid_file = tmp_path / "pid"
    program = f"""
import time
from haagent.config.command_model import Command
from haagent.config.model import GlobalDefs
from haagent.effects.commands import prepare
prepare(Command(("/bin/sh", "-c", "echo $$ > {pid_file}; exec sleep 300")), GlobalDefs()).start()
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as agent:
        try:
            for _ in range(500):
                if pid_file.exists() and pid_file.read_text():
                    break
                time.sleep(0.01)
            script = int(pid_file.read_text())
            assert alive(script)
        finally:
            agent.kill()
    for _ in range(200):
        if not alive(script):
            break
        time.sleep(0.01)
    assert not alive(script)


async def test_a_name_server_that_hangs_is_a_failure_at_every_interval_and_keeps_one_thread(run, monkeypatch):
    answered, asked = threading.Event(), []

    def hang(*arguments):
        asked.append(arguments)
        answered.wait(10)
        return prepare(*arguments)

    monkeypatch.setattr("haagent.effects.scripts.prepare", hang)
    _, results, told = run(vrrp_script("/bin/true", timeout=50 * MILLISECOND))
    await until(lambda: len(results) >= 4)
    assert not any(r.passed for r in results)
    assert len(asked) == 1
    assert "hangs" in told[0].detail
    answered.set()
    await until(lambda: results[-1].passed)


async def test_a_process_that_sigkill_does_not_end_fails_at_every_interval(run, monkeypatch):
    stuck, exited = [True], Child.exited

    async def in_uninterruptible_sleep(
        child, within
    ):  # nothing here can put a process into that state for real
        if not stuck:
            return await exited(child, within)
        await asyncio.sleep(0.05)
        return False

    monkeypatch.setattr(Child, "exited", in_uninterruptible_sleep)
    _, results, told = run(vrrp_script("/bin/true"))
    await until(lambda: len(results) >= 5)
    assert not any(r.passed for r in results)
    assert [n.detail for n in told] == ["timed out after 5 s", "timed out and cannot be killed"]
    stuck.clear()
    await until(lambda: results[-1].passed)


async def test_running_out_of_file_descriptors_is_a_failure_and_passes(run):
    _, results, _ = run(vrrp_script("/bin/true"))
    await until(lambda: results and results[-1].passed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    hogs = []
    try:
        while len(hogs) < 4096:
            try:
                hogs.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        await until(lambda: not results[-1].passed)
    finally:
        for hog in hogs:
            os.close(hog)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: results[-1].passed)


@root_only
@pytest.mark.parametrize("user", ["nobody", "root"])
async def test_without_setpriv_scripts_still_run_as_their_users(run, monkeypatch, user):
    monkeypatch.setattr("haagent.effects.processes._setpriv", lambda: None)
    words = f'test "$(id -un)" = {user} && test "$(ps -o sid= -p $$ | tr -d " ")" = $$'
    _, results, _ = run(vrrp_script("/bin/sh", "-c", words, user=user), vrrp_script("/bin/false", name="bad"))
    await until(lambda: len(results) >= 4)
    assert {(r.tracker, r.passed) for r in results} == {("chk", True), ("bad", False)}


def test_groups_track_scripts_too():
    plain = configuration(vrrp_script("/bin/true"), track=())
    assert tracked_names(plain) == frozenset()
    group = SyncGroup("VG", ("VI_1",), track_scripts=(Track("chk"),))
    assert tracked_names(dataclasses.replace(plain, groups=(group,))) == {"chk"}
