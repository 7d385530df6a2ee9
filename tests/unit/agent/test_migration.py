"""What a keepalived user is told depends on what his configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.agent.migration import PLACEHOLDER, Migration, migrate
from haagent.config.load import load

PLAIN = """
vrrp_instance web {
    interface eth0
    virtual_router_id 51
    priority 100
    virtual_ipaddress {
        192.0.2.100/24
    }
}
"""


def migration(tmp_path: Path, text: str) -> Migration:
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    return migrate(load([file], arbiter=PLACEHOLDER), [str(file)], placeholder=True, extra="/etc/x.conf")


def said(made: Migration) -> str:
    return "\n".join(f"{one.concerns} {one.before} {one.now}" for one in made.differences)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("state MASTER", "'state MASTER'"),
        ("notify_master /bin/true", "HAAGENT_EPOCH"),
        ("authentication {\n auth_type PASS\n auth_pass s3cret\n}", "auth_pass"),
    ],
)
def test_only_what_the_configuration_has_is_spoken_of(tmp_path: Path, line: str, words: str) -> None:
    assert words not in said(migration(tmp_path, PLAIN))
    assert words in said(migration(tmp_path, PLAIN.replace("interface eth0", f"interface eth0\n    {line}")))


def test_weights_under_nopreempt_are_pointed_out(tmp_path: Path) -> None:
    script = "vrrp_script chk {\n script /bin/true\n weight -20\n}\n"
    tracked = PLAIN.replace("interface eth0", "interface eth0\n    nopreempt\n    track_script {\n chk\n }")
    assert "('web',) 'nopreempt'" in said(migration(tmp_path, script + tracked))
    assert "nopreempt" not in said(migration(tmp_path, script + tracked.replace("nopreempt\n", "\n")))


def test_unicast_addresses_become_a_peers_block_that_is_complete_but_for_the_names(tmp_path: Path) -> None:
    unicast = "unicast_src_ip 192.0.2.1\n    unicast_peer {\n 192.0.2.2\n }"
    made = migration(tmp_path, PLAIN.replace("interface eth0", f"interface eth0\n    {unicast}"))
    assert "\npeers {\n" in made.additions
    assert "    node NAME1 192.0.2.1\n    node NAME2 192.0.2.2\n" in made.additions


def test_without_known_addresses_the_peers_block_is_a_comment(tmp_path: Path) -> None:
    assert "\n# peers {\n" in migration(tmp_path, PLAIN).additions


def test_what_is_proposed_can_be_read_back(tmp_path: Path) -> None:
    made = migration(tmp_path, PLAIN)
    addition = tmp_path / "haagent.conf"
    addition.write_text(made.additions)
    again = load([tmp_path / "keepalived.conf", addition])
    assert again.arbiter == made.configuration.arbiter
    assert again.instances == made.configuration.instances
    assert again.warnings == ()


def test_the_drop_in_runs_both_files(tmp_path: Path) -> None:
    assert (
        f"ExecStart=haagent run -f {tmp_path}/keepalived.conf -f /etc/x.conf\n"
        in migration(tmp_path, PLAIN).drop_in
    )


ETCD = "arbiter etcd {\nendpoints e1:2379\ndomain web\n}\n"
QUORUM = (
    "arbiter quorum {\netcd { endpoints e1:2379 }\nfile { endpoints /mnt/v }\nwitness { endpoints w:1 }\n}\n"
)


@pytest.mark.parametrize("block", [ETCD, QUORUM])
def test_an_arbiter_block_that_is_there_is_not_proposed_again(tmp_path: Path, block: str) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(block + PLAIN)
    configuration = load([file])
    own = configuration.arbiter
    made = migrate(configuration, [str(file)], placeholder=False, extra="/etc/x.conf", own=own)
    assert made.additions.startswith(f"# the arbiter block stays as it is ({file}:1:9)\n")
    (tmp_path / "haagent.conf").write_text(made.additions)
    assert load([file, tmp_path / "haagent.conf"]).arbiter == own


def test_another_arbiter_than_the_files_is_a_comment_for_its_place(tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(ETCD + PLAIN)
    own = load([file]).arbiter
    other = load([file], arbiter="etcd://e9:2379/web?ca=/etc/ca.pem")
    made = migrate(other, [str(file)], placeholder=False, extra="/etc/x.conf", own=own)
    comment, _, _ = made.additions.partition("\n\n")
    assert comment.splitlines()[0] == f"# In place of the arbiter block that is there ({file}:1:9):"
    assert all(line.startswith("# ") for line in comment.splitlines())
    (tmp_path / "haagent.conf").write_text(made.additions)
    assert load([file, tmp_path / "haagent.conf"]).arbiter == own
    file.write_text("\n".join(line[2:] for line in comment.splitlines()[1:]) + PLAIN)
    assert load([file]).arbiter == other.arbiter
