"""What the arbiters check alike: endpoints, client certificates, texts; and the words of PostgreSQL's and Consul's blocks."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from arbiters.consul.settings import read_settings as read_consul
from arbiters.options import as_text, host_port, make_context, split_host_port, tls_context
from arbiters.postgresql.settings import Settings
from arbiters.postgresql.settings import read_settings as read_postgresql
from haagent.arbiter import ArbiterOptions, Misconfigured
from haagent.lab.servers import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("options"), ["127.0.0.1"])


@pytest.mark.parametrize(
    ("endpoint", "target", "split"),
    [
        ("db1", "db1:5432", ("db1", 5432)),
        ("db1:1", "db1:1", ("db1", 1)),
        ("[2001:db8::1]", "[2001:db8::1]:5432", ("2001:db8::1", 5432)),
        ("[2001:db8::1]:7", "[2001:db8::1]:7", ("2001:db8::1", 7)),
    ],
)
def test_endpoints(endpoint: str, target: str, split: tuple[str, int]) -> None:
    assert host_port("x", endpoint, 5432) == target
    assert split_host_port(target) == split


@pytest.mark.parametrize("endpoint", ["", ":1", "db1:", "db1:port", "2001:db8::1", "db1:1/x", "a,b"])
def test_refused_endpoints(endpoint: str) -> None:
    with pytest.raises(Misconfigured, match=r"arbiter x: endpoint .* is not host:port.*; hint"):
        host_port("x", endpoint, 1, "; hint")


def test_plain_tcp_unless_something_asks_for_tls(certificates: Certificates) -> None:
    assert tls_context("x", {}) is None
    assert tls_context("x", {"tls": "no"}) is None
    for words in ({"tls": "yes"}, {"ca": str(certificates.ca)}):
        context = tls_context("x", words)
        assert context is not None
        assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    with pytest.raises(Misconfigured, match="tls 'maybe'; accepted: yes, no"):
        tls_context("x", {"tls": "maybe"})
    with pytest.raises(Misconfigured, match="cert and key go together"):
        tls_context("x", {"cert": str(certificates.client_cert)})


def test_keys_that_do_not_fit_or_are_protected_are_refused(
    certificates: Certificates, tmp_path: Path
) -> None:
    """A passphrase is never asked for on a terminal: a daemon would wait for it."""
    ca, cert, key = (
        path.read_bytes() for path in (certificates.ca, certificates.client_cert, certificates.client_key)
    )
    make_context("x", ca, cert, key)
    with pytest.raises(Misconfigured, match="cannot be used"):
        make_context("x", ca, cert, certificates.server_key.read_bytes())
    protected = tmp_path / "protected.key"
    command = ["openssl", "ec", "-in", str(certificates.client_key), "-aes256", "-passout", "pass:x"]
    subprocess.run([*command, "-out", str(protected)], check=True, capture_output=True)
    with pytest.raises(Misconfigured, match="protected by a passphrase"):
        make_context("x", ca, cert, protected.read_bytes())


def test_values_that_are_no_text_are_refused() -> None:
    assert as_text("x", "é".encode()) == "é"
    for value in (b"\xff", b"a\0b"):
        with pytest.raises(Misconfigured, match="not UTF-8 text"):
            as_text("x", value)


def postgresql(**words: str) -> Settings:
    return read_postgresql(ArbiterOptions(("db1",), "web", "a", 0.5, words))


def test_words_of_postgresql() -> None:
    settings = postgresql(username="ha", password="s3cret")
    assert (settings.targets, settings.database, settings.schema) == (("db1:5432",), "ha", "haagent")
    assert "s3cret" not in repr(settings)
    assert postgresql(username="ha").password is None
    for schema in ("Haagent", "a b", "pg_x", 'x"; DROP TABLE y; --'):
        with pytest.raises(Misconfigured, match=r"schema .*; accepted: lower-case"):
            postgresql(schema=schema)
    with pytest.raises(Misconfigured, match="unknown setting 'chroot'"):
        postgresql(chroot="/x")


def test_words_of_consul() -> None:
    settings = read_consul(ArbiterOptions(("c1",), "www.example", "a", 0.5, {"password": "s3cret"}))
    assert settings.bases == ("http://c1:8500",)
    assert settings.prefix == "haagent/www,2Eexample/"
    assert "s3cret" not in repr(settings)
    with pytest.raises(Misconfigured, match="one host:port per agent or server"):
        read_consul(ArbiterOptions((), "web", "a", 0.5, {}))
