"""Real etcd clusters for labs and tests: one or more members, with TLS and users, in namespaces or not.

Promises to signal only the processes it started, and to remove their data and logs when closed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from haagent.lab.members import Member, Members, ServerError, Site

ROOT_PASSWORD = "lab-root"


def require_etcd() -> None:
    """Raise ServerError unless etcd and etcdctl can be started."""
    missing = [name for name in ("etcd", "etcdctl") if shutil.which(name) is None]
    if missing:
        raise ServerError(
            f"no {' and no '.join(missing)} here; on Debian: apt install etcd-server etcd-client"
        )


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of one authority: its own certificate, and a pair each for servers and clients."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def make_certificates(
    directory: Path, addresses: Sequence[str], client_name: str = "haagent"
) -> Certificates:
    """Make an authority and certificates for servers at ``addresses`` and for a client, valid for a day."""
    directory.mkdir(parents=True, exist_ok=True)
    _openssl(
        directory,
        "req",
        "-x509",
        *_new_key("ca"),
        "-subj",
        "/CN=lab authority",
        "-days",
        "1",
        "-out",
        "ca.pem",
    )
    names = ",".join(f"IP:{address}" for address in addresses)
    for name, subject, extension in (
        ("server", "lab server", f"subjectAltName={names},DNS:etcd.lab"),
        ("client", client_name, "extendedKeyUsage=clientAuth"),
    ):
        _openssl(directory, "req", *_new_key(name), "-subj", f"/CN={subject}", "-out", f"{name}.csr")
        (directory / f"{name}.ext").write_text(extension)
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1")
        request = ("-req", "-in", f"{name}.csr", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        _openssl(directory, "x509", *request, *signing)
    files = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(directory / file for file in files))


def _new_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")


def _openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], cwd=directory, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise ServerError(f"openssl {arguments[0]}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """How a cluster is run. Times in ms; ``user`` and ``password`` switch etcd's authentication on."""

    certificates: Certificates | None = None
    user: str | None = None
    password: str = ""
    prefix: str = "/haagent/"
    heartbeat: int = 100
    election: int = 1000


@dataclass(slots=True, kw_only=True)
class EtcdMember(Member):
    """One etcd process, running or not; ``endpoint`` is host:port for clients."""

    client_port: int
    peer_port: int

    @property
    def endpoint(self) -> str:
        return f"{self.site.address}:{self.client_port}"


class EtcdCluster(Members[EtcdMember]):
    """A cluster in ``directory``, one member per site. A context manager; ``start`` returns when it has a leader."""

    def __init__(
        self, directory: Path, sites: Sequence[Site] = (Site(),), options: EtcdOptions | None = None
    ) -> None:
        self.directory, self.options = directory, options or EtcdOptions()
        self.members = tuple(_place(number, site) for number, site in enumerate(sites, start=1))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The members' host:port for clients."""
        return tuple(member.endpoint for member in self.members)

    @property
    def settings(self) -> dict[str, str]:
        """What an ``arbiter etcd`` block must say to reach this cluster."""
        words: dict[str, str] = {}
        if (tls := self.options.certificates) is not None:
            words |= {"ca": str(tls.ca), "cert": str(tls.client_cert), "key": str(tls.client_key)}
        if self.options.user is not None:
            words |= {"username": self.options.user, "password": self.options.password}
        return words

    def start(self) -> None:
        """Start every member, wait for a leader, and set up the user if one is asked for."""
        require_etcd()
        self.directory.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            self.spawn(member)
        self.wait_until_healthy()
        if self.options.user is not None:
            self._enable_authentication()

    def leader(self) -> EtcdMember:
        """Return the member that leads. Raises ServerError if none says so."""
        for member in self.members:
            status = self.etcdctl("endpoint", "status", endpoints=(member.endpoint,)).split(", ")
            if status[4] == "true":
                return member
        raise ServerError("no member says that it leads")

    def etcdctl(
        self,
        *arguments: str,
        endpoints: Sequence[str] | None = None,
        timeout: float = 5.0,
        stdin: str | None = None,
    ) -> str:
        """Run etcdctl, as root where there are users, and return its output. Raises ServerError."""
        command = [*self.members[0].site.inside(), "env", "ETCDCTL_API=3", "etcdctl", *arguments]
        command += ["--endpoints", ",".join(endpoints or self.endpoints), f"--command-timeout={timeout}s"]
        if (tls := self.options.certificates) is not None:
            command += ["--cacert", str(tls.ca), "--cert", str(tls.client_cert), "--key", str(tls.client_key)]
        if self._authenticated:
            command += ["--user", f"root:{ROOT_PASSWORD}"]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout + 5, check=False
        )
        if done.returncode:
            raise ServerError(f"etcdctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def save(self) -> None:
        """Take a snapshot, for ``restore``, as an operator's backup does."""
        self.etcdctl("snapshot", "save", str(self._snapshot), endpoints=(self.members[0].endpoint,))

    def restore(self) -> None:
        """Kill every member and make a new cluster of the last snapshot, as etcd's manual says."""
        for member in self.members:
            self.kill(member)
            data = self.directory / member.name
            shutil.rmtree(data)
            words = {"name": member.name, "initial-cluster": self._peers(), "data-dir": str(data)}
            words["initial-advertise-peer-urls"] = f"http://{member.site.address}:{member.peer_port}"
            options = (f"--{word}={value}" for word, value in words.items())
            self.etcdctl("snapshot", "restore", str(self._snapshot), *options)
        self.revive()

    @property
    def _snapshot(self) -> Path:
        return self.directory / "snapshot.db"

    def close(self) -> None:
        """Kill every member and remove its data and log. Idempotent."""
        self._snapshot.unlink(missing_ok=True)
        for member in self.members:
            self.kill(member)
            shutil.rmtree(self.directory / member.name, ignore_errors=True)
            self.log(member).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    _authenticated = False

    def command(self, member: EtcdMember) -> tuple[str, ...]:
        """Return etcd with all its options."""
        options, tls = self.options, self.options.certificates
        client = f"{'https' if tls else 'http'}://{member.endpoint}"
        peer = f"http://{member.site.address}:{member.peer_port}"
        words = {
            "name": member.name,
            "data-dir": str(self.directory / member.name),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": self._peers(),
            "heartbeat-interval": str(options.heartbeat),
            "election-timeout": str(options.election),
        }
        if tls is not None:
            words |= {"cert-file": str(tls.server_cert), "key-file": str(tls.server_key)}
            words |= {"trusted-ca-file": str(tls.ca), "client-cert-auth": "true"}
        return ("etcd", *(f"--{word}={value}" for word, value in words.items()))

    def _peers(self) -> str:
        return ",".join(f"{m.name}=http://{m.site.address}:{m.peer_port}" for m in self.members)

    def log(self, member: EtcdMember) -> Path:
        """Return the file of the member's output."""
        return self.directory / f"{member.name}.log"

    def serves(self, member: EtcdMember) -> bool:
        """Say whether ``member`` can do a linearizable read."""
        if member.process is None:
            return False
        try:
            self.etcdctl("get", "health", endpoints=(member.endpoint,), timeout=1.0)
        except (ServerError, subprocess.TimeoutExpired):
            return False
        return True

    def _enable_authentication(self) -> None:
        options = self.options
        self.etcdctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("role", "add", "haagent")
        self.etcdctl("role", "grant-permission", "haagent", "readwrite", options.prefix, "--prefix=true")
        self.etcdctl("user", "add", f"{options.user}:{options.password}")
        self.etcdctl("user", "grant-role", f"{options.user}", "haagent")
        self.etcdctl("auth", "enable")
        self._authenticated = True


def _place(number: int, site: Site) -> EtcdMember:
    """Return a member at ``site``: on etcd's own ports in a namespace, on free ones outside."""
    client, peer = site.ports(2379, 2380)
    return EtcdMember(name=f"etcd{number}", site=site, client_port=client, peer_port=peer)
