"""What the supervisor decides when a worker has ended, and how it ends what a worker left."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from haagent.agent import orphans, privileges, supervisor
from haagent.agent.parameters import Run
from haagent.errors import EX_SOFTWARE, ConfigError, EffectError

FRESH = Run("a", "1f", "host")
RESUMED = Run("a", "1f", "host", resumed=True)


@pytest.mark.parametrize(
    ("status", "run", "final"),
    [
        (0, FRESH, True),
        (ConfigError.exit_code, FRESH, True),
        (ConfigError.exit_code, RESUMED, True),
        (EffectError.exit_code, FRESH, True),
        (EffectError.exit_code, RESUMED, False),
        (EX_SOFTWARE, FRESH, False),
        (-9, FRESH, False),
    ],
)
def test_what_is_refused_at_the_start_is_not_tried_again(status: int, run: Run, final: bool):
    assert supervisor._is_final(status, run) is final


def test_the_first_death_costs_no_pause_and_later_ones_ever_more_up_to_a_limit():
    pauses = [supervisor._pause(number) for number in range(60)]
    assert pauses[:4] == [0.0, 0.0, 0.05, 0.1]
    assert pauses == sorted(pauses)
    assert pauses[-1] == supervisor.LONGEST_PAUSE


def in_a_process_of_its_own(code: str) -> str:
    """Run ``code`` where becoming a subreaper and killing every child can do no harm."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


def test_orphans_are_adopted_and_ended_with_theirs():
    said = in_a_process_of_its_own("""
        import subprocess, time
        from haagent.agent import orphans
        orphans.adopt()
        subprocess.run(["sh", "-c", "sleep 300 & (sleep 301 & sleep 302) & true"], check=True)
        time.sleep(0.2)
        print(len(orphans.children()), orphans.kill() >= 3, len(orphans.children()))
    """)
    before, killed, after = said.split()
    assert int(before) >= 2
    assert (killed, after) == ("True", "0")


def test_a_process_that_ends_by_itself_is_left_alone():
    """What it was asked to write may still be under way."""
    said = in_a_process_of_its_own("""
        import asyncio, os
        from arbiters.shared_file.channel import Channel
        from haagent.agent import orphans
        async def main():
            channel = await Channel.start()
            script = await asyncio.create_subprocess_exec("sleep", "300")
            print(orphans.kill(), orphans.children() == {channel.pid})
            await channel.aclose(5.0)
            print(orphans.children())
        asyncio.run(main())
    """)
    assert said.split() == ["1", "True", "set()"]


def test_without_adopting_nothing_is_ours_to_end():
    said = in_a_process_of_its_own("""
        import subprocess
        from haagent.agent import orphans
        subprocess.run(["sh", "-c", "sleep 0.5 & true"], check=True)
        print(orphans.children(), orphans.kill())
    """)
    assert said.split() == ["set()", "0"]


def test_reaping_gives_every_ended_child_its_status():
    said = in_a_process_of_its_own("""
        import os, time
        from haagent.agent import orphans
        first, second = os.fork() or os._exit(3), os.fork() or os._exit(0)
        time.sleep(0.2)
        ended = orphans.reap()
        print(os.waitstatus_to_exitcode(ended[first]), os.waitstatus_to_exitcode(ended[second]), orphans.reap())
    """)
    assert said.split() == ["3", "0", "{}"]


@pytest.mark.parametrize(
    ("held", "missing"),
    [(1 << 12, ["CAP_NET_RAW"]), (1 << 13, ["CAP_NET_ADMIN"]), (0, ["CAP_NET_ADMIN", "CAP_NET_RAW"])],
)
def test_missing_capabilities_are_named(monkeypatch: pytest.MonkeyPatch, held: int, missing: list[str]):
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: held)
    with pytest.raises(EffectError) as caught:
        privileges.require()
    named = str(caught.value).partition(" missing;")[0]
    assert [name for name in ("CAP_NET_ADMIN", "CAP_NET_RAW") if name in named] == missing


def test_enough_capabilities_are_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: 1 << 12 | 1 << 13)
    privileges.require()


def test_a_worker_that_is_asked_to_reload_has_the_front_started_and_then_told():
    said = in_a_process_of_its_own("""
        import os, signal
        from haagent.agent import supervisor
        from haagent.agent.parameters import Run
        from haagent.agent.sources import Sources
        from haagent.config.model import Configuration, Daemon, GlobalDefs

        ready, told = os.pipe()

        def answer(*_):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
            os.write(told, b"started ")
            signal.sigwait([signal.SIGHUP])
            os.write(told, b"reloaded")
            return 0

        def work(_sources, _configuration, _run, reload_front):
            for expected in (b"started ", b"reloaded"):
                reload_front()
                assert os.read(ready, 8) == expected
                print(expected.decode(), end="", flush=True)
            return 0

        supervisor._answer, supervisor._work = answer, work
        nothing_to_listen_on = Configuration(GlobalDefs(), (), (), (), None, None, Daemon("a"))
        print(supervisor.Supervisor(Sources(()), nothing_to_listen_on, Run("a", "1f", "host")).supervise())
    """)
    assert said == "started reloaded0\n"


def started(file: Path, settings: str, instead: str) -> str:
    """Start an agent with ``settings`` as far as its supervisor, which does ``instead`` of its work; return what it printed."""
    file.write_text(f"haagent {{\n node a\n {settings}\n}}\n")
    return in_a_process_of_its_own(f"""
        import logging
        from contextlib import ExitStack
        from pathlib import Path
        from haagent.agent import supervisor
        from haagent.agent.sources import Sources

        class Instead:
            def __init__(self, sources, configuration, run):
                self.sources = sources
            def supervise(self):
                file, sources, handlers = Path({str(file)!r}), self.sources, logging.getLogger("haagent").handlers
                print({instead})
                return 0

        supervisor.Supervisor = Instead
        supervisor.privileges.require = lambda: None
        supervisor.node_lock.take = lambda node: ExitStack()
        supervisor.run_agent(Sources((Path({str(file)!r}),)))
    """).strip()


def test_an_agent_keeps_the_control_socket_it_started_with(tmp_path: Path):
    change = "file.write_text('haagent { control_socket /run/new.sock }')"
    instead = f"{change} and sources.load().daemon.control_socket"
    assert started(tmp_path / "c.conf", "control_socket /run/old.sock", instead) == "/run/old.sock"


@pytest.mark.parametrize(
    ("settings", "formatter"), [("", "JsonFormatter"), ("log_format human", "HumanFormatter")]
)
def test_a_form_of_the_log_that_is_named_wins(tmp_path: Path, settings: str, formatter: str):
    """A pipe gets JSON by itself."""
    assert started(tmp_path / "c.conf", settings, "type(handlers[0].formatter).__name__") == formatter


def test_children_are_pids_of_this_process():
    assert os.getpid() not in orphans.children()
