"""The log: phrases people grep for, fields machines read, lines nobody can forge."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import subprocess
import sys

import pytest

from haagent.core.reports import (
    ClaimChanged,
    Doubted,
    LowerPriorityHeard,
    Noticed,
    PriorityChanged,
    SessionChanged,
    State,
    StateChanged,
    Stopped,
    TrackerChanged,
)
from haagent.core.units import SECOND
from haagent.effects import journal as module
from haagent.effects.journal import Journal, configure
from haagent.effects.log_targets import FACILITIES, SyslogHandler
from haagent.errors import EffectError


@pytest.fixture(autouse=True)
def restore():
    logger = logging.getLogger("haagent")
    saved = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.propagate = saved[0], saved[2]
    logger.setLevel(saved[1])


def written(report, form="human", level="info", **journal) -> str:
    stream = io.StringIO()
    configure(level, form, stream)
    Journal(frozenset({"chk"}), **journal).read(report)
    return stream.getvalue()


MASTER = StateChanged("VI_1", State.BACKUP, State.MASTER, 150, 7, "advert timeout")


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            MASTER,
            '(VI_1) Entering MASTER STATE instance=VI_1 old=BACKUP priority=150 epoch=7 reason="advert timeout"',
        ),
        (PriorityChanged("VI_1", 100, 80, "chk"), "(VI_1) Changing effective priority from 100 to 80"),
        (TrackerChanged("chk", up=False), "VRRP_Script(chk) failed"),
        (TrackerChanged("chk", up=True), "VRRP_Script(chk) succeeded"),
        (TrackerChanged("eth0", up=False), "Tracker(eth0) down"),
        (
            LowerPriorityHeard("VI_1", "192.0.2.2", 90),
            "Received advert from 192.0.2.2 with lower priority 90",
        ),
        (ClaimChanged("VI_1", "won", 8, "seen vacant"), "arbiter claim VI_1 won claim=VI_1 epoch=8"),
        (SessionChanged("lapsed", "no answer"), 'WARNING arbiter session lapsed detail="no answer"'),
        (SessionChanged("usurped", "by another"), 'ERROR arbiter session usurped detail="by another"'),
        (Doubted("VI_1", "woke late"), "WARNING vrrp (VI_1) gate closed until"),
        (
            Noticed("VI_1", "packet discarded", "bad TTL"),
            '(VI_1) packet discarded subject=VI_1 detail="bad TTL"',
        ),
        (Stopped(), "INFO vrrp Stopped"),
    ],
)
def test_the_phrases_of_keepalived_and_the_fields_of_ours(report, words):
    assert words in written(report)


def test_a_human_line_begins_with_local_time_level_and_area():
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO vrrp \(VI_1\) .*\n", written(MASTER))


def test_json_is_one_object_per_line_with_its_fields():
    document = json.loads(written(MASTER, "json"))
    assert document.pop("time").endswith("Z")
    assert document == {
        "level": "info",
        "area": "vrrp",
        "message": "(VI_1) Entering MASTER STATE",
        "instance": "VI_1",
        "old": "BACKUP",
        "priority": 150,
        "epoch": 7,
        "reason": "advert timeout",
    }


@pytest.mark.parametrize(
    ("report", "prefix"),
    [(MASTER, "<6>vrrp (VI_1)"), (StateChanged("a", State.MASTER, State.FAULT, 1, 1, ""), "<4>vrrp")],
)
def test_the_journal_form_leaves_time_and_level_to_systemd(report, prefix):
    assert written(report, "journal").startswith(prefix)


@pytest.mark.parametrize("form", ["human", "json", "journal"])
def test_text_from_outside_cannot_forge_a_line_or_a_terminal(form):
    text = written(Noticed("VI_1", "x\n<0>forged", 'a\n2026 INFO "forged"\x1b[2J'), form)
    assert text.count("\n") == 1
    assert "\x1b" not in text


def test_noticed_is_limited_and_counted():
    stream, now = io.StringIO(), [0]
    configure("info", "human", stream)
    journal = Journal(clock=lambda: now[0])
    for second in range(0, 121, 1):
        now[0] = second * SECOND
        journal.read(Noticed("VI_1", "packet discarded", str(second)))
        journal.read(MASTER) if second % 60 == 0 else None
    lines = [line for line in stream.getvalue().splitlines() if "discarded" in line]
    assert [re.search(r"detail=(\d+)", line)[1] for line in lines] == ["0", "60", "120"]
    assert [
        re.search(r"repeated=(\d+)", line) and re.search(r"repeated=(\d+)", line)[1] for line in lines
    ] == [
        None,
        "59",
        "59",
    ]
    assert stream.getvalue().count("MASTER") == 3


def test_a_flood_of_different_subjects_is_limited_too(monkeypatch):
    monkeypatch.setattr(module, "MOST_SUBJECTS", 5)
    stream, now = io.StringIO(), [0]
    configure("info", "human", stream)
    journal = Journal(clock=lambda: now[0])
    for number in range(100):
        journal.read(Noticed(f"s{number}", "packet discarded", ""))
    assert len(stream.getvalue().splitlines()) == 6
    now[0] = 61 * SECOND
    journal.read(Noticed("s99", "packet discarded", ""))
    assert len(stream.getvalue().splitlines()) == 7


def test_the_level_is_obeyed():
    assert written(MASTER, level="warning") == ""


def test_an_exception_stays_on_one_line():
    stream = io.StringIO()
    configure("info", "human", stream)
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("haagent.agent").exception("went wrong")
    assert stream.getvalue().count("\n") == 1
    assert "ValueError" in stream.getvalue()


PROGRAM = """
import os, sys
from haagent.effects.journal import Journal, configure
from haagent.core.reports import Stopped
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}" if sys.argv[1] == "own" else "1:2"
configure()
Journal().read(Stopped())
"""


@pytest.mark.parametrize(("stream", "start"), [("own", b"<6>vrrp Stopped"), ("other", b'{"time"')])
def test_stderr_is_recognised_as_the_journal_by_its_inode(stream, start):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, stream], stderr=subprocess.PIPE, check=True, timeout=20
    )
    assert done.stderr.startswith(start)


def test_a_terminal_gets_the_human_form():
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        configure("info", "auto", terminal)
        Journal().read(Stopped())
    assert b"INFO vrrp Stopped" in os.read(master, 4096)
    os.close(master)


def test_a_log_file_is_written_too_and_opened_again_when_it_was_rotated(tmp_path) -> None:
    file, stream = tmp_path / "log", io.StringIO()
    configure(form="human", stream=stream, file=str(file))
    logging.getLogger("haagent.agent").info("first")
    file.rename(tmp_path / "log.1")
    logging.getLogger("haagent.agent").info("second")
    assert (tmp_path / "log.1").read_text().endswith("INFO agent first\n")
    assert file.read_text().endswith("INFO agent second\n")
    assert "first" in stream.getvalue()


def test_a_log_file_that_cannot_be_opened_is_an_error_with_its_name(tmp_path) -> None:
    with pytest.raises(EffectError, match=r"cannot write the log to .*nowhere/log: No such file"):
        configure(file=str(tmp_path / "nowhere" / "log"))


def test_syslog_gets_facility_and_severity_and_holds_nobody_up(tmp_path) -> None:
    record = logging.LogRecord("haagent.vrrp", logging.WARNING, "", 0, "hello", (), None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as device:
        device.bind(str(tmp_path / "log"))
        handler = SyslogHandler(FACILITIES["local3"], str(tmp_path / "log"))
        handler.setFormatter(module.HumanFormatter(timestamps=False))
        handler.emit(record)
        assert device.recv(999) == f"<{19 << 3 | 4}>haagent[{os.getpid()}]: vrrp hello".encode()
        for _ in range(5000):
            handler.emit(record)  # nobody reads: the buffer is full long before
    handler.emit(record)  # and nobody is there any more
    handler.close()
