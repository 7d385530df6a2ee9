"""The flight recorder: everything round trips, survives crashes, stays bounded and out of the way."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
import types
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from haagent.core.actions import Action, SwapRegister, Tell
from haagent.core.events import (
    AdvertisementReceived,
    DeadlineReached,
    Event,
    PeerHeard,
    RegisterRead,
    TrackResult,
)
from haagent.core.register import Record
from haagent.core.reports import Report, State, StateChanged
from haagent.core.units import MILLISECOND, SECOND, Now
from haagent.effects import recorder as recorder_module
from haagent.effects import recording
from haagent.effects.encoding import Codec
from haagent.effects.recorder import Recorder
from haagent.effects.recording import read_recordings

ADVERT = AdvertisementReceived("VI_1", IPv4Address("192.0.2.1"), 100, SECOND, (IPv4Address("192.0.2.9"),))


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """Stands for a message of the peers' channel."""

    claims: tuple[str, ...]
    nonce: bytes


def samples(hint: Any) -> list[Any]:
    """Return values of the type a field declares: every member of a union, every kind of bytes and addresses."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return [value for kind in inner for value in samples(kind)]
    if origin is tuple:
        return [(), tuple(samples(inner[0]))]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return instances(hint)
    return {
        str: ["", "text", "\u00fc\n\x1b\ud7ff"],
        int: [0, -1, 2**63],
        bool: [True, False],
        bytes: [b"", b'{"a":1}', b"\xff\x00"],
        type(None): [None],
        IPv4Address: [IPv4Address("192.0.2.1")],
        IPv6Address: [IPv6Address("fe80::1%eth0"), IPv6Address("::1")],
        State: list(State),
        object: [Ask(("a", "b"), b"\x80")],
    }[hint]


def instances(kind: type) -> list[Any]:
    """Return instances of a dataclass so that each field takes each of its sample values at least once."""
    hints = get_type_hints(kind)
    columns = {field.name: samples(hints[field.name]) for field in dataclasses.fields(kind)}
    rows = max((len(column) for column in columns.values()), default=1)
    return [
        kind(**{name: column[row % len(column)] for name, column in columns.items()}) for row in range(rows)
    ]


@pytest.mark.parametrize(
    "kind", [*get_args(Event), *get_args(Action), *get_args(Report)], ids=lambda kind: kind.__name__
)
def test_every_event_action_and_report_round_trips(kind):
    codec = Codec([Ask])
    for value in instances(kind):
        back = codec.decode(json.loads(json.dumps(codec.encode(value))))
        assert back == value
        assert repr(back) == repr(value)


def test_unknown_types_are_errors_that_name_them():
    with pytest.raises(TypeError, match="Ask"):
        Codec().encode(PeerHeard("n2", Ask((), b"")))
    with pytest.raises(ValueError, match="unknown type 'Ask'"):
        Codec().decode({"$": "Ask", "claims": [], "nonce": ""})
    with pytest.raises(ValueError, match="other fields"):
        Codec().decode({"$": "TrackResult", "nothing": 1})


def at(milliseconds: int) -> Now:
    return Now(milliseconds * MILLISECOND, milliseconds * MILLISECOND - 1)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "events.jsonl")


@pytest.fixture
def make(path):
    made = []

    def open_recorder(**more):
        made.append(Recorder(path, {"node": "n1"}, **more))
        return made[-1]

    yield open_recorder
    for each in made:
        each.close()


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_was_recorded_is_read_back_in_order_with_times_and_actions(make, path):
    recorder = make()
    change = StateChanged("VI_1", State.BACKUP, State.MASTER, 100, 1, "r")
    swap = SwapRegister("claims/VI_1", b"{}", Record(b"\xff", "1"))
    recorder.record(TrackResult("chk", passed=True), at(1))
    recorder.record(ADVERT, at(2))
    recorder.record(DeadlineReached(), at(3), (swap, Tell(change)))
    for number in range(4, 8):
        recorder.record(ADVERT, at(number))
    recorder.record(RegisterRead("x", None), at(8))
    recorder.close()
    (found,) = read_recordings(path, Codec())
    assert found.about["node"] == "n1"
    assert [entry.number for entry in found.entries] == list(range(1, 9))
    assert [entry.now for entry in found.entries] == [at(number) for number in range(1, 9)]
    assert found.entries[2].actions == (swap, Tell(change))
    assert [entry.event for entry in found.entries[3:7]] == [ADVERT] * 4
    assert found.unreadable == 0


def test_identical_adverts_share_a_line_and_a_different_one_ends_it(make, path):
    recorder, other = make(), dataclasses.replace(ADVERT, priority=50)
    for number in range(100):
        recorder.record(ADVERT, at(number))
    for number in range(100, 110):
        recorder.record(other, at(number))
    recorder.close()
    assert len(Path(path).read_text().splitlines()) <= 5  # description, two firsts, two repetitions
    (found,) = read_recordings(path, Codec())
    assert [entry.event for entry in found.entries] == [ADVERT] * 100 + [other] * 10


def test_many_sources_do_not_grow_without_bound(make, path):
    recorder = make()
    for round_ in range(2):
        for number in range(200):
            source = IPv4Address(f"198.51.100.{number}")
            recorder.record(dataclasses.replace(ADVERT, source=source), at(round_ * 200 + number))
    recorder.close()
    (found,) = read_recordings(path, Codec())
    assert len(found.entries) == 400
    assert len(recorder._writer._repeats) <= recording.MOST_RUNS


def test_events_reach_the_file_within_about_a_second_and_at_once_when_urgent(make, path):
    recorder = make()
    recorder.record(DeadlineReached(), at(1))
    until(lambda: os.path.exists(path) and "DeadlineReached" in Path(path).read_text(), 2.5)
    recorder.record(TrackResult("chk", passed=False), at(2))
    began = time.monotonic()
    recorder.urgent()
    until(lambda: "TrackResult" in Path(path).read_text())
    assert time.monotonic() - began < 0.5


def test_repetitions_are_written_when_they_are_due(make, path, monkeypatch):
    monkeypatch.setattr(recording, "HOLD_BACK", 0.1)
    monkeypatch.setattr(recorder_module, "FLUSH_AFTER", 0.02)
    recorder = make()
    recorder.record(ADVERT, at(1))
    recorder.record(ADVERT, at(2))
    until(lambda: os.path.exists(path) and "again" in Path(path).read_text())


def test_two_files_bound_the_size(make, path):
    recorder = make(limit=20_000)
    for number in range(3000):
        recorder.record(TrackResult("chk", passed=bool(number % 2)), at(number))
    recorder.close()
    assert os.stat(path).st_size <= 20_000
    assert 10_000 <= os.stat(f"{path}.1").st_size <= 20_000
    (found,) = read_recordings(path, Codec())
    assert found.entries[-1].number == 3000
    numbers = [entry.number for entry in found.entries]
    assert numbers == list(range(numbers[0], 3001))


def test_a_restart_appends_and_a_line_cut_short_costs_only_itself(make, path):
    first = make()
    first.record(DeadlineReached(), at(1))
    first.close()
    with open(path, "a") as file:
        file.write('{"n":2,"t":[1')
    second = make()
    second.record(TrackResult("chk", passed=True), at(2))
    second.close()
    runs = read_recordings(path, Codec())
    assert [[type(entry.event) for entry in run.entries] for run in runs] == [
        [DeadlineReached],
        [TrackResult],
    ]
    assert [run.unreadable for run in runs] == [1, 0]


def test_a_killed_process_loses_at_most_the_last_second(path):
    program = f"""
import time
from haagent.core.events import TrackResult
from haagent.core.units import Now
from haagent.effects.recorder import Recorder
recorder = Recorder({path!r}, {{}})
for number in range(10):
    recorder.record(TrackResult("chk", passed=True), Now(number, number))
time.sleep(1.3)
recorder.record(TrackResult("last", passed=True), Now(99, 99))
print("go", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"go\n"
        process.kill()
    (found,) = read_recordings(path, Codec())
    assert len(found.entries) == 10


def test_a_place_that_cannot_be_written_is_said_once_and_stops_nothing(make, tmp_path, caplog):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a directory should be")
    recorder = Recorder(str(blocked / "events.jsonl"), {})
    for number in range(3):
        recorder.record(DeadlineReached(), at(number))
        recorder.urgent()
        until(lambda number=number: recorder.dropped == number + 1)
    recorder.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"flight recorder: {blocked}/events.jsonl: Not a directory; events are not recorded"
    ]


def test_a_disk_that_takes_a_part_costs_what_did_not_fit_and_nothing_after_it(make, path):
    """RLIMIT_FSIZE cuts a write short as a full disk does: what fits is taken, and only the next write fails."""
    recorder = make()
    recorder.record(DeadlineReached(), at(1))
    recorder.urgent()
    until(lambda: os.path.exists(path) and "DeadlineReached" in Path(path).read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(path).st_size + 10, hard))
    try:
        recorder.record(TrackResult("lost", passed=True), at(2))
        recorder.urgent()
        until(lambda: recorder.dropped == 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    recorder.record(TrackResult("kept", passed=True), at(3))
    recorder.close()
    (found,) = read_recordings(path, Codec())
    assert [entry.event for entry in found.entries] == [DeadlineReached(), TrackResult("kept", passed=True)]
    assert found.unreadable == 1


def test_an_event_nobody_taught_the_codec_is_noted_and_the_others_are_kept(make, path):
    recorder = make()
    recorder.record(PeerHeard("n2", Ask((), b"")), at(1))
    recorder.record(DeadlineReached(), at(2))
    recorder.close()
    (found,) = read_recordings(path, Codec())
    assert [entry.event for entry in found.entries] == [DeadlineReached()]
    assert "Ask is not a type the recorder knows" in Path(path).read_text()


def test_a_disk_that_hangs_bounds_the_memory_and_never_blocks(tmp_path, monkeypatch):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    keep = os.open(fifo, os.O_RDWR)  # a pipe nobody reads is a disk that hangs
    monkeypatch.setattr(recorder_module, "MOST_QUEUED", 2000)
    monkeypatch.setattr("haagent.effects.recording._size", lambda path: 0)
    monkeypatch.setattr(
        "haagent.effects.recording.Writer._open_for", lambda self, size: os.fdopen(os.dup(keep), "wb", 0)
    )
    recorder = Recorder(str(fifo), {})
    began = time.monotonic()
    for number in range(6000):
        recorder.record(TrackResult("chk", passed=True), at(number))
        if number == 1500:
            recorder.urgent()
            time.sleep(0.2)
    assert time.monotonic() - began < 2
    assert recorder.dropped > 0
    began = time.monotonic()
    recorder.close(0.1)
    assert time.monotonic() - began < 1
    drain(keep)
    recorder.close(5)


def drain(descriptor: int) -> None:
    """Let the hung disk work again, until nothing more comes."""
    os.set_blocking(descriptor, False)
    quiet = 0
    while quiet < 20:
        try:
            os.read(descriptor, 65536)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.01)
    os.close(descriptor)
