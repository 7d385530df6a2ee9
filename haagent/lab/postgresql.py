"""Real PostgreSQL servers for labs and tests: a primary, and standbys that replicate from it synchronously.

Promises to signal only the processes it started, and to remove their data and logs when closed. What they sync to
disk they do sync. PostgreSQL refuses to run as root: then the servers run as the package's own user, and their
data lies in a directory of its own that this user can reach.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from haagent.lab.members import Member, Members, ServerError, Site
from haagent.lab.servers import Certificates

PACKAGES = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
SETTINGS = (
    "shared_buffers = 16MB",
    "max_connections = 60",
    "wal_keep_size = 64MB",
    "hot_standby = on",
    "dynamic_shared_memory_type = mmap",  # files in the data directory: a killed server leaves nothing in /dev/shm
    "logging_collector = off",
)
SYNCHRONOUS = ("synchronous_standby_names", "ANY 1 (*)")


def require_postgresql() -> Path:
    """Return the directory of the newest server's programs. Raises ServerError where there is none."""
    found = sorted(PACKAGES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise ServerError("no postgresql here; on Debian: apt install postgresql")
    return found[-1].parent


@dataclass(frozen=True, slots=True)
class PostgresqlOptions:
    """How servers are run. ``user`` must log in with ``password``; ``certificates`` switch TLS on."""

    certificates: Certificates | None = None
    user: str = "haagent"
    password: str = field(default="lab", repr=False)
    database: str = "haagent"


@dataclass(slots=True, kw_only=True)
class PostgresqlServer(Member):
    """One server, running or not; ``endpoint`` is host:port for clients.

    ``sockets`` is the directory of its Unix socket. Over that the lab and the other servers reach it: it crosses
    namespaces.
    """

    port: int
    data: Path
    sockets: Path

    @property
    def endpoint(self) -> str:
        return f"{self.site.address}:{self.port}"


class PostgresqlServers(Members[PostgresqlServer]):
    """A primary at the first site, a standby at each other one. ``start`` returns when all of them serve."""

    def __init__(self, sites: Sequence[Site] = (Site(),), options: PostgresqlOptions | None = None) -> None:
        self.options = options or PostgresqlOptions()
        self._programs = require_postgresql()
        self._user = _user()
        self.directory = Path(tempfile.mkdtemp(prefix="haagent-postgresql-"))
        self.members = tuple(self._place(number, site) for number, site in enumerate(sites, start=1))
        if self._user is not None:
            shutil.chown(self.directory, self._user.pw_uid, self._user.pw_gid)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The servers' host:port for clients."""
        return tuple(member.endpoint for member in self.members)

    @property
    def settings(self) -> dict[str, str]:
        """What an ``arbiter postgresql`` block must say to reach these servers, the password aside."""
        words = {"username": self.options.user, "database": self.options.database}
        if (tls := self.options.certificates) is not None:
            words |= {"ca": str(tls.ca), "cert": str(tls.client_cert), "key": str(tls.client_key)}
        return words

    def start(self) -> None:
        """Make the primary and its user, then the standbys."""
        primary, *standbys = self.members
        self._make_primary(primary)
        self.spawn(primary)
        self.wait_until_healthy((primary,))
        self._make_user(primary)
        for standby in standbys:
            self._make_standby(primary, standby)
            self.spawn(standby)
        if standbys:
            self.wait_until_healthy(standbys)
            self._set(primary, *SYNCHRONOUS)
        for standby in standbys if len(standbys) > 1 else ():  # with one, nobody is left once it is promoted
            self._set(standby, *SYNCHRONOUS)

    def command(self, member: PostgresqlServer) -> tuple[str, ...]:
        """Return the server, as the user it may run as."""
        return (*self._as_user(), str(self._programs / "postgres"), "-D", str(member.data))

    def log(self, member: PostgresqlServer) -> Path:
        """Return the file of the server's output."""
        return self.directory / f"{member.name}.log"

    def serves(self, member: PostgresqlServer) -> bool:
        """Say whether ``member`` answers a question."""
        if member.process is None or member.process.poll() is not None:
            return False
        try:
            return self.sql(member, "SELECT 1", "postgres", timeout=2.0) == "1"
        except (ServerError, subprocess.TimeoutExpired):
            return False

    def kill(self, member: PostgresqlServer) -> None:
        """SIGKILL one server with all its backends, reap it, and remove what only an orderly end would have removed."""
        super().kill(member)
        lock = member.data / "postmaster.pid"  # the pid in it may be somebody else's by now
        with contextlib.suppress(FileNotFoundError):
            _remove_segment(lock.read_text())
            lock.unlink()

    def sql(self, member: PostgresqlServer, statement: str, database: str = "", timeout: float = 10.0) -> str:
        """Run one statement as the superuser, and return its rows, columns separated by ``|``. Raises ServerError."""
        where = ("-h", str(member.sockets), "-p", str(member.port), "-U", "postgres")
        command = ("psql", *where, "-d", database or self.options.database, "-XAtqc", statement)
        return self._run(member, *command, timeout=timeout).strip()

    def leader(self) -> PostgresqlServer:
        """Return the server that takes writes. Raises ServerError where none says so."""
        for member in self.members:
            if member.process is not None and not self._follows(member):
                return member
        raise ServerError("no server takes writes")

    def most_advanced(self) -> PostgresqlServer:
        """Return the standby that received most: the one that has every write a primary acknowledged."""
        received = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"
        standbys = [m for m in self.members if m.process is not None and self._follows(m)]
        return max(standbys, key=lambda member: int(self.sql(member, received)))

    def promote(self, member: PostgresqlServer) -> None:
        """Make a standby a primary, wait until it is one, and let the other standbys that run follow it."""
        self.sql(member, "SELECT pg_promote()", timeout=30.0)
        source = f"host={member.sockets} port={member.port} user=postgres"
        for other in self.members:
            if other is not member and other.process is not None:
                self._set(other, "primary_conninfo", source)

    def wipe(self, member: PostgresqlServer) -> None:
        """Kill the primary, remove all its data and start anew."""
        self.kill(member)
        shutil.rmtree(member.data)
        self._make_primary(member)
        self.restart(member)
        self._make_user(member)

    def save(self, member: PostgresqlServer) -> Path:
        """Stop one server at once, copy its data and start it again; return the copy, for ``restore``."""
        copy = member.data.with_suffix(".saved")
        self.kill(member)
        self._copy(member.data, copy)
        self.restart(member)
        return copy

    def restore(self, member: PostgresqlServer, copy: Path) -> None:
        """Kill one server and start it on what ``save`` kept."""
        self.kill(member)
        shutil.rmtree(member.data)
        self._copy(copy, member.data)
        self.restart(member)

    def close(self) -> None:
        """Kill every server and remove all data and logs. Idempotent."""
        for member in self.members:
            self.kill(member)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _place(self, number: int, site: Site) -> PostgresqlServer:
        (port,) = site.ports(5432)
        name = f"postgresql{number}"
        sockets = self.directory / f"{name}.sockets"
        sockets.mkdir()
        self._give(sockets)
        return PostgresqlServer(name=name, site=site, port=port, data=self.directory / name, sockets=sockets)

    def _make_primary(self, member: PostgresqlServer) -> None:
        arguments = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self._run(member, "initdb", "-D", str(member.data), *arguments)
        access = "hostssl" if self.options.certificates is not None else "host"
        asked = " clientcert=verify-ca" if self.options.certificates is not None else ""
        (member.data / "pg_hba.conf").write_text(
            "local all postgres trust\nlocal replication postgres trust\n"
            f"{access} all all all scram-sha-256{asked}\n"
        )
        (member.data / "postgresql.auto.conf").write_text("\n".join((*SETTINGS, *self._own(member), "")))

    def _own(self, member: PostgresqlServer) -> list[str]:
        """Return the settings that differ from server to server."""
        lines = [
            f"listen_addresses = '{member.site.address}'",
            f"port = {member.port}",
            f"unix_socket_directories = '{member.sockets}'",
        ]
        if (tls := self.options.certificates) is not None:
            key = member.data / "server.key"
            shutil.copy(tls.server_key, key)
            key.chmod(0o600)
            for name, source in (("server.pem", tls.server_cert), ("ca.pem", tls.ca)):
                shutil.copy(source, member.data / name)
            self._give(member.data)
            lines += ["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'"]
            lines += ["ssl_ca_file = 'ca.pem'"]
        return lines

    def _make_user(self, member: PostgresqlServer) -> None:
        options = self.options
        self.sql(member, f"CREATE ROLE {options.user} LOGIN PASSWORD '{options.password}'", "postgres")
        self.sql(member, f"CREATE DATABASE {options.database} OWNER {options.user}", "postgres")

    def _make_standby(self, primary: PostgresqlServer, standby: PostgresqlServer) -> None:
        source = ("-h", str(primary.sockets), "-p", str(primary.port), "-U", "postgres")
        self._run(primary, "pg_basebackup", *source, "-D", str(standby.data), "-R", "-c", "fast", "--no-sync")
        with open(standby.data / "postgresql.auto.conf", "a") as file:
            file.write("".join(f"{line}\n" for line in self._own(standby)))

    def _follows(self, member: PostgresqlServer) -> bool:
        return self.sql(member, "SELECT pg_is_in_recovery()") == "t"

    def _set(self, member: PostgresqlServer, setting: str, value: str) -> None:
        self.sql(member, f"ALTER SYSTEM SET {setting} = '{value}'")
        self.sql(member, "SELECT pg_reload_conf()")

    def _copy(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)
        self._give(target)

    def _give(self, directory: Path) -> None:
        """Make everything below ``directory`` the server's own."""
        if self._user is not None:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)

    def _as_user(self) -> tuple[str, ...]:
        if self._user is None:
            return ()
        ids = (f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}")
        return ("setpriv", *ids, "--clear-groups", "--")

    def _run(self, member: PostgresqlServer, program: str, *arguments: str, timeout: float = 60.0) -> str:
        """Run one of PostgreSQL's programs where ``member`` is. Raises ServerError with what it said."""
        done = subprocess.run(
            [*member.site.inside(), *self._as_user(), str(self._programs / program), *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"{program}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def _remove_segment(lock: str) -> None:
    """Remove the System V segment, a server's mark of being alive, that ``postmaster.pid`` names in its seventh line."""
    words = [line.split() for line in lock.splitlines()][6:7]
    for _, segment in (line for line in words if len(line) == 2):
        subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)


def _user() -> pwd.struct_passwd | None:
    """Return the user to run servers as, None for our own."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError(f"no user {' or '.join(USERS)} to run postgresql as")
