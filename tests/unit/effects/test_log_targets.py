"""The log file of ``-g``: its default lies in /tmp, where anybody may have put something."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from haagent.effects.log_targets import FileHandler, SyslogHandler, targets
from haagent.errors import EffectError

PLAIN = logging.Formatter("%(message)s")


def opened(path: Path) -> FileHandler:
    (handler,) = targets(str(path), None, plain=PLAIN, severe=PLAIN)
    assert isinstance(handler, FileHandler)
    return handler


def say(handler: FileHandler, text: str) -> None:
    handler.emit(logging.LogRecord("haagent", logging.INFO, "", 0, text, None, None))


def test_a_file_is_appended_to_and_opened_again_when_it_was_moved(tmp_path: Path) -> None:
    log = tmp_path / "keepalived.log"
    log.write_text("before\n")
    handler = opened(log)
    say(handler, "one")
    log.rename(tmp_path / "moved")
    say(handler, "two")
    handler.close()
    assert (tmp_path / "moved").read_text() == "before\none\n"
    assert log.read_text() == "two\n"


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "device"])
def test_what_somebody_put_there_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    log, theirs = tmp_path / "keepalived.log", tmp_path / "theirs"
    match kind:
        case "link":
            theirs.write_text("theirs\n")
            log.symlink_to(theirs)
        case "dangling":
            log.symlink_to(theirs)
        case "fifo":
            os.mkfifo(log)
        case "device":
            log = Path("/dev/null")
    with pytest.raises(EffectError, match="cannot write the log to"):
        opened(log)
    assert not theirs.exists() or theirs.read_text() == "theirs\n"


def test_a_link_that_takes_the_files_place_later_gets_nothing(tmp_path: Path) -> None:
    log, theirs = tmp_path / "keepalived.log", tmp_path / "theirs"
    handler = opened(log)
    theirs.write_text("theirs\n")
    log.unlink()
    log.symlink_to(theirs)
    say(handler, "ours")
    handler.close()
    assert theirs.read_text() == "theirs\n"


def test_a_directory_that_went_away_costs_lines_and_raises_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    handler = opened(directory / "keepalived.log")
    directory.rename(tmp_path / "away")
    say(handler, "lost")
    directory.mkdir()
    say(handler, "kept")
    handler.close()
    assert (directory / "keepalived.log").read_text() == "kept\n"


def test_text_that_is_no_unicode_reaches_syslog_and_raises_nothing(tmp_path: Path) -> None:
    """Half a surrogate pair passes JSON, so an arbiter or a peer may have it."""
    device = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(device)
        handler = SyslogHandler(3, device)
        handler.setFormatter(logging.Formatter("<4>%(message)s"))
        handler.emit(logging.LogRecord("haagent", logging.WARNING, "", 0, "held by \ud800", None, None))
        handler.close()
        assert syslog.recv(1000).endswith(b"held by \\ud800")
