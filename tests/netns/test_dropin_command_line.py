"""keepalived's signals, files, options and exit statuses, as init scripts and exporters use them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin_lab import VIP, Host, Kind, configuration, eventually, host

pytestmark = pytest.mark.netns
RUN = (sys.executable, "-m", "haagent", "run")
JSON = signal.SIGRTMIN + 2


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *words], capture_output=True, text=True, timeout=40, check=False)


def dumps(directory: Path, version: int = 1) -> str:
    """Return what global_defs says to keep the dumps in the test's own directory."""
    names = {"state_dump_file": "data", "stats_dump_file": "stats", "json_dump_file": "json"}
    return "\n".join(
        [*(f"{word} {directory}/{name}" for word, name in names.items()), f"json_version {version}"]
    )


def test_the_dumps_say_what_exporters_read(here):
    scripts = "vrrp_script chk {\nscript /bin/true\ninterval 1\n}\n"
    text = configuration(
        "track_script {\nchk\n}", "notify_master /bin/true", "version 2", "advert_int 1",
        "authentication {\nauth_type PASS\nauth_pass s3cret\n}", top=scripts, more_globals=dumps(here.directory),
    )  # fmt: skip
    here.start(text)
    here.wait_master()
    for number in (signal.SIGUSR1, signal.SIGUSR2, JSON):
        here.signal(number)
    made = [here.directory / name for name in ("data", "stats", "json")]
    data, stats, shown = (eventually(lambda p=path: p.exists() and p.read_text(), str(path)) for path in made)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in made)
    vrrp = json.loads(shown)[0]
    assert vrrp["data"]["state"] == vrrp["data"]["wantstate"] == 2
    assert (vrrp["data"]["iname"], vrrp["data"]["vrid"], vrrp["data"]["effective_priority"]) == (
        "VI_1",
        51,
        150,
    )
    assert vrrp["data"]["vips"] == [f"{VIP} dev lan scope global set"]
    assert vrrp["data"]["track_script"] == ["'/bin/true'"]
    assert vrrp["stats"]["become_master"] == 1
    assert vrrp["stats"]["advert_sent"] >= 1
    assert "s3cret" not in data + stats + shown
    for line in (" VRRP Instance = VI_1", "   State = MASTER", "   Wantstate = MASTER", "   Interface = lan",
                 "   Gratuitous ARP delay = 5", "   Virtual Router ID = 51", "   Virtual IP (1):",
                 f"     {VIP} dev lan scope global set", " VRRP Script = chk", "   Status = GOOD"):  # fmt: skip
        assert line in data.splitlines()
    assert re.search(
        r"VRRP Instance: VI_1\n  Advertisements:\n    Received: 0\n    Sent: [1-9]\d*\n  Became master: 1\n",
        stats,
    )
    here.signal(signal.SIGRTMAX - 1)

    def cleared() -> bool:
        """Of two signals that wait for a busy agent the one with the lower number comes first: ask again."""
        (here.directory / "stats").unlink(missing_ok=True)
        here.signal(signal.SIGUSR2)
        return "Became master: 0" in eventually(lambda: path.exists() and path.read_text(), "stats")

    path = here.directory / "stats"
    eventually(cleared, "counters at 0")


@pytest.mark.keepalived
def test_the_json_has_keepalived_s_names_and_values(here):
    """Same configuration, same moment of life: every name of 2.2.7's JSON is there, with its value."""
    text = configuration(
        "garp_master_refresh 3", "nopreempt", "notify /bin/true", more_globals=dumps(here.directory)
    )
    found = {}
    for kind, path in (("haagent", here.directory / "json"), ("keepalived", Path("/tmp/keepalived.json"))):
        here.start(text, kind=_kind(kind))
        here.wait_master()
        path.unlink(missing_ok=True)
        here.signal(JSON)
        found[kind] = json.loads(eventually(lambda p=path: p.exists() and p.read_text().strip(), str(path)))[
            0
        ]
        path.unlink()
        here.stop()
    ours, theirs = found["haagent"], found["keepalived"]
    assert ours["stats"].keys() == theirs["stats"].keys()
    changing = {"last_transition", "script"}  # the second: 2.2.7 prints where links lead to
    differ = {k: (v, ours["data"].get(k)) for k, v in theirs["data"].items() if ours["data"].get(k) != v}
    assert differ.keys() <= changing | {"higher_prio_send_advert"}, differ


def _kind(kind: str) -> Kind:
    return "haagent" if kind == "haagent" else "keepalived"


def test_a_link_in_the_place_of_a_dump_is_replaced_not_followed(here):
    precious = here.directory / "precious"
    precious.write_text("precious")
    (here.directory / "json").symlink_to(precious)
    here.start(configuration(more_globals=dumps(here.directory, version=2)))
    here.wait_master()
    here.signal(JSON)
    eventually(lambda: not (here.directory / "json").is_symlink(), "a file")
    assert precious.read_text() == "precious"
    assert json.loads((here.directory / "json").read_text()).keys() == {"vrrp", "track_process"}


def test_pid_files_and_everything_keepalived_accepts(here):
    pids = [here.directory / "parent.pid", here.directory / "worker.pid"]
    here.start(configuration(), "-P", "-l", "-D", "-S", "3", "-n", "-G", "-a", "-m", "-X", "-p", str(pids[0]),
               "-r", str(pids[1]), "-c", "/x", "-b", "/x", "-u", "0177", "--all")  # fmt: skip
    here.wait_master()
    assert int(pids[0].read_text()) == here.process.pid
    os.kill(int(pids[1].read_text()), 0)
    here.stop()
    assert not any(path.exists() for path in pids)


def test_runs_inside_the_net_namespace_of_the_configuration(here):
    here.configure(configuration(top=f"net_namespace {here.name}"))
    argv = [*RUN, "--run-directory", str(here.directory), "--arbiter", "none", "-f", str(here.conf)]
    with (here.directory / "outside.log").open("w") as log:
        outside = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        here.wait_master()
    finally:
        outside.terminate()
        outside.wait(10)
    assert not here.has_vip()
    assert run("-s", "no-such-namespace", "-f", str(here.conf)).returncode == 69


def test_signal_numbers_and_version():
    numbers = {
        name: int(run(f"--signum={name}").stdout) for name in ("STOP", "RELOAD", "DATA", "STATS", "JSON")
    }
    assert numbers == {"STOP": 15, "RELOAD": 1, "DATA": 10, "STATS": 12, "JSON": JSON}
    assert run("--signum=NONSENSE").returncode == 1
    assert run("-C").returncode == 1
    assert re.search(r"v\d+\.\d+\.\d+", run("-v").stderr)


def test_a_link_called_keepalived_is_the_run_command(tmp_path):
    link = tmp_path / "keepalived"
    link.write_text(f"#!{sys.executable}\nfrom haagent.cli import main\nmain()\n")
    link.chmod(0o755)
    done = subprocess.run(
        [str(link), "--signum=STATS"], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "12\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (configuration(), 0),
        (configuration("priority"), 2),
        (configuration("priority 300"), 5),
        (configuration("auth_hmac {\nkey 1\n}"), 5),
        (None, 4),
    ],
)
def test_config_test_ends_like_keepalived(tmp_path, text, status):
    conf, log = tmp_path / "c.conf", tmp_path / "log"
    if text is not None:
        conf.write_text(text)
    assert run("-f", str(conf), "-t").returncode == status
    done = run("-f", str(conf), f"--config-test={log}")
    assert done.returncode == status
    assert done.stderr == ""
    assert bool(status) == ("error: " in (log.read_text() if log.exists() else ""))
