"""The published examples: HAProxy and haagent take them as they are, but for paths that are not on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from haagent.cli.check import check
from haagent.config.load import load

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
KEEPALIVED = sorted(EXAMPLES.glob("*/keepalived.conf"))
HAPROXY = sorted(EXAMPLES.glob("*/haproxy.cfg"))
NODES = ("web-a", "web-b")
FILES = {
    "epoch.map": "",
    "drain.map": "drain 0\n",
    "ca.pem": "",
    "node.pem": "",
    "node.key": "",
    "peers.key": "x" * 32,
}


def adapted(source: Path, directory: Path) -> Path:
    """Copy a file with every path below the directory, and make the files it names there."""
    for name, content in FILES.items():
        file = directory / name
        file.write_text(content)
        file.chmod(0o600)
    text = source.read_text()
    for path in ("/run/haproxy", "/etc/haproxy", "/etc/haagent"):
        text = text.replace(path, str(directory))
    copy = directory / source.name
    copy.write_text(text)
    return copy


def test_there_are_examples() -> None:
    assert {path.parent.name for path in KEEPALIVED} == {"active-passive", "active-active"}
    assert {path.parent.name for path in HAPROXY} == {"active-passive", "active-active", "front"}


@pytest.mark.parametrize("source", KEEPALIVED, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("node", NODES)
def test_haagent_has_nothing_to_say_about_an_example(source: Path, node: str, tmp_path: Path) -> None:
    file = adapted(source, tmp_path)
    done = CliRunner().invoke(check, ["-f", str(file), "--config-id", node, "--node", node, "--strict"])
    assert done.exit_code == 0, done.output
    found = load([file], config_id=node)
    assert not found.notes
    assert [listen.host for listen in found.daemon.listens] == [
        "192.0.2.11" if node == "web-a" else "192.0.2.12"
    ] * 2


@pytest.mark.parametrize("source", KEEPALIVED, ids=lambda path: path.parent.name)
def test_both_nodes_of_an_example_mean_the_same_pair(source: Path, tmp_path: Path) -> None:
    one, two = (load([adapted(source, tmp_path)], config_id=node) for node in NODES)
    for first, second in zip(one.instances, two.instances, strict=True):
        assert first.vrid == second.vrid
        assert first.addresses == second.addresses
        assert {first.priority, second.priority} == {150, 140}
    assert one.haproxies == two.haproxies


@pytest.mark.parametrize("source", HAPROXY, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("node", NODES)
def test_haproxy_takes_an_example_without_a_warning(source: Path, node: str, tmp_path: Path) -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    argv = ["haproxy", "-c", "-L", node, "-f", str(adapted(source, tmp_path))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_what_haproxy_and_haagent_must_agree_about() -> None:
    """The socket, the map, the back end and the key of the map are written in two files of each example."""
    for source in KEEPALIVED:
        haproxy = (source.parent / "haproxy.cfg").read_text()
        ours = source.read_text()
        assert "socket /run/haproxy/admin.sock" in ours
        assert "stats socket /run/haproxy/admin.sock" in haproxy
        assert "epoch_map /etc/haproxy/epoch.map" in ours
        assert "backend app 1" in ours
        assert "\nbackend app\n" in haproxy
        for name in [line.split()[1] for line in ours.splitlines() if line.startswith("vrrp_instance")]:
            assert f"%[str({name}),map(/etc/haproxy/epoch.map,0)]" in haproxy


def test_the_drain_script_explains_itself() -> None:
    argv = [sys.executable, str(EXAMPLES / "drain.py"), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--cut" in done.stdout
