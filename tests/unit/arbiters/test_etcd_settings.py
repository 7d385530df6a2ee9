"""The words of an ``arbiter etcd`` block: what is accepted, and what the operator is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbiters.etcd.settings import Settings, read_settings
from arbiters.options import Account
from haagent.arbiter import ArbiterOptions, Misconfigured


def read(*endpoints: str, domain: str = "ha", ttl: float = 0.5, **settings: str) -> Settings:
    return read_settings(ArbiterOptions(endpoints or ("etcd1",), domain, "node-a", ttl, settings))


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("etcd1", "etcd1:2379"),
        ("etcd1:1234", "etcd1:1234"),
        ("192.0.2.1:2379", "192.0.2.1:2379"),
        ("http://etcd1:2379/", "etcd1:2379"),
        ("[2001:db8::1]", "[2001:db8::1]:2379"),
        ("[2001:db8::1]:77", "[2001:db8::1]:77"),
    ],
)
def test_endpoints(endpoint: str, target: str) -> None:
    assert read(endpoint).targets == (target,)


@pytest.mark.parametrize("endpoint", ["2001:db8::1", "etcd1:", ":2379", "etcd1:http"])
def test_refused_endpoints(endpoint: str) -> None:
    with pytest.raises(Misconfigured, match="is not host:port"):
        read(endpoint)


def test_names_and_time_to_live() -> None:
    settings = read(domain="prod", ttl=0.9)
    assert (settings.prefix, settings.session, settings.ttl) == ("/haagent/prod/", "sessions/node-a", 3)
    assert read(ttl=0.1).ttl == 2


def test_account_is_whole_and_hidden() -> None:
    settings = read(username="ha", password="s3cret")
    assert settings.account == Account("ha", "s3cret")
    assert "s3cret" not in repr(settings)
    for half in ({"username": "ha"}, {"password": "x"}):
        with pytest.raises(Misconfigured, match="go together"):
            read(**half)


def test_tls_is_asked_for_by_scheme_word_or_file(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    assert read().certificates is None
    assert read("https://etcd1").certificates is not None
    assert read(tls="yes").certificates is not None
    certificates = read(ca=str(pem)).certificates
    assert certificates is not None
    assert certificates.ca == pem.read_bytes()


def test_refused_tls(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for words, said in (
        ({"cert": "/c"}, "cert and key go together"),
        ({"ca": str(tmp_path / "none")}, "No such file"),
        ({"ca": str(tmp_path / "text")}, "not a PEM file"),
    ):
        with pytest.raises(Misconfigured, match=said):
            read(**words)
    with pytest.raises(Misconfigured, match="begins with http://"):
        read("http://etcd1", tls="yes")
    with pytest.raises(Misconfigured, match="scheme 'unix'"):
        read("unix://socket")


def test_refused_words() -> None:
    with pytest.raises(Misconfigured, match="unknown setting 'user'; accepted: ca, cert"):
        read(user="ha")
    with pytest.raises(Misconfigured, match="without slashes"):
        read(domain="a/b")
    with pytest.raises(Misconfigured, match="no endpoint"):
        read_settings(ArbiterOptions((), "d", "n", 1.0, {}))
