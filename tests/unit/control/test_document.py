"""The status document: typed, tolerant of other versions, and truthful about the dead."""

from __future__ import annotations

import dataclasses
import json
import os
import stat

import pytest

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
from haagent.control.snapshot import read_snapshot, snapshot_path, write_snapshot
from haagent.core.units import SECOND

STATUS = Status(
    node="n1",
    pid=1,
    version="0",
    boot_id="b",
    started_boot_ns=0,
    written_boot_ns=100 * SECOND,
    write_period_ns=5 * SECOND,
    arbiter=ArbiterStatus("etcd", "live", ("a:1",), lease_ns=2 * SECOND, deadline_boot_ns=101 * SECOND),
    gate=GateStatus("bpf", "absolute", 101 * SECOND),
    instances=(
        InstanceStatus("VI_1", "MASTER", addresses=("192.0.2.9/24",), counters={"sent": 3}),
        InstanceStatus("VI_2", "BACKUP", master=MasterHeard("192.0.2.2", 100, 7)),
    ),
    trackers=(TrackerStatus("chk", up=None), TrackerStatus("eth0", "interface", True)),
    peers=(PeerStatus("n2", "live", 5, {"192.0.2.2": 5}),),
    warnings=("w",),
)


def test_the_document_survives_json():
    assert Status.from_json(json.loads(json.dumps(STATUS.to_json()))) == STATUS


def test_what_a_newer_agent_adds_is_ignored_and_what_an_older_leaves_out_has_defaults():
    data = STATUS.to_json()
    data["novelty"] = 1
    data["instances"][0]["novelty"] = {"a": 1}
    assert Status.from_json(data) == STATUS
    needed = ("node", "pid", "version", "boot_id", "started_boot_ns", "written_boot_ns", "write_period_ns")
    assert Status.from_json({key: data[key] for key in needed}).gate == GateStatus()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pid": "1"}, "status.pid: expected int, found str"),
        ({"pid": True}, "status.pid: expected int, found bool"),
        ({"instances": {}}, "status.instances: expected a list"),
        ({"instances": [{"name": "a", "state": 3}]}, r"status.instances\[0\].state: expected str"),
        ({"arbiter": []}, "status.arbiter: expected an object"),
    ],
)
def test_a_wrong_document_names_the_field(change, words):
    with pytest.raises(ValueError, match=words):
        Status.from_json({**STATUS.to_json(), **change})
    with pytest.raises(ValueError, match="expected an object"):
        Status.from_json([])
    with pytest.raises(ValueError, match="missing"):
        Status.from_json({})


def test_the_gate_of_the_dead_is_bounded_only_where_something_closes_it():
    assert STATUS.gate_closed_by() == 108 * SECOND  # written + period + one second + lease
    assert dataclasses.replace(STATUS, gate=GateStatus("off")).gate_closed_by() is None
    assert dataclasses.replace(STATUS, arbiter=ArbiterStatus()).gate_closed_by() is None


def test_a_snapshot_is_complete_or_absent_and_readable_by_everybody(tmp_path):
    path = snapshot_path("n1", str(tmp_path))
    assert read_snapshot(path) is None
    before = os.umask(0o077)
    write_snapshot(path, STATUS)
    write_snapshot(path, STATUS)
    os.umask(before)
    assert read_snapshot(path) == STATUS
    assert os.listdir(tmp_path) == ["n1.json"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    (tmp_path / "n1.json").write_text("{")
    with pytest.raises(ValueError):
        read_snapshot(path)


def test_a_snapshot_is_not_written_through_a_link_somebody_left(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "n1.json.new").symlink_to(target)
    with pytest.raises(OSError):
        write_snapshot(str(tmp_path / "n1.json"), STATUS)
    assert target.read_text() == "precious"


def test_the_snapshot_lies_beside_the_socket():
    assert snapshot_path("/run/haagent/n1.sock") == "/run/haagent/n1.json"
    assert snapshot_path("n1") == "/run/haagent/n1.json"


def test_the_boot_has_an_identity():
    assert len(read_boot_id()) == 36
