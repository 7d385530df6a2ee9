"""What the images are made from, read from what apt and pip say about themselves; and the table of a campaign."""

from __future__ import annotations

import stat

import pytest

from haagent.lab.namespaces import LabError
from tests.containers.campaign import PROFILES, Row, needs_zookeeper, table
from tests.containers.images import COPIED, ROOT, copy_sources, package_source, pip_settings

APT = """\
http://one.example/debian bookworm main
http://one.example/debian bookworm contrib
http://two.example/debian bookworm non-free
http://one.example/debian bookworm-updates main
http://one.example/debian-security bookworm-security main
"""
VERDICT = {
    "good": True, "seed": 7, "faults": 30, "dual_ms": 0, "no_owner_after_fault": None, "outage_ms": 9512,
    "longest_outage_ms": 370, "longest_silence_ms": 410, "rounds": 9117, "requests": 4392,
}  # fmt: skip


def test_the_mirror_is_the_one_apt_uses_for_the_release_itself():
    assert package_source(APT, "bookworm") == ("http://one.example/debian", ["contrib", "main"])


def test_a_mirror_that_debootstrap_cannot_ask_is_left_to_its_default():
    assert package_source("mirror+file:/etc/apt/mirrors.txt noble universe\n", "noble") == ("", ["universe"])


def test_a_release_without_packages_is_an_error():
    with pytest.raises(LabError, match="trixie"):
        package_source(APT, "trixie")


def test_of_pips_settings_those_that_say_where_packages_come_from():
    listing = (
        "global.index-url='http://old.example/simple'\n"
        "global.find-links='/opt/wheels'\n"
        "global.extra-index-url='file:///opt/simple https://two.example/simple'\n"
        ":env:.cert='/etc/bundle.pem'\n"
        ":env:.index-url='https://one.example/simple'\n"
    )
    assert pip_settings(listing) == {
        "index-url": "https://one.example/simple",
        "extra-index-url": "https://two.example/simple",
        "cert": "/etc/bundle.pem",
    }
    assert pip_settings("global.extra-index-url='file:///opt/simple'\n") == {}


def test_the_sources_are_copied_with_a_key_of_their_own(tmp_path):
    tree = copy_sources(tmp_path)
    assert {path.name for path in tree.iterdir()} == set(COPIED)
    key = tree / "compose" / "config" / "peers.key"
    assert len(bytes.fromhex(key.read_text())) == 32
    assert key.read_text() != copy_sources_again(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) & stat.S_IROTH, (
        "the agent in its container reads it without capabilities"
    )
    assert (tree / "compose" / ".env").read_text() == (ROOT / "compose" / ".env").read_text()


def copy_sources_again(tmp_path):
    (tmp_path / "again").mkdir()
    return (copy_sources(tmp_path / "again") / "compose" / "config" / "peers.key").read_text()


def test_every_profile_of_compose_is_played():
    text = (ROOT / "compose" / "README.md").read_text()
    assert {profile.partition(",")[0] for profile in PROFILES} <= set(text.split("`"))
    assert len(PROFILES) == len(set(PROFILES)) == 8
    assert [profile for profile in PROFILES if needs_zookeeper([profile])] == [
        "zookeeper", "quorum", "zookeeper,three", "quorum,three",
    ]  # fmt: skip


def test_a_row_says_what_was_seen():
    rows = [
        Row("etcd", VERDICT, 300.4),
        Row("files,three", VERDICT | {"good": False, "no_owner_after_fault": 4}, 60),
        Row("quorum", {}, 3),
    ]
    assert [row.good for row in rows] == [True, False, False]
    lines = table(rows).splitlines()
    assert lines[2] == "| etcd, 2 | 7, 30 | 0 ms | 9,117, 4,392 | 9.5 s, 0.37 s | 0.41 s | 300 s |"
    assert "nobody after fault 4" in lines[3]
    assert "could not be run" in lines[4]
    assert len({line.count("|") for line in lines}) == 1
