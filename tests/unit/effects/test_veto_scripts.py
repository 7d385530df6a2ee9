"""Veto scripts with real processes: what they are told, whose objection counts, hung ones."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from haagent.config.command_model import Command, VetoScript
from haagent.config.model import Configuration, Daemon, GlobalDefs, SyncGroup, VrrpInstance
from haagent.core.actions import AskVeto
from haagent.core.events import VetoAnswered
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.commands import prepare
from haagent.effects.veto_scripts import VetoScripts

QUESTION = AskVeto("VI_1", "takeover", "node2", 7, 150)


def shell(script: str, timeout: int = 5 * SECOND) -> VetoScript:
    return VetoScript(Command(("/bin/sh", "-c", script)), timeout, SECOND)


def configuration(
    vetoes: dict[str, VetoScript | None], group: VetoScript | None = None, name: str = ""
) -> Configuration:
    instances = tuple(VrrpInstance(one, "eth0", 51, (), veto=veto) for one, veto in vetoes.items())
    groups = (SyncGroup(name, tuple(vetoes), veto=group),) if name else ()
    return Configuration(GlobalDefs(), instances, groups, (), None, None, Daemon())


@pytest.fixture
async def asked():
    """Ask a configuration's scripts; return the answer."""
    made = []

    async def ask(configuration: Configuration, question: AskVeto = QUESTION) -> VetoAnswered:
        answers: asyncio.Queue[VetoAnswered] = asyncio.Queue()
        made.append(VetoScripts(configuration, "n1", answers.put_nowait))
        made[-1].ask(question)
        return await asyncio.wait_for(answers.get(), 10)

    yield ask
    for one in made:
        await one.aclose()


async def test_status_0_is_a_permission_and_the_script_knows_what_it_is_about(asked, tmp_path) -> None:
    script = shell(f"env | grep ^HAAGENT_ | sort > {tmp_path}/env")
    assert await asked(configuration({"VI_1": script})) == VetoAnswered("VI_1", "")
    told = (tmp_path / "env").read_text().splitlines()
    assert [line for line in told if line.partition("=")[0] not in os.environ] == [
        "HAAGENT_EPOCH=7",
        "HAAGENT_HOLDER=node2",
        "HAAGENT_INSTANCE=VI_1",
        "HAAGENT_NODE=n1",
        "HAAGENT_PRIORITY=150",
        "HAAGENT_WHY=takeover",
    ]


async def test_any_other_status_is_a_veto_that_names_the_script(asked) -> None:
    answer = await asked(configuration({"VI_1": shell("exit 3")}))
    assert answer.veto == "vetoed by /bin/sh: exited with status 3"


async def test_a_script_that_cannot_run_is_a_veto(asked) -> None:
    missing = VetoScript(Command(("/does/not/exist",)), SECOND, SECOND)
    answer = await asked(configuration({"VI_1": missing}))
    assert answer.veto == "vetoed by /does/not/exist: /does: No such file or directory"


async def test_a_hung_script_is_ended_and_is_a_veto(asked) -> None:
    begun = time.monotonic()
    answer = await asked(configuration({"VI_1": shell("sleep 60", timeout=300 * MILLISECOND)}))
    assert answer.veto == "vetoed by /bin/sh: ended after 0.3 s"
    assert time.monotonic() - begun < 3


async def test_a_file_server_that_hangs_is_a_veto_at_every_question_and_keeps_one_thread(
    asked, monkeypatch
) -> None:
    answered, looked = threading.Event(), []

    def hang(*arguments):
        looked.append(arguments)
        answered.wait(10)
        return prepare(*arguments)

    monkeypatch.setattr("haagent.effects.one_command.prepare", hang)
    vetoed = configuration({"VI_1": shell("exit 0", 50 * MILLISECOND)})
    for _ in range(4):
        assert "hangs" in (await asked(vetoed)).veto
    assert len(looked) == 1
    answered.set()
    await asyncio.sleep(0.1)
    assert await asked(configuration({"VI_1": shell("exit 0")})) == VetoAnswered("VI_1", "")


async def test_a_group_is_asked_first_and_then_its_members_until_one_objects(asked, tmp_path) -> None:
    def script(word: str, status: int) -> VetoScript:
        return shell(f"echo {word} >> {tmp_path}/log; exit {status}")

    members = {"VI_1": script("one", 0), "VI_2": script("two", 1), "VI_3": script("three", 0)}
    question = AskVeto("VG", "free", "", 1, 100)
    answer = await asked(configuration(members, script("group", 0), "VG"), question)
    assert answer == VetoAnswered("VG", "vetoed by /bin/sh: exited with status 1")
    assert (tmp_path / "log").read_text().split() == ["group", "one", "two"]


async def test_without_a_script_it_may_claim(asked) -> None:
    assert await asked(configuration({"VI_1": None})) == VetoAnswered("VI_1", "")
