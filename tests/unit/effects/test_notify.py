"""Notify scripts with real processes: order, overlap, arguments, environment, hung ones."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from haagent.config.command_model import Command, Notify
from haagent.config.model import Configuration, Daemon, GlobalDefs, SyncGroup, VrrpInstance
from haagent.core.reports import LowerPriorityHeard, State, StateChanged, Stopped, TrackerChanged
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects import notify as module
from haagent.effects.notify import Notifier


async def until(condition, seconds: float = 5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def changed(new: State, instance: str = "VI_1", old: State = State.BACKUP, epoch: int = 7) -> StateChanged:
    return StateChanged(instance, old, new, 150, epoch, "advert timeout")


def configuration(*instances: tuple[str, Notify], groups: tuple[SyncGroup, ...] = ()) -> Configuration:
    made = tuple(VrrpInstance(name, "eth0", 51, (), notify=notify) for name, notify in instances)
    return Configuration(GlobalDefs(script_user=None), made, groups, (), None, None, Daemon())


@pytest.fixture
def log(tmp_path):
    """A file the commands write to, and a maker of commands that write a word and their arguments."""

    class Log:
        path = tmp_path / "log"

        def command(self, word: str, before: str = "", after: str = "") -> Command:
            script = f'{before} echo "{word} $*" >> {self.path}; {after}'
            return Command(("/bin/sh", "-c", script, "x"))

        def lines(self) -> list[str]:
            return [ln.strip() for ln in self.path.read_text().splitlines()] if self.path.exists() else []

    return Log()


@pytest.fixture
async def notifier():
    made = []

    def make(configuration, timeout=60 * SECOND):
        told = []
        made.append(Notifier(configuration, "n1", told.append, timeout))
        return made[-1], told

    yield make
    for each in made:
        await each.aclose(0)


async def test_specific_first_without_arguments_then_generic_with_four(notifier, log):
    notify = Notify(generic=log.command("generic"), master=log.command("master"), stop=log.command("stop"))
    reader, told = notifier(configuration(("VI_1", notify)))
    for report in (changed(State.MASTER), changed(State.BACKUP, old=State.MASTER), changed(State.STOP)):
        reader.read(report)
    await until(lambda: len(log.lines()) == 5)
    assert log.lines() == [
        "master",
        "generic INSTANCE VI_1 MASTER 150",
        "generic INSTANCE VI_1 BACKUP 150",
        "stop",
        "generic INSTANCE VI_1 STOP 150",
    ]
    assert told == []


async def test_init_and_other_reports_run_nothing(notifier, log):
    reader, _ = notifier(configuration(("VI_1", Notify(generic=log.command("generic")))))
    for report in (
        changed(State.INIT),
        TrackerChanged("chk", up=False),
        Stopped(),
        changed(State.MASTER, "other"),
    ):
        reader.read(report)
    reader.read(changed(State.FAULT))
    await until(log.lines)
    assert log.lines() == ["generic INSTANCE VI_1 FAULT 150"]


async def test_the_environment_carries_the_fencing_token(notifier, log):
    names = ("NODE", "INSTANCE", "STATE", "PREVIOUS_STATE", "PRIORITY", "EPOCH", "REASON")
    words = "|".join(f"$HAAGENT_{name}" for name in names)
    reader, _ = notifier(configuration(("VI_1", Notify(master=log.command(words)))))
    reader.read(changed(State.MASTER, epoch=42))
    await until(log.lines)
    assert log.lines() == ["n1|VI_1|MASTER|BACKUP|150|42|advert timeout"]


async def test_a_slow_command_delays_its_own_instance_only_and_order_is_kept(notifier, log):
    slow = Notify(master=log.command("slow-master", before="sleep 0.4;"), backup=log.command("slow-backup"))
    reader, _ = notifier(configuration(("VI_1", slow), ("VI_2", Notify(master=log.command("quick-master")))))
    began = time.monotonic()
    for report in (changed(State.MASTER), changed(State.BACKUP), changed(State.MASTER, "VI_2")):
        reader.read(report)
    assert time.monotonic() - began < 0.05
    await until(lambda: len(log.lines()) == 3)
    assert log.lines() == ["quick-master", "slow-master", "slow-backup"]


async def test_commands_of_one_instance_never_overlap(notifier, log):
    notify = Notify(generic=log.command("begin", after=f"sleep 0.03; echo end >> {log.path}"))
    reader, _ = notifier(configuration(("VI_1", notify)))
    for _ in range(4):
        reader.read(changed(State.MASTER))
        reader.read(changed(State.BACKUP))
    await until(lambda: len(log.lines()) == 16)
    assert [line.split()[0] for line in log.lines()] == ["begin", "end"] * 8


async def test_a_hung_command_is_ended_with_its_children_and_the_next_still_runs(notifier, log, tmp_path):
    pids = tmp_path / "pids"
    hung = Command(("/bin/sh", "-c", f"sleep 300 & echo $$ $! > {pids}; wait"))
    notify = Notify(master=hung, backup=log.command("backup"))
    reader, told = notifier(configuration(("VI_1", notify)), 300 * MILLISECOND)
    reader.read(changed(State.MASTER))
    reader.read(changed(State.BACKUP))
    await until(log.lines)
    assert [(n.subject, n.what) for n in told] == [("VI_1", "notify MASTER failed")]
    assert "ended after 0.3 s" in told[0].detail
    await until(lambda: not any(_alive(int(pid)) for pid in pids.read_text().split()))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_every_queued_state_is_delivered_in_order(notifier, log):
    notify = Notify(generic=log.command("", before="sleep 0.005;"))
    reader, told = notifier(configuration(("VI_1", notify)))
    states = [State.MASTER, State.BACKUP, State.FAULT] * 8
    for state in states:
        reader.read(changed(state))
    await until(lambda: len(log.lines()) == len(states))
    assert [line.split()[2] for line in log.lines()] == [str(state) for state in states]
    assert told == []


async def test_a_full_queue_drops_the_oldest_and_says_so_but_never_the_newest(notifier, log, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    notify = Notify(generic=log.command("", before="sleep 0.1;"))
    reader, told = notifier(configuration(("VI_1", notify)))
    reader.read(changed(State.MASTER))
    await asyncio.sleep(0.02)  # now it runs and is no longer waiting
    for state in (State.FAULT, State.BACKUP, State.MASTER, State.BACKUP, State.MASTER):
        reader.read(changed(state))
    await until(lambda: len(log.lines()) == 4)
    assert [line.split()[2] for line in log.lines()] == ["MASTER", "MASTER", "BACKUP", "MASTER"]
    assert [n.detail for n in told] == [
        "more than 3 notifications wait; dropped FAULT",
        "more than 3 notifications wait; dropped BACKUP",
    ]


async def test_lower_priority_adverts_wait_at_most_once_and_skip_the_generic_command(notifier, log):
    notify = Notify(master_rx_lower_pri=log.command("lower", before="sleep 0.1;"), generic=log.command("g"))
    reader, _ = notifier(configuration(("VI_1", notify)))
    for _ in range(50):
        reader.read(LowerPriorityHeard("VI_1", "192.0.2.2", 90))
    await asyncio.sleep(0.02)
    reader.read(LowerPriorityHeard("VI_1", "192.0.2.2", 90))
    reader.read(changed(State.MASTER))
    await until(lambda: len(log.lines()) == 3)
    assert log.lines() == ["lower", "lower", "g INSTANCE VI_1 MASTER 150"]


async def test_a_group_is_notified_of_its_own_reports(notifier, log):
    group = SyncGroup("VG", ("VI_1", "VI_2"), notify=Notify(generic=log.command("g")))
    reader, _ = notifier(configuration(("VI_1", Notify()), ("VI_2", Notify()), groups=(group,)))
    reader.read(changed(State.MASTER, "VI_1"))
    await asyncio.sleep(0.05)
    assert log.lines() == []
    for state in (State.MASTER, State.FAULT):
        reader.read(StateChanged("VG", State.BACKUP, state, 0, 1, "reason", group=True))
    await until(lambda: len(log.lines()) == 2)
    assert log.lines() == ["g GROUP VG MASTER 0", "g GROUP VG FAULT 0"]


async def test_an_instance_that_a_reload_removed_is_notified_as_deleted(notifier, log):
    notify = Notify(deleted=log.command("deleted"), generic=log.command("g"))
    reader, _ = notifier(configuration(("VI_1", notify), ("VI_2", notify)))
    reader.read(changed(State.BACKUP))
    await until(log.lines)
    reader.reconfigure(configuration(("VI_2", notify)))
    await until(lambda: len(log.lines()) == 3)
    assert log.lines()[1:] == ["deleted", "g INSTANCE VI_1 DELETED 150"]


async def test_what_cannot_run_or_fails_is_told_and_the_rest_goes_on(notifier, log):
    notify = Notify(
        master=Command(("/no/such/file",)),
        backup=Command(("/bin/sh", "-c", "exit 3")),
        generic=log.command("g"),
    )
    reader, told = notifier(configuration(("VI_1", notify)))
    reader.read(changed(State.MASTER))
    reader.read(changed(State.BACKUP))
    await until(lambda: len(log.lines()) == 2)
    assert [n.what for n in told] == ["notify MASTER failed", "notify BACKUP failed"]
    assert "No such file" in told[0].detail
    assert "exited with status 3" in told[1].detail


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: checks what root may run")
async def test_an_insecure_notify_script_does_not_run(notifier, tmp_path):
    script = tmp_path / "n.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o777)
    insecure = Notify(master=Command((str(script),), user="root"))
    reader, told = notifier(configuration(("VI_1", insecure)))
    reader.read(changed(State.MASTER))
    await until(lambda: told)
    assert "writable by everybody" in told[0].detail
    assert not (tmp_path / "ran").exists()


async def test_closing_lets_notify_stop_finish_and_then_ends_what_hangs(log, tmp_path):
    notify = Notify(stop=log.command("stop", before="sleep 0.2;"), master=Command(("/bin/sleep", "300")))
    reader = Notifier(configuration(("VI_1", notify), ("VI_2", notify)), "n1", lambda _: None)
    reader.read(changed(State.STOP))
    reader.read(changed(State.MASTER, "VI_2"))
    began = time.monotonic()
    await reader.aclose(SECOND)
    assert log.lines() == ["stop"]
    assert 0.9 <= time.monotonic() - began < 2.5
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]
