"""Arbiter blocks and URLs mean the same, and secrets stay out of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.config.arbiters import parse_arbiter
from haagent.config.messages import ConfigErrors
from haagent.core.units import MILLISECOND, SECOND


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "pass word"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


def test_names() -> None:
    assert parse_arbiter("none").kind == "none"
    assert (parse_arbiter("etcd").kind, parse_arbiter("etcd").endpoints) == ("etcd", ())


def test_a_url_says_everything(password_file: Path) -> None:
    encoded = str(password_file).replace(" ", "%20")
    found = parse_arbiter(
        f"etcd://h1:2379,h2:2379/site-1?lease=2s&renew=0.5&guard=20ms&ca=/p/ca&cert=/p/c&key=/p/k&username=ha&password_file={encoded}"
    )
    assert (found.kind, found.endpoints, found.domain) == ("etcd", ("h1:2379", "h2:2379"), "site-1")
    assert (found.lease, found.renew, found.guard) == (2 * SECOND, 500 * MILLISECOND, 20 * MILLISECOND)
    assert dict(found.settings) == {
        "ca": "/p/ca",
        "cert": "/p/c",
        "key": "/p/k",
        "username": "ha",
        "password": "s3cret",
    }
    assert "s3cret" not in repr(found)


def test_a_block_and_a_url_mean_the_same(read, password_file: Path) -> None:
    block = f'arbiter etcd {{\nendpoints h1:2379 h2:2379\ndomain d\nlease 2s\nusername ha\npassword_file "{password_file}"\n}}\n'
    encoded = str(password_file).replace(" ", "%20")
    assert read(block).arbiter == parse_arbiter(
        f"etcd://h1:2379,h2:2379/d?lease=2&username=ha&password_file={encoded}"
    )


def test_files_and_zookeeper() -> None:
    files = parse_arbiter("file:///mnt/a,/mnt/b%2Cx,/mnt/c?domain=d")
    assert (files.kind, files.endpoints, files.domain) == ("file", ("/mnt/a", "/mnt/b,x", "/mnt/c"), "d")
    keeper = parse_arbiter("zookeeper://[2001:db8::1]:2181,zk2:2181")
    assert (keeper.endpoints, keeper.domain) == (("[2001:db8::1]:2181", "zk2:2181"), "haagent")


def test_a_foreign_plugin_has_words_of_its_own(read) -> None:
    assert dict(parse_arbiter("mystore://anything/d?region=eu").settings) == {"region": "eu"}
    arbiter = read("arbiter mystore {\nendpoints anything\nregion eu\nlease 3\n}\n").arbiter
    assert arbiter is not None
    assert (dict(arbiter.settings), arbiter.lease) == ({"region": "eu"}, 3 * SECOND)


def test_a_secret_from_the_environment() -> None:
    found = parse_arbiter("etcd://h:1?password_env=PW", {"PW": "s3cret"})
    assert dict(found.settings) == {"password": "s3cret"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("etcd://ha:s3cret@h1:2379/d", "password_file=FILE"),
        ("etcd://h1:2379/d?password=s3cret", "use password_file or password_env"),
        ("etcd://h1:2379/d?password_env=NOPE", "the environment has no NOPE"),
        ("etcd://h1:2379/d?password_file=/nonexistent/s", "cannot read password_file"),
        ("etcd://h1:2379/d?color=red", "has no word 'color'"),
        ("etcd://h1:2379/d?lease", "'lease' in the arbiter's URL has no value"),
        ("etcd://h1:2379/d?lease=1&lease=2", "given twice"),
        ("etcd://h1:2379/d?lease=soon", "lease is 'soon'"),
        ("etcd://h1:2379/a/b", "domain 'a/b'"),
        ("etcd://h1:2379/d?domain=e", "two domains"),
        ("etcd://", "has no endpoints"),
        ("etcd://h1:0", "endpoint 'h1:0'"),
        ("etcd://h1:2379,h1:2379", "an endpoint twice"),
        ("file://relative/path", "an absolute path"),
        ("postgresql://ha:s3cret@db1/d", "use ?username=NAME&password_file=FILE"),
        ("postgresql://db1/d?chroot=/x", "has no word 'chroot'"),
        ("consul://", "has no endpoints"),
        ("quorum", "write an arbiter block"),
        ("Etcd", "arbiter 'Etcd'"),
        ("", "arbiter ''"),
    ],
)
def test_urls_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_arbiter(text, {})
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_quorum_shares_its_domain(read) -> None:
    arbiter = read(
        "arbiter quorum {\ndomain d\nlease 3\netcd {\nendpoints e:2379\n}\nzookeeper {\nendpoints z:2181\n}\nfile {\nendpoints /a /b /c\n}\n}\n"
    ).arbiter
    assert arbiter is not None
    assert (arbiter.kind, arbiter.lease) == ("quorum", 3 * SECOND)
    assert [(member.kind, member.domain) for member in arbiter.members] == [
        ("etcd", "d"),
        ("zookeeper", "d"),
        ("file", "d"),
    ]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("arbiter quorum {\n}", "has no members"),
        ("arbiter etcd {\n}", "has no endpoints"),
        ("arbiter etcd", "needs a block"),
        ("arbiter none\narbiter none", "a second arbiter block"),
        ("arbiter etcd {\nendpoints h:1\nlease 0\n}", "a time greater than 0"),
    ],
)
def test_blocks_that_are_refused(errors, block: str, message: str) -> None:
    assert any(message in text for text in errors(block + "\n"))


def test_the_option_overrides_the_block(read) -> None:
    block = "arbiter etcd {\nendpoints h:2379\ndomain d\n}\n"
    assert read(block, arbiter="none").arbiter.kind == "none"
    assert read(block, arbiter="etcd").arbiter.endpoints == ("h:2379",)
    replaced = read(block, arbiter="zookeeper://z:2181/e").arbiter
    assert (replaced.kind, replaced.endpoints, replaced.domain) == ("zookeeper", ("z:2181",), "e")


def test_a_kind_that_does_not_fit_the_blocks_endpoints_is_an_error(errors) -> None:
    found = errors("arbiter etcd {\nendpoints h:2379\n}\n", arbiter="file")
    assert "voting file 'h:2379'" in found[0]


def test_a_secret_that_everyone_can_read_is_a_warning(read, password_file: Path) -> None:
    password_file.chmod(0o644)
    configuration = read(f'arbiter etcd {{\nendpoints h:1\npassword_file "{password_file}"\n}}\n')
    assert any("is open to every user" in text for text in configuration.warnings)


def test_words_of_the_databases_and_clusters() -> None:
    base = parse_arbiter("postgresql://db1,db2:5433/site?database=ha&schema=x&tls=yes&username=ha")
    assert (base.endpoints, base.domain) == (("db1", "db2:5433"), "site")
    assert dict(base.settings) == {"database": "ha", "schema": "x", "tls": "yes", "username": "ha"}
    assert dict(parse_arbiter("consul://c1/site?datacenter=eu").settings) == {"datacenter": "eu"}
    pod = parse_arbiter("kubernetes:///site?namespace=ha")
    assert (pod.endpoints, pod.domain, dict(pod.settings)) == ((), "site", {"namespace": "ha"})
