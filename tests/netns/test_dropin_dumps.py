"""The dumps beside keepalived's own: every name that 2.2.7 writes is there, or named in the docs as absent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dropin_lab import Kind, configuration, eventually, host

from haagent.lab.processes import NodeProcess

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]
DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
SIGNALS = {"data": signal.SIGUSR1, "stats": signal.SIGUSR2, "json": signal.SIGRTMIN + 2}
# What keepalived tells of its own inside, by section; of the global definitions only ours are compared.
ABSENT_SECTIONS = {"Interfaces", "VRRP Sockpool"}
ABSENT = {
    "Script uid",
    "VRRP instances",
    "Number of track scripts init",
    "Read timeout",
    "Unicast checksum compatibility",
    "fd_in",
    "Current processes",
    "Fork delay timer not running",
    "Terminate delay timer not running",
}
# 2.2.7 prints where links lead to, routes as the kernel has them, the password, and its own default.
DIFFERENT = {
    "last_transition",
    "higher_prio_send_advert",
    "auth_data",
    "vroutes",
    "vrules",
    "effective_priority",
}
RICH = """\
global_defs {
router_id here
script_user root
enable_script_security
vrrp_version 3
MORE
}
vrrp_script chk {
script "/bin/true x"
interval 1
weight 10
rise 2
}
vrrp_script plain {
script /bin/true
}
vrrp_track_process proc {
process keepalived
quorum 2
weight 3
}
track_file F {
file {dir}/number
weight 1
}
vrrp_sync_group G {
group {
VI_1
VI_2
}
notify_master /bin/true
notify /bin/true
sync_group_tracking_weight
track_script {
plain
}
}
vrrp_instance VI_1 {
state BACKUP
interface lan
virtual_router_id 51
priority 150
advert_int 0.2
unicast_src_ip 10.77.0.1
unicast_peer {
10.77.0.2
}
notify_master "/bin/true A b"
notify_backup /bin/true
notify_fault /bin/true
notify_stop /bin/true
notify /bin/true
track_script {
chk
}
track_interface {
wan weight 5
}
track_process {
proc weight 2
}
track_file {
F weight 1
}
virtual_ipaddress {
10.77.0.100/24 label lan:v
}
virtual_ipaddress_excluded {
10.77.0.101/32 dev wan
}
virtual_routes {
10.99.0.0/24 via 10.77.0.9 dev lan
}
virtual_rules {
from 10.77.0.100 table 100 priority 1000
}
}
vrrp_instance VI_2 {
interface wan
virtual_router_id 52
priority 100
version 2
nopreempt
authentication {
auth_type PASS
auth_pass s3cret
}
use_vmac
virtual_ipaddress {
10.78.0.100/24
}
}"""


Written = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """What both daemons wrote of one configuration as MASTER, by daemon and kind of dump."""
    installed = subprocess.run(
        ["keepalived", "--version"], capture_output=True, text=True, check=False
    ).stderr
    if " v2.2." not in installed:
        pytest.skip(
            f"the formats are those of keepalived 2.2; here is {installed.partition(' (')[0].strip()}"
        )
    directory = tmp_path_factory.mktemp("dumps")
    kinds: tuple[Kind, ...] = ("keepalived", "haagent")
    found: Written = {kind: {} for kind in kinds}
    with host(directory) as here:
        (directory / "number").write_text("2\n")
        names = {"data": "state_dump_file", "stats": "stats_dump_file", "json": "json_dump_file"}
        for kind in kinds:
            ours = kind == "haagent"
            paths = {one: directory / one if ours else Path(f"/tmp/keepalived.{one}") for one in SIGNALS}
            more = "\n".join(f"{names[one]} {path}" for one, path in paths.items() if ours)
            for path in paths.values():
                path.unlink(missing_ok=True)
            here.start(RICH.replace("MORE", more), kind=kind)
            here.wait_master(patience=20)
            here.wait_master("10.78.0.100", patience=20)
            for one, path in paths.items():
                here.signal(SIGNALS[one])
                found[kind][one] = eventually(
                    lambda path=path: path.exists() and path.stat().st_size and path.read_text(), str(path)
                )
            here.stop()
            for path in paths.values():
                path.unlink(missing_ok=True)
        yield found


def keys(text: str) -> dict[str, set[str]]:
    """Return the names of a data dump's lines by section: what stands before a value."""
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("-"):
            section = line.strip("-<> ")
        elif len(line) - len(line.lstrip()) < 5:
            name = re.split(r" =|\(|:|,| \d", line.strip())[0].strip()
            found.setdefault(section, set()).add(name)
    return found


def test_every_line_of_the_data_dump_is_there_or_named_as_absent(written: Written):
    ours, theirs = (keys(written[kind]["data"]) for kind in ("haagent", "keepalived"))
    document = DOCUMENT.read_text()
    for section, names in theirs.items():
        if section in ABSENT_SECTIONS:
            assert f"`{section}`" in document
            continue
        missing = names - ours[section]
        if section != "Global definitions":
            assert missing <= ABSENT, section
            assert all(f"`{name}`" in document for name in missing)
        assert ours[section] <= names, f"{section}: lines that keepalived does not know"


def test_every_name_and_value_of_the_json_is_there(written: Written):
    ours, theirs = (json.loads(written[kind]["json"]) for kind in ("haagent", "keepalived"))
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert one["stats"].keys() == other["stats"].keys()
        assert one["data"].keys() == other["data"].keys()
        assert dict(_comparable(one["data"])) == dict(_comparable(other["data"]))


def _comparable(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in data.items():
        if name not in DIFFERENT:
            yield name, json.loads(json.dumps(value).replace("/usr/bin/", "/bin/"))


def test_the_statistics_are_line_for_line_the_same_but_for_the_counts(written: Written):
    ours, theirs = (re.sub(r"\d+$", "N", written[kind]["stats"], flags=re.MULTILINE) for kind in written)
    assert ours == theirs


def test_an_exporter_finds_what_it_reads(written: Written):
    """The lines that keepalived_exporter's collector takes apart, read as it reads them."""
    instances: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    addresses: list[str] | None = None
    for line in written["haagent"]["data"].splitlines():
        if line.startswith(" VRRP Instance = "):
            current = instances.setdefault(line.split(" = ")[1], {"addresses": []})
        elif re.match(r"   (State|Wantstate|Interface|Virtual Router ID|Gratuitous ARP delay) = ", line):
            name, _, value = line.strip().partition(" = ")
            current.setdefault(name, value)
        if addresses is not None and line.startswith("     ") and len(line.split()) >= 3:
            addresses.append(line.split()[0])
        else:
            addresses = (
                current["addresses"] if re.match(r"   Virtual IP( \(\d+\)| Excluded )?:", line) else None
            )
    assert instances["VI_1"] == {
        "State": "MASTER", "Wantstate": "MASTER", "Interface": "lan", "Virtual Router ID": "51",
        "Gratuitous ARP delay": "5", "addresses": ["10.77.0.100/24", "10.77.0.101"],
    }  # fmt: skip
    scripts = re.findall(r"^ VRRP Script = (\S+)$.*?^   Status = (\w+)$.*?^   State = (\w+)$",
                         written["haagent"]["data"], re.MULTILINE | re.DOTALL)  # fmt: skip
    assert scripts == [("chk", "GOOD", "idle"), ("plain", "GOOD", "idle")]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("use_pid_dir", ("keepalived", "vrrp")),
        ("instance one", ("keepalived_one", "vrrp_one")),
    ],
)
def test_pid_files_are_where_keepalived_puts_them(tmp_path: Path, words: str, names: tuple[str, str]):
    """use_pid_dir and instance, in a /run of their own."""
    with host(tmp_path) as here:
        here.configure(configuration(top=words))
        run = f"exec {sys.executable} -m haagent run --run-directory {tmp_path} --node here -f {here.conf}"
        argv = ("unshare", "--mount", "sh", "-c", f"mount -t tmpfs none /run && {run}")
        here.process = NodeProcess(here.name, argv, here.log)
        here.wait_master(patience=20)
        pid = here.process.pid
        found = [Path(f"/proc/{pid}/root/run/keepalived/{name}.pid").read_text() for name in names]
        assert int(found[0]) == pid
        os.kill(int(found[1]), 0)
