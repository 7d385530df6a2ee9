"""``haagent migrate`` prints what can be used as it is, and refuses what keepalived would have let pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from haagent.cli import main
from haagent.config.arbiters import parse_arbiter
from haagent.config.load import load

CONF = """
vrrp_instance web {
    state MASTER
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        192.0.2.100/24
    }
}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "keepalived.conf"
    path.write_text(CONF)
    return str(path)


def test_the_report_says_what_changes_and_what_to_type(file: str) -> None:
    done = CliRunner().invoke(main, ["migrate", "-f", file])
    assert done.exit_code == 0, done.output
    assert "'state MASTER' begins as MASTER" in done.output
    assert "the arbiter's endpoints are made up" in done.output
    assert f"ExecStart=haagent run -f {file} -f /etc/haagent/haagent.conf" in done.output


def test_a_name_that_means_something_to_systemd_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / 'a 100% "sure" $HOME.conf'
    path.write_text(CONF)
    done = CliRunner().invoke(main, ["migrate", "-f", str(path), "--print", "unit"])
    assert done.exit_code == 0, done.output
    (line,) = (one for one in done.output.splitlines() if one.startswith("ExecStart=haagent"))
    assert line == (
        f'ExecStart=haagent run -f "{tmp_path}/a 100%% \\"sure\\" $$HOME.conf" -f /etc/haagent/haagent.conf'
    )


def test_the_arbiter_named_is_the_arbiter_proposed(file: str) -> None:
    done = CliRunner().invoke(
        main, ["migrate", "-f", file, "--arbiter", "etcd://e1:2379/web", "--print", "configuration"]
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("arbiter etcd {\n    endpoints e1:2379\n    domain web\n}\n")


def test_a_file_that_cannot_be_used_is_refused_with_its_place(file: str) -> None:
    Path(file).write_text(CONF.replace("virtual_router_id 51", "virtual_router_id 551"))
    done = CliRunner().invoke(main, ["migrate", "-f", file])
    assert done.exit_code == 78
    assert f"{file}:5:" in done.output


def test_arbiter_none_is_no_migration(file: str) -> None:
    done = CliRunner().invoke(main, ["migrate", "-f", file, "--arbiter", "none"])
    assert done.exit_code == 78
    assert "name the arbiter" in done.output


def test_everything_the_url_says_is_proposed(file: str, tmp_path: Path) -> None:
    url = "etcd://e1:2379/web?ca=/etc/ca.pem&cert=/etc/c.pem&key=/etc/k.pem&username=ha&lease=3s&renew=700ms"
    done = CliRunner().invoke(main, ["migrate", "-f", file, "--arbiter", url, "--print", "configuration"])
    assert done.exit_code == 0, done.output
    addition = tmp_path / "haagent.conf"
    addition.write_text(done.output)
    assert load([Path(file), addition]).arbiter == parse_arbiter(url)


def test_an_arbiter_that_is_refused_is_not_proposed(file: str) -> None:
    done = CliRunner().invoke(main, ["migrate", "-f", file, "--arbiter", "redis://r:6379"])
    assert done.exit_code == 78
    assert "arbiter redis: refused" in done.output


def test_a_quorum_in_the_file_stays(file: str) -> None:
    quorum = "arbiter quorum {\netcd { endpoints e:1 }\nfile { endpoints /v }\nwitness { endpoints w:1 }\n}\n"
    Path(file).write_text(quorum + CONF)
    done = CliRunner().invoke(main, ["migrate", "-f", file, "--print", "configuration"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"# the arbiter block stays as it is ({file}:1:9)\n")
    assert "arbiter quorum {" not in done.output
