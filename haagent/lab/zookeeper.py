"""Real ZooKeeper ensembles for labs and tests: one or more servers of Debian's package, in namespaces or not.

Promises to signal only the processes it started, and to remove their data and logs when closed. Servers use little
memory and quick timing; what they sync to disk they do sync.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from haagent.lab.members import Member, Members, ServerError, Site
from haagent.lab.servers import Certificates

JAR = Path("/usr/share/java/zookeeper.jar")
# Debian's jar does not name these: the server says what is wrong only through slf4j, and its TLS is netty's
EXTRA = (
    "slf4j-simple",
    "netty-buffer",
    "netty-codec",
    "netty-common",
    "netty-handler",
    "netty-resolver",
    "netty-transport",
)
CLASSPATH = ":".join(str(JAR.with_name(f"{name}.jar")) for name in (JAR.stem, *EXTRA))
JAVA = (
    "java",
    "-Xms16m",
    "-Xmx96m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


def require_zookeeper() -> None:
    """Raise ServerError unless ZooKeeper can be started."""
    if shutil.which("java") is None or not JAR.exists():
        raise ServerError("no zookeeper here; on Debian: apt install libzookeeper-java default-jre-headless")


@dataclass(frozen=True, slots=True)
class ZooKeeperOptions:
    """How an ensemble is run; ``tick`` in ms.

    ``certificates`` switch TLS with client certificates on, ``user`` and ``password`` SASL for those who want it.
    """

    tick: int = 100
    certificates: Certificates | None = None
    user: str | None = None
    password: str = field(default="", repr=False)


@dataclass(slots=True, kw_only=True)
class ZooKeeperServer(Member):
    """One server, running or not. ``plain`` is the port without TLS, which the lab itself uses as well."""

    number: int
    plain: int
    secure: int
    peer: int
    vote: int


class ZooKeeperEnsemble(Members[ZooKeeperServer]):
    """An ensemble in ``directory``, one server per site. A context manager; ``start`` returns when it serves."""

    def __init__(
        self, directory: Path, sites: Sequence[Site] = (Site(),), options: ZooKeeperOptions | None = None
    ) -> None:
        self.directory, self.options = directory, options or ZooKeeperOptions()
        self.members = tuple(_place(number, site) for number, site in enumerate(sites, start=1))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The servers' host:port for clients."""
        return tuple(self.endpoint(member) for member in self.members)

    def endpoint(self, member: ZooKeeperServer) -> str:
        """Return one server's host:port for clients: with TLS if there are certificates."""
        return f"{member.site.address}:{member.plain if self.options.certificates is None else member.secure}"

    @property
    def settings(self) -> dict[str, str]:
        """What an ``arbiter zookeeper`` block must say to reach this ensemble."""
        tls = self.options.certificates
        if tls is None:
            return {}
        return {"ca": str(tls.ca), "cert": str(tls.client_cert), "key": str(tls.client_key)}

    def start(self) -> None:
        """Start every server that does not run and wait until all of them serve."""
        require_zookeeper()
        for member in self.members:
            if member.process is None:
                self._configure(member)
                self.spawn(member)
        self.wait_until_healthy()

    def wipe(self) -> None:
        """Kill every server, remove all data and start anew."""
        for member in self.members:
            self.kill(member)
            shutil.rmtree(self.directory / member.name / "version-2")
        self.start()

    def save(self) -> None:
        """Kill every server, copy all data for ``restore`` and start them again."""
        for member in self.members:
            self.kill(member)
            data = self.directory / member.name / "version-2"
            shutil.copytree(data, data.with_name("saved"), dirs_exist_ok=True)
        self.revive()

    def restore(self) -> None:
        """Kill every server and start all on what ``save`` kept."""
        for member in self.members:
            self.kill(member)
            data = self.directory / member.name / "version-2"
            shutil.rmtree(data)
            shutil.copytree(data.with_name("saved"), data)
        self.revive()

    def leader(self) -> ZooKeeperServer:
        """Return the server that leads, or the only one. Raises ServerError if none says so."""
        for member in self.members:
            if self._mode(member) in {"leader", "standalone"}:
                return member
        raise ServerError("no server says that it leads")

    def close(self) -> None:
        """Kill every server and remove its data and log. Idempotent."""
        for member in self.members:
            self.kill(member)
            shutil.rmtree(self.directory / member.name, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def _configure(self, member: ZooKeeperServer) -> None:
        directory = self.directory / member.name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "myid").write_text(f"{member.number}\n")
        (directory / "zoo.cfg").write_text("".join(f"{line}\n" for line in self._lines(member, directory)))
        if self.options.user is not None:
            user = f'user_{self.options.user}="{self.options.password}"'
            module = "org.apache.zookeeper.server.auth.DigestLoginModule"
            (directory / "jaas.conf").write_text(f"Server {{ {module} required {user}; }};\n")

    def _lines(self, member: ZooKeeperServer, directory: Path) -> list[str]:
        options, tls = self.options, self.options.certificates
        lines = [
            f"tickTime={options.tick}",
            "initLimit=50",
            "syncLimit=10",
            f"dataDir={directory}",
            f"clientPort={member.plain}",
            f"clientPortAddress={member.site.address}",
            "admin.enableServer=false",
            "4lw.commands.whitelist=srvr",
            "maxClientCnxns=0",
        ]
        if len(self.members) > 1:
            lines += [f"server.{m.number}={m.site.address}:{m.peer}:{m.vote}" for m in self.members]
        if options.user is not None:
            lines.append("authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider")
        if tls is not None:
            pem = directory / "server.pem"  # ZooKeeper wants the certificate and a PKCS#8 key in one file
            pem.write_bytes(tls.server_key.read_bytes() + tls.server_cert.read_bytes())
            lines += [
                f"secureClientPort={member.secure}",
                f"secureClientPortAddress={member.site.address}",
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
                f"ssl.keyStore.location={pem}",
                f"ssl.trustStore.location={tls.ca}",
                "ssl.clientAuth=need",
            ]
        return lines

    def command(self, member: ZooKeeperServer) -> tuple[str, ...]:
        """Return Java with the server and its configuration."""
        directory = self.directory / member.name
        jaas = directory / "jaas.conf"
        login = (f"-Djava.security.auth.login.config={jaas}",) if jaas.exists() else ()
        return (*JAVA, *login, "-cp", CLASSPATH, MAIN, str(directory / "zoo.cfg"))

    def log(self, member: ZooKeeperServer) -> Path:
        """Return the file of the server's output."""
        return self.directory / member.name / "log"

    def serves(self, member: ZooKeeperServer) -> bool:
        """Say whether ``member`` serves clients."""
        return bool(self._mode(member))

    def _mode(self, member: ZooKeeperServer) -> str:
        """Return leader, follower or standalone, as the server says; empty if it does not serve."""
        ask = f"exec 3<>/dev/tcp/{member.site.address}/{member.plain}; printf srvr >&3; cat <&3"
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*member.site.inside(), "bash", "-c", ask],
                capture_output=True,
                text=True,
                timeout=1,
                check=False,
            )
            modes = [line for line in done.stdout.splitlines() if line.startswith("Mode: ")]
            return modes[0].removeprefix("Mode: ") if modes else ""
        return ""


def _place(number: int, site: Site) -> ZooKeeperServer:
    """Return a server at ``site``: on ZooKeeper's own ports in a namespace, on free ones outside."""
    plain, secure, peer, vote = site.ports(2181, 2281, 2888, 3888)
    return ZooKeeperServer(
        name=f"zookeeper{number}", number=number, site=site, plain=plain, secure=secure, peer=peer, vote=vote
    )
