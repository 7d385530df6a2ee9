"""What a ZooKeeper arbiter was told, checked. Looks at the certificate files once; opens no connection.

Words of the ``arbiter`` block: ``username`` and ``password`` (ZooKeeper's ``digest`` scheme: every znode we make is
then readable and writable by this user only), ``auth sasl`` (DIGEST-MD5 with the same two words; needs pure-sasl),
``ca``, ``cert``, ``key`` (paths of PEM files; ``ca`` switches TLS on), ``chroot`` (a path below which everything
is kept). Endpoints are host:port.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from arbiters.options import Account, account, check_pair, check_words, host_port, pem
from haagent.arbiter import ArbiterOptions, Misconfigured

DEFAULT_PORT = 2181
WORDS = frozenset({"username", "password", "auth", "ca", "cert", "key", "chroot"})


@dataclass(frozen=True, slots=True)
class ZooKeeperAccount(Account):
    """A user; ``sasl`` says by which scheme it is shown to be one."""

    sasl: bool


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: the authorities to trust, and the client's certificate and key, if it has them."""

    ca: str
    cert: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need; ``root`` is the domain's znode and ends without a slash."""

    targets: tuple[str, ...]
    root: str
    node: str
    account: ZooKeeperAccount | None
    certificates: Certificates | None


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    check_words("zookeeper", options, WORDS, per="server")
    return Settings(
        targets=tuple(_target(endpoint) for endpoint in options.endpoints),
        root=f"{_chroot(options.settings)}/haagent/{options.domain}",
        node=options.node,
        account=_account(options.settings),
        certificates=_certificates(options.settings),
    )


def _target(endpoint: str) -> str:
    return host_port("zookeeper", endpoint, DEFAULT_PORT, "; a path goes into chroot")


def _chroot(settings: Mapping[str, str]) -> str:
    """Return the path to put before ours: empty, or beginning with a slash and not ending in one."""
    chroot = settings.get("chroot", "").rstrip("/")
    if chroot and (not chroot.startswith("/") or {"", ".", ".."} & set(chroot[1:].split("/"))):
        raise Misconfigured(f"arbiter zookeeper: chroot {chroot!r} is not an absolute path, such as /ha")
    return chroot


def _account(settings: Mapping[str, str]) -> ZooKeeperAccount | None:
    auth = settings.get("auth", "digest")
    if auth not in {"digest", "sasl"}:
        raise Misconfigured(f"arbiter zookeeper: auth {auth!r}; accepted: digest, sasl")
    user = account("zookeeper", settings)
    if user is None:
        if "auth" in settings:
            raise Misconfigured("arbiter zookeeper: auth without username and password")
        return None
    if ":" in user.username:
        raise Misconfigured("arbiter zookeeper: username contains a colon")
    if auth == "sasl" and importlib.util.find_spec("puresasl") is None:
        raise Misconfigured(
            "arbiter zookeeper: auth sasl needs the library pure-sasl; run: pip install pure-sasl"
        )
    return ZooKeeperAccount(user.username, user.password, sasl=auth == "sasl")


def _certificates(settings: Mapping[str, str]) -> Certificates | None:
    """Return what TLS needs, or None for plain TCP. kazoo reads the files itself, whenever it connects."""
    check_pair("zookeeper", settings)
    for word in ("ca", "cert", "key"):
        pem("zookeeper", settings, word)
    if "ca" not in settings:
        if "cert" in settings:
            raise Misconfigured("arbiter zookeeper: cert without ca; name the authority of the servers")
        return None
    return Certificates(settings["ca"], settings.get("cert"), settings.get("key"))
