"""``haagent check`` as an operator and a script see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from haagent.cli.check import check

GOOD = """
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    advert_int 2
    authentication {
        auth_type PASS
        auth_pass s3cret
    }
    virtual_ipaddress {
        192.0.2.5/24
    }
}
"""


@pytest.fixture
def run(tmp_path: Path):
    def runner(text: str, *options: str) -> Result:
        path = tmp_path / "k.conf"
        path.write_text(text)
        return CliRunner().invoke(check, ["-f", str(path), *options], env={"HAAGENT_ARBITER": ""})

    return runner


def test_a_usable_file(run) -> None:
    result = run(GOOD)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "usable: 1 vrrp_instance, 0 vrrp_script, no arbiter: plain VRRP\n"


def test_errors_have_places_and_status_78(run, tmp_path: Path) -> None:
    result = run(GOOD.replace("51", "510").replace("advert_int", "advert_imt"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert (
        f"error: {tmp_path}/k.conf:4:23: virtual_router_id is '510' (a whole number from 1 to 255)\n"
        in result.stderr
    )
    assert f"warning: {tmp_path}/k.conf:5:5: unknown keyword 'advert_imt'" in result.stderr


def test_strict_makes_warnings_errors(run) -> None:
    text = GOOD.replace("advert_int 2", "no_preempt")
    assert run(text).exit_code == 0
    strict = run(text, "--strict")
    assert strict.exit_code == 78
    assert strict.stderr.startswith("error: ")


def test_notes_are_not_warnings(run) -> None:
    text = GOOD + "global_defs {\nprocess_names\n}\n"
    assert run(text, "--strict").exit_code == 0
    assert "note: " in run(text).stderr
    assert run(text, "--quiet").stderr == ""


def test_json_has_times_in_nanoseconds_and_no_secrets(run) -> None:
    result = run(GOOD, "--json", "--arbiter", "etcd://h:2379/d?lease=2s&username=ha")
    document = json.loads(result.stdout)
    (instance,) = document["instances"]
    assert (instance["advert_interval"], instance["auth_pass"]) == (2_000_000_000, "***")
    assert instance["addresses"][0]["address"] == "192.0.2.5"
    assert document["arbiter"]["lease"] == 2_000_000_000
    assert document["arbiter"]["settings"] == {"username": "ha"}
    assert "s3cret" not in result.output


def test_json_masks_passwords_and_keys(run, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abcdefghijklmnop")
    (tmp_path / "key").chmod(0o600)
    own = f"arbiter etcd {{\nendpoints h:1\npassword_file {tmp_path}/key\n}}\npeers {{\nkey_file {tmp_path}/key\nnode b 192.0.2.2\n}}\n"
    result = run(GOOD + own, "--json")
    assert result.exit_code == 0
    assert "abcdefghijklmnop" not in result.output
    assert json.loads(result.stdout)["peers"]["key"] == "***"


def test_two_files_and_a_configuration_id(run, tmp_path: Path) -> None:
    (tmp_path / "own.conf").write_text("@a arbiter none\n@b arbiter etcd {\n@b endpoints h:2379\n@b }\n")
    assert "plain VRRP" in run(GOOD, "-f", str(tmp_path / "own.conf"), "--config-id", "a").stdout
    assert "arbiter etcd" in run(GOOD, "-f", str(tmp_path / "own.conf"), "--config-id", "b").stdout


def test_text_that_no_terminal_can_show(run, tmp_path: Path) -> None:
    path = tmp_path / "k.conf"
    path.write_bytes(b"vrrp_instance \xff {\n}\n")
    result = CliRunner().invoke(check, ["-f", str(path)])
    assert result.exit_code == 78
    assert "not UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("lease=3s&renew=1400ms", "renew 1.4 s is more than a third of lease 3 s"),
        ("lease=1s&renew=0.6", "renew 0.6 s is more than a third of lease 1 s"),
        ("lease=3s&renew=2s", "renew 2 s is more than a third of lease 3 s"),
        ("renew=1400ms", "renew 1.4 s is more than a third of lease 4 s: 3 x 1.4 = 4.2 > 4"),
        ("lease=50ms", "lease 0.05 s is shorter than 0.1 s"),
        ("lease=3s&renew=1s&guard=1200ms", "guard 1.2 s leaves no time to act"),
    ],
)
def test_timing_that_the_agent_refuses_is_refused(run, query: str, said: str) -> None:
    result = run(GOOD, "--arbiter", f"etcd://h:2379/d?{query}")
    assert (result.exit_code, result.stdout) == (78, "")
    assert f"error: --arbiter: {said}" in result.stderr


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("arbiter redis {\nendpoints h:1\n}\n", "k.conf:1:9: arbiter redis: refused: redis"),
        ("arbiter zk {\nendpoints h:1\n}\n", "k.conf:1:9: arbiter zk: called zookeeper here"),
        ("arbiter nosuch {\nendpoints h:1\n}\n", "k.conf:1:9: arbiter nosuch: no such arbiter; installed: "),
        (
            "arbiter etcd {\nendpoints h:1\nlease 3s\nrenew 1400ms\n}\n",
            "k.conf:1:9: renew 1.4 s is more than a third",
        ),
    ],
)
def test_an_arbiter_that_the_agent_refuses_is_refused_with_its_place(run, block: str, said: str) -> None:
    result = run(block + GOOD.replace("advert_int", "advert_imt"))
    assert (result.exit_code, result.stdout) == (78, "")
    (error,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert said in error
    assert "warning: " in result.stderr


def test_an_address_of_two_claims_is_refused_as_the_gate_refuses_it(run) -> None:
    other = GOOD.replace("VI_1", "VI_2").replace("router_id 51", "router_id 52")
    result = run(GOOD + other)
    assert (result.exit_code, result.stdout) == (78, "")
    assert "error: claims VI_1 and VI_2 both guard address 192.0.2.5 (a sync group" in result.stderr
    assert run(GOOD + other + "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\n").exit_code == 0


def test_every_reason_is_said_at_once(run) -> None:
    result = run("arbiter redis {\nlease 3s\nrenew 1400ms\n}\n" + GOOD)
    assert ["renew 1.4 s" in result.stderr, "arbiter redis: refused" in result.stderr] == [True, True]


def test_an_arbiter_by_name_needs_a_block_with_endpoints(run) -> None:
    result = run(GOOD, "--arbiter", "etcd")
    assert result.exit_code == 78
    assert "error: --arbiter: arbiter etcd has no endpoints (at least one)" in result.stderr
    assert run("arbiter zookeeper {\nendpoints h:2181\n}\n" + GOOD, "--arbiter", "etcd").exit_code == 0


@pytest.fixture
def peers(tmp_path: Path) -> str:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    key.chmod(0o600)
    return f"peers {{\nkey_file {key}\nnode a 192.0.2.1\nnode b 192.0.2.2\n}}\n"


def test_a_node_that_its_peers_block_does_not_list_is_told(run, peers: str) -> None:
    arbiter = ("--arbiter", "etcd://h:2379/d", "--strict")
    for node in "ab":
        assert run(peers + GOOD, *arbiter, "--node", node).exit_code == 0
        assert run(f"haagent {{\nnode {node}\n}}\n" + peers + GOOD, *arbiter).exit_code == 0
    other = run(peers + GOOD, *arbiter, "--node", "c")
    assert other.exit_code == 78
    assert "k.conf:1:1: peers lists a, b, but not this node, c; " in other.stderr
    assert "--node" in other.stderr


def test_the_node_named_by_option_is_the_one_that_is_left_out_of_its_peers(run, peers: str) -> None:
    text = "haagent {\nnode b\n}\n" + peers + GOOD
    document = json.loads(run(text, "--json", "--node", "a").stdout)
    assert document["daemon"]["node"] == "a"
    assert [one["node"] for one in document["peers"]["nodes"]] == ["b"]


def test_peers_without_an_arbiter_are_for_track_peer(run, peers: str) -> None:
    assert "k.conf:1:1: peers without an arbiter" in run(peers + GOOD, "--node", "a").stderr
    vote = "track_peer others {\n}\n"
    tracked = GOOD.replace("advert_int 2", "advert_int 2\ntrack_peer {\nothers weight -10\n}")
    assert run(peers + vote + tracked, "--node", "a").stderr == ""


@pytest.mark.parametrize("node", ["a/b", "x y", "../../etc/x", "n" * 65])
def test_a_name_on_the_command_line_is_checked_like_one_in_the_file(run, node: str) -> None:
    done = run(GOOD, "--node", node)
    assert done.exit_code == 78
    assert f"error: --node: node is {node!r} (letters, digits" in done.stderr


def test_a_node_outside_its_peers_is_told_only_with_failsafe(run, peers: str) -> None:
    words = ("--arbiter", "etcd://h:2379/d", "--strict", "--node", "c")
    assert run(peers.replace("peers {", "peers {\nfailsafe no") + GOOD, *words).exit_code == 0
    assert run(peers + GOOD, *words).exit_code == 78
