"""Real ZooKeeper ensembles for labs and tests: one or more servers of Debian's package, in namespaces or not.

Promises to signal only the processes it started, and to remove their data and logs when closed. Servers use little
memory and quick timing; what they sync to disk they do sync.
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

from haagent.lab.servers import START_TIMEOUT, Certificates, ServerError, Site

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


@dataclass(slots=True)
class ZooKeeperServer:
    """One server, running or not. ``plain`` is the port without TLS, which the lab itself uses as well."""

    number: int
    site: Site
    plain: int
    secure: int
    peer: int
    vote: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"zookeeper{self.number}"

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid


class ZooKeeperEnsemble:
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
        """Start every server that does not run and wait until all of them serve."""
        require_zookeeper()
        for member in self.members:
            if member.process is None:
                self._configure(member)
                self._spawn(member)
        self.wait_until_healthy()

    def wait_until_healthy(self, members: Sequence[ZooKeeperServer] | None = None) -> None:
        """Wait until each of ``members`` (default: all) serves clients."""
        until = time.monotonic() + START_TIMEOUT
        for member in members or self.members:
            while not self._mode(member):
                if member.process is None or member.process.poll() is not None:
                    raise ServerError(f"{member.name} ended:\n{self.tail(member)}")
                if time.monotonic() > until:
                    raise ServerError(f"{member.name} does not serve:\n{self.tail(member)}")
                time.sleep(0.05)

    def kill(self, member: ZooKeeperServer) -> None:
        """SIGKILL one server and reap it."""
        if member.process is not None:
            member.process.kill()
            member.process.wait(timeout=10)
            member.process = None

    def restart(self, member: ZooKeeperServer) -> None:
        """Kill one server if it runs, start it again on its data and wait until it serves."""
        self.kill(member)
        self._spawn(member)
        self.wait_until_healthy((member,))

    def wipe(self) -> None:
        """Kill every server, remove all data and start anew."""
        for member in self.members:
            self.kill(member)
            shutil.rmtree(self.directory / member.name / "version-2")
        self.start()

    def freeze(self, member: ZooKeeperServer) -> None:
        """SIGSTOP one server: its connections stay open and silent."""
        self._signal(member, signal.SIGSTOP)

    def thaw(self, member: ZooKeeperServer) -> None:
        """SIGCONT one server."""
        self._signal(member, signal.SIGCONT)

    def leader(self) -> ZooKeeperServer:
        """Return the server that leads, or the only one. Raises ServerError if none says so."""
        for member in self.members:
            if self._mode(member) in {"leader", "standalone"}:
                return member
        raise ServerError("no server says that it leads")

    def tail(self, member: ZooKeeperServer, lines: int = 15) -> str:
        """Return the end of a server's log."""
        log = self.directory / member.name / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

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

    def _spawn(self, member: ZooKeeperServer) -> None:
        directory = self.directory / member.name
        jaas = directory / "jaas.conf"
        login = (f"-Djava.security.auth.login.config={jaas}",) if jaas.exists() else ()
        command = [
            *self._inside(member),
            *JAVA,
            *login,
            "-cp",
            CLASSPATH,
            MAIN,
            str(directory / "zoo.cfg"),
        ]
        with open(directory / "log", "ab") as log:
            member.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _mode(self, member: ZooKeeperServer) -> str:
        """Return leader, follower or standalone, as the server says; empty if it does not serve."""
        ask = f"exec 3<>/dev/tcp/{member.site.address}/{member.plain}; printf srvr >&3; cat <&3"
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*self._inside(member), "bash", "-c", ask],
                capture_output=True,
                text=True,
                timeout=1,
                check=False,
            )
            modes = [line for line in done.stdout.splitlines() if line.startswith("Mode: ")]
            return modes[0].removeprefix("Mode: ") if modes else ""
        return ""

    @staticmethod
    def _inside(member: ZooKeeperServer) -> tuple[str, ...]:
        """Return what puts a command into the server's namespace (``ip netns exec`` becomes the command)."""
        namespace = member.site.namespace
        return () if namespace is None else ("ip", "netns", "exec", namespace)

    @staticmethod
    def _signal(member: ZooKeeperServer, number: signal.Signals) -> None:
        if member.process is not None:
            member.process.send_signal(number)


def _place(number: int, site: Site) -> ZooKeeperServer:
    """Return a server at ``site``: on ZooKeeper's own ports in a namespace, on free ones outside."""
    if site.namespace is not None:
        return ZooKeeperServer(number, site, 2181, 2281, 2888, 3888)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind((site.address, 0))
        return ZooKeeperServer(number, site, *(one.getsockname()[1] for one in sockets))
