"""What people and programs see: ``haagent status`` and ``haagent arbiter``, against real sockets and files."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time

import click
import pytest
from click.testing import CliRunner

from haagent.cli.arbiter import arbiter
from haagent.cli.render import dead_lines, printable, register_lines, status_lines, table
from haagent.cli.status import status
from haagent.control.document import (
    ArbiterStatus,
    GateStatus,
    InstanceStatus,
    MasterHeard,
    PeerStatus,
    Status,
    TrackerStatus,
    read_boot_id,
)
from haagent.control.server import ControlServer
from haagent.control.snapshot import snapshot_path, socket_path, write_snapshot
from haagent.control.words import duration
from haagent.core.units import MILLISECOND, SECOND


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def document(now: int, **more) -> Status:
    vi_1 = InstanceStatus(
        "VI_1", "MASTER", "MASTER", "eth0", 51, 3, 150, 140, ("192.0.2.9/24",), claim="VI_1", epoch=7,
        holder="n1", reason="no advert for 3.4 s", since_boot_ns=now - 182 * SECOND,
    )  # fmt: skip
    heard = MasterHeard("192.0.2.2", 150, now - SECOND // 2)
    vi_2 = InstanceStatus(
        "VI_2", "BACKUP", "MASTER", "eth1", 52, 2, 100, 100, since_boot_ns=now - 5 * SECOND, master=heard
    )
    made = Status(
        "n1", 4711, "0.1.0", read_boot_id(), now - 3700 * SECOND, now, 5 * SECOND,
        arbiter=ArbiterStatus(
            "etcd", "live", lease_ns=2 * SECOND, deadline_boot_ns=now + 1600 * MILLISECOND,
            renewed_boot_ns=now - 400 * MILLISECOND, latency_last_ns=2 * MILLISECOND,
        ),
        gate=GateStatus("bpf", "stops within 1 ms", now + 1600 * MILLISECOND),
        instances=(vi_1, vi_2),
        trackers=(TrackerStatus("chk", "script", False, now - SECOND, "exited with status 1"),),
        peers=(PeerStatus("n2", "live", now, {"192.0.2.2": now}),),
        warnings=("weight is smaller than the gap",),
    )  # fmt: skip
    return dataclasses.replace(made, **more)


@pytest.fixture
def agent(tmp_path):
    """A control server that answers like an agent, in a thread of its own."""
    loop = asyncio.new_event_loop()
    registers = [{"name": "claims/VI_1", "version": "12", "value": {"holder": "n1\x1b[31m", "epoch": 7}}]

    async def give_status(arguments):
        return document(boottime()).to_json()

    async def give_registers(arguments):
        return {"registers": [*registers, {"name": "sessions/n2", "version": None, "value": None}]}

    server = ControlServer(
        socket_path("n1", str(tmp_path)), {"status": give_status, "arbiter": give_registers}
    )
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield str(tmp_path)
    asyncio.run_coroutine_threadsafe(server.aclose(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def invoke(command, *words: str):
    return CliRunner().invoke(command, words)


def test_a_living_agent_is_shown_and_exits_0(agent):
    result = invoke(status, "--directory", agent)
    assert result.exit_code == 0, result.output
    for words in (
        "n1  running, pid 4711, up 1h 1m",
        "etcd live: lease 2.0 s, ends in 1.",
        "open, closes in 1.",
    ):
        assert words in result.output
    lines = result.output.splitlines()
    row = next(line for line in lines if line.startswith("VI_1"))
    assert row.split() == [
        "VI_1",
        "MASTER",
        "eth0",
        "51",
        "v3",
        "140",
        "of",
        "150",
        "7",
        "n1",
        "3m",
        "2s",
        "192.0.2.9/24",
    ]
    assert "  because no advert for 3.4 s" in lines
    assert any("BACKUP (wants MASTER)" in line for line in lines)
    assert any("master is 192.0.2.2, priority 150, heard" in line for line in lines)
    assert "warning: weight is smaller than the gap" in lines


def test_json_is_the_document(agent):
    result = invoke(status, "n1", "--json", "--directory", agent)
    answer = json.loads(result.output)
    assert answer["running"] is True
    assert Status.from_json(answer["status"]).instances[0].epoch == 7


def test_a_dead_agent_is_said_to_be_dead_with_what_its_snapshot_proves(tmp_path):
    directory = str(tmp_path)
    write_snapshot(snapshot_path("n1", directory), document(boottime() - 60 * SECOND))
    result = invoke(status, "--directory", directory)
    assert result.exit_code == 3
    assert "haagent is not running" in result.output
    assert "last seen 1m 0s ago as MASTER (VI_1), BACKUP (VI_2)" in result.output
    assert "gate     closed, 52 s ago at the latest (bpf)" in result.output
    answer = json.loads(invoke(status, "--json", "--directory", directory).output)
    assert (answer["running"], answer["answering"]) == (False, False)
    assert answer["gate_closed_by_boot_ns"] < boottime()


def test_no_agent_and_no_snapshot(tmp_path):
    result = invoke(status, "--directory", str(tmp_path))
    assert (result.exit_code, "not running" in result.output) == (3, True)
    answer = json.loads(invoke(status, "--json", "--directory", str(tmp_path)).output)
    assert answer["status"] is None


def test_several_agents_need_a_name_and_a_broken_snapshot_is_no_crash(tmp_path):
    for name in ("n1", "n2"):
        (tmp_path / f"{name}.json").write_text("{")
    several = invoke(status, "--directory", str(tmp_path))
    assert several.exit_code == 69
    assert "n1, n2" in several.output
    broken = invoke(status, "n1", "--directory", str(tmp_path))
    assert broken.exit_code == 3
    assert "snapshot cannot be read" in broken.output


NOW = 10_000 * SECOND


def dead(now=NOW, boot=None, **more) -> str:
    last = document(NOW, **more)
    return "\n".join(dead_lines(last, now, boot or last.boot_id, "haagent is not running"))


def test_the_dead_are_described_by_what_is_certain():
    assert "gate     closes within 8.0 s (bpf)" in dead()
    assert "none in force: its addresses may still answer" in dead(gate=GateStatus("off"))
    assert "none in force" in dead(arbiter=ArbiterStatus())
    backup = InstanceStatus("VI_1", "BACKUP")
    assert "was not open when last seen" in dead(instances=(backup,))
    rebooted = dead(boot="another")
    assert "before this host was restarted" in rebooted
    assert "gate" not in rebooted


def test_what_is_not_safe_is_said_in_the_status_of_the_living():
    lines = "\n".join(status_lines(document(NOW, arbiter=ArbiterStatus(), gate=GateStatus("off")), NOW))
    assert "plain VRRP, two nodes that cannot hear each other are both MASTER" in lines
    assert "off: nothing stops traffic when the agent cannot" in lines
    late = "\n".join(status_lines(document(NOW), NOW + 3 * SECOND))
    assert "ended 1.4 s ago" in late
    assert "bpf closed" in late


@pytest.mark.parametrize(
    ("state", "colour"),
    [("live", "green"), ("idle", None), ("lapsed", "red"), ("unavailable", "red"), ("suspended: x", "red")],
)
def test_only_a_session_in_trouble_is_red(state, colour):
    shown = status_lines(document(NOW, arbiter=ArbiterStatus("etcd", state, lease_ns=SECOND)), NOW)
    assert f"arbiter  etcd {click.style(state, fg=colour)}: lease 1.0 s" in shown


def test_an_arbiter_that_does_not_answer_is_said_to_be_silent_since_when():
    arbiter = ArbiterStatus("etcd", "live", answered_boot_ns=NOW - 9 * SECOND, error="no route")
    assert "no route, last answer 9.0 s ago" in click.unstyle(
        "\n".join(status_lines(document(NOW, arbiter=arbiter), NOW))
    )


def test_columns_align_whatever_the_colours():
    lines = table([("A", "B", "C"), (click.style("long cell", fg="red"), "x", "y"), ("s", "xx", "y")])
    assert [click.unstyle(line) for line in lines] == [
        "A          B   C",
        "long cell  x   y",
        "s          xx  y",
    ]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0 s"),
        (850_000, "850 us"),
        (12_300_000, "12.3 ms"),
        (1_600_000_000, "1.6 s"),
        (59 * SECOND, "59 s"),
        (182 * SECOND, "3m 2s"),
        (15_120 * SECOND, "4h 12m"),
        (788_400 * SECOND, "9d 3h"),
        (-SECOND, "-1.0 s"),
    ],
)
def test_durations_read_like_durations(span, text):
    assert duration(span) == text


def test_text_of_other_nodes_cannot_steer_the_terminal():
    assert printable({"a": ["\x1b[2J", ("\n",)], "n": 1}) == {"a": ["\\x1b[2J", ["\\n"]], "n": 1}


def test_arbiter_show(agent):
    result = invoke(arbiter, "show", "--directory", agent)
    assert result.exit_code == 0
    assert "holder=n1\\x1b[31m epoch=7" in result.output
    assert "absent" in result.output
    assert json.loads(invoke(arbiter, "show", "--json", "--directory", agent).output)["registers"]
    assert register_lines({}) == ["no register has been seen yet"]


def test_arbiter_show_without_an_agent(tmp_path):
    result = invoke(arbiter, "show", "--directory", str(tmp_path))
    assert result.exit_code == 69
    assert "not running" in result.output


def test_arbiter_list_reads_metadata_and_imports_nothing(tmp_path, monkeypatch):
    package = tmp_path / "thirdparty-1.2.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.2\n")
    (package / "entry_points.txt").write_text("[haagent.arbiters]\nmystore = does_not_exist:open_arbiter\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = invoke(arbiter, "list")
    assert result.exit_code == 0
    assert "mystore" in result.output
    assert ["does_not_exist:open_arbiter", "thirdparty", "1.2"] in [
        line.split()[1:] for line in result.output.splitlines()
    ]
    plugins = json.loads(invoke(arbiter, "list", "--json").output)["arbiters"]
    assert {
        "name": "mystore",
        "object": "does_not_exist:open_arbiter",
        "package": "thirdparty 1.2",
    } in plugins
