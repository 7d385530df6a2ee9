"""Real etcd clusters for labs and tests: one or more members, with TLS and users, in namespaces or not.

Promises to signal only the processes it started, and to remove their data and logs when closed.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from haagent.errors import HaagentError

START_TIMEOUT = 20.0
ROOT_PASSWORD = "lab-root"


class ServerError(HaagentError):
    """A server of the lab did not start or refused a command; the text ends with its own last words."""


def require_etcd() -> None:
    """Raise ServerError unless etcd and etcdctl can be started."""
    missing = [name for name in ("etcd", "etcdctl") if shutil.which(name) is None]
    if missing:
        raise ServerError(
            f"no {' and no '.join(missing)} here; on Debian: apt install etcd-server etcd-client"
        )


@dataclass(frozen=True, slots=True)
class Site:
    """Where a member runs: an address, and the namespace that has it (None: the caller's own)."""

    address: str = "127.0.0.1"
    namespace: str | None = None


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


@dataclass(slots=True)
class EtcdMember:
    """One etcd process, running or not; ``endpoint`` is host:port for clients."""

    name: str
    site: Site
    client_port: int
    peer_port: int
    argv: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"{self.site.address}:{self.client_port}"

    @property
    def pid(self) -> int:
        """The pid of the running etcd."""
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid


class EtcdCluster:
    """A cluster in ``directory``, one member per site. A context manager; ``start`` returns when it has a leader."""

    def __init__(
        self, directory: Path, sites: Sequence[Site] = (Site(),), options: EtcdOptions | None = None
    ) -> None:
        self.directory, self.options = directory, options or EtcdOptions()
        self.members = tuple(_place(number, site) for number, site in enumerate(sites, start=1))
        peers = ",".join(f"{m.name}=http://{m.site.address}:{m.peer_port}" for m in self.members)
        for member in self.members:
            member.argv = self._argv(member, peers)

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

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start every member, wait for a leader, and set up the user if one is asked for."""
        require_etcd()
        self.directory.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            self._spawn(member)
        self.wait_until_healthy()
        if self.options.user is not None:
            self._enable_authentication()

    def wait_until_healthy(self, members: Sequence[EtcdMember] | None = None) -> None:
        """Wait until each of ``members`` (default: all) can do a linearizable read."""
        until = time.monotonic() + START_TIMEOUT
        for member in members or self.members:
            while not self._healthy(member):
                if time.monotonic() > until:
                    raise ServerError(f"{member.name} is not healthy:\n{self.tail(member)}")
                time.sleep(0.05)

    def kill(self, member: EtcdMember) -> None:
        """SIGKILL one member and reap it."""
        if member.process is not None:
            member.process.kill()
            member.process.wait(timeout=10)
            member.process = None

    def restart(self, member: EtcdMember) -> None:
        """Kill one member if it runs, start it again on its data and wait until it answers."""
        self.kill(member)
        self._spawn(member)
        self.wait_until_healthy((member,))

    def revive(self) -> None:
        """Start every member that was killed on its data, all at once: none answers without a majority."""
        for member in self.members:
            if member.process is None:
                self._spawn(member)
        self.wait_until_healthy()

    def freeze(self, member: EtcdMember) -> None:
        """SIGSTOP one member: its connections stay open and silent."""
        self._signal(member, signal.SIGSTOP)

    def thaw(self, member: EtcdMember) -> None:
        """SIGCONT one member."""
        self._signal(member, signal.SIGCONT)

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
        command = [*self._inside(self.members[0]), "env", "ETCDCTL_API=3", "etcdctl", *arguments]
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

    def tail(self, member: EtcdMember, lines: int = 15) -> str:
        """Return the end of a member's log."""
        log = self._log(member)
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def close(self) -> None:
        """Kill every member and remove its data and log. Idempotent."""
        for member in self.members:
            self.kill(member)
            shutil.rmtree(self.directory / member.name, ignore_errors=True)
            self._log(member).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    _authenticated = False

    def _argv(self, member: EtcdMember, peers: str) -> tuple[str, ...]:
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
            "initial-cluster": peers,
            "heartbeat-interval": str(options.heartbeat),
            "election-timeout": str(options.election),
        }
        if tls is not None:
            words |= {"cert-file": str(tls.server_cert), "key-file": str(tls.server_key)}
            words |= {"trusted-ca-file": str(tls.ca), "client-cert-auth": "true"}
        return ("etcd", *(f"--{word}={value}" for word, value in words.items()))

    def _spawn(self, member: EtcdMember) -> None:
        with open(self._log(member), "ab") as log:
            member.process = subprocess.Popen(
                [*self._inside(member), *member.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @staticmethod
    def _inside(member: EtcdMember) -> tuple[str, ...]:
        """Return what puts a command into the member's namespace (``ip netns exec`` becomes the command)."""
        namespace = member.site.namespace
        return () if namespace is None else ("ip", "netns", "exec", namespace)

    @staticmethod
    def _signal(member: EtcdMember, number: signal.Signals) -> None:
        if member.process is not None:
            member.process.send_signal(number)

    def _healthy(self, member: EtcdMember) -> bool:
        if member.process is None or member.process.poll() is not None:
            raise ServerError(f"{member.name} ended:\n{self.tail(member)}")
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

    def _log(self, member: EtcdMember) -> Path:
        return self.directory / f"{member.name}.log"


def _place(number: int, site: Site) -> EtcdMember:
    """Return a member at ``site``: on etcd's own ports in a namespace, on free ones outside."""
    if site.namespace is not None:
        return EtcdMember(f"etcd{number}", site, 2379, 2380)
    with socket.socket() as client, socket.socket() as peer:
        client.bind((site.address, 0))
        peer.bind((site.address, 0))
        return EtcdMember(f"etcd{number}", site, client.getsockname()[1], peer.getsockname()[1])
