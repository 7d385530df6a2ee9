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
