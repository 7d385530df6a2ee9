"""The lines in the notify FIFOs are keepalived's, byte for byte, and nobody waits for a reader."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin_lab import Host, Kind, configuration, eventually, host, ip

pytestmark = [pytest.mark.netns]
GROUP = "vrrp_sync_group G {\ngroup {\nVI_1\n}\n}\n"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


class Reader:
    """What came out of a FIFO so far."""

    def __init__(self, path: Path) -> None:
        eventually(path.exists, f"{path} exists")
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._text = b""

    def lines(self) -> list[str]:
        while True:
            try:
                piece = os.read(self._descriptor, 65536)
            except BlockingIOError:
                piece = b""
            if not piece:
                return self._text.decode().splitlines()
            self._text += piece

    def wait(self, *expected: str) -> None:
        try:
            eventually(lambda: len(self.lines()) >= len(expected), "lines")
        finally:
            assert sorted(self.lines()[: len(expected)]) == sorted(expected)


def life(here: Host, kind: Kind) -> list[str]:
    """Return what one life of a daemon writes: becoming MASTER, losing its link, getting it back, ending."""
    fifo = here.directory / f"{kind}.fifo"
    here.start(configuration(top=GROUP, more_globals=f"vrrp_notify_fifo {fifo}"), kind=kind)
    reader = Reader(fifo)
    here.wait_master()
    ip("-n", here.far, "link", "set", "lan", "down")
    here.wait_gone()
    ip("-n", here.far, "link", "set", "lan", "up")
    here.wait_master()
    time.sleep(0.2)
    here.stop()
    return reader.lines()


@pytest.mark.keepalived
def test_a_life_reads_like_keepalived(here):
    ours, theirs = life(here, "haagent"), life(here, "keepalived")

    def by_subject(lines: list[str], subject: str) -> list[str]:
        return [line for line in lines if line.startswith(subject)]

    assert 'INSTANCE "VI_1" MASTER 150' in ours
    for subject in ("INSTANCE", "GROUP"):
        assert by_subject(ours, subject) == by_subject(theirs, subject)


def test_priority_changes_and_a_replaced_fifo(here):
    fifo, number = here.directory / "fifo", here.directory / "number"
    number.write_text("0")
    tracking = ("notify_priority_changes", "track_file {\nF\n}")
    here.start(
        configuration(
            *tracking, top="track_file F {\nfile {dir}/number\n}", more_globals=f"notify_fifo {fifo} nobody"
        )
    )
    reader = Reader(fifo)
    reader.wait('INSTANCE "VI_1" BACKUP 150', 'INSTANCE "VI_1" MASTER 150')
    status = fifo.stat()
    assert stat.S_ISFIFO(status.st_mode)
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, 65534)
    fifo.unlink()
    os.mkfifo(fifo)
    reader = Reader(fifo)
    number.write_text("5")
    reader.wait('INSTANCE "VI_1" MASTER_PRIORITY 155')


def test_a_full_fifo_costs_lines_and_nothing_else(here):
    fifo, number = here.directory / "fifo", here.directory / "number"
    os.mkfifo(fifo)
    keep = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(keep, b"x" * 4096)
    number.write_text("0")
    here.start(
        configuration(
            "track_file {\nF\n}",
            top="track_file F {\nfile {dir}/number\nweight 0\n}",
            more_globals=f"notify_fifo {fifo}",
        )
    )
    here.wait_master()
    number.write_text("1")
    here.wait_gone()
    assert here.text().count("nobody reads it") == 1
    os.close(keep)


def test_the_script_of_a_fifo_gets_its_path_and_ends_with_us(here):
    out = here.directory / "out"
    script = "/bin/sh -c 'echo $0 > {dir}/out; exec cat $0 >> {dir}/out'"
    here.start(configuration(more_globals=f'notify_fifo {{dir}}/fifo\nnotify_fifo_script "{script}"'))
    expected = [f"{here.directory}/fifo", 'INSTANCE "VI_1" BACKUP 150', 'INSTANCE "VI_1" MASTER 150']
    eventually(lambda: out.exists() and len(out.read_text().splitlines()) == 3, "three lines")
    assert out.read_text().splitlines() == expected
    here.stop()
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(here.directory).encode() in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
