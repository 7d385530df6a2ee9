"""Real witnesses for labs and tests: ``haagent witness`` processes, each on a file and with a key of its own making.

Promises to signal only the processes it started, and to remove their files and logs when closed.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from haagent.lab.members import Member, Members, Site
from haagent.lab.servers import Certificates

PORT = 7419


@dataclass(slots=True, kw_only=True)
class WitnessMember(Member):
    """One witness. ``file`` holds its registers."""

    port: int
    file: Path

    @property
    def endpoint(self) -> str:
        return f"{self.site.address}:{self.port}"


class Witnesses(Members[WitnessMember]):
    """Witnesses in ``directory``, one per site, with one key; each is an arbiter of its own."""

    def __init__(
        self, directory: Path, sites: Sequence[Site] = (Site(),), certificates: Certificates | None = None
    ) -> None:
        self.directory, self.certificates = directory, certificates
        self.key_file = directory / "witness.key"
        self.members = tuple(self._place(number, site) for number, site in enumerate(sites, start=1))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of every witness."""
        return tuple(member.endpoint for member in self.members)

    @property
    def settings(self) -> dict[str, str]:
        """What an ``arbiter witness`` block must say to reach one of them."""
        tls = {} if self.certificates is None else {"ca": str(self.certificates.ca)}
        return {"key_file": str(self.key_file), **tls}

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.key_file.exists():
            self.key_file.touch(0o600)
            self.key_file.write_text(secrets.token_hex(32))
        self.revive()

    def leader(self) -> WitnessMember:
        """Return the witness: it alone decides."""
        return self.members[0]

    def wipe(self) -> None:
        """Kill every witness, remove its file and start it on a new one."""
        for member in self.members:
            self.kill(member)
            self.remove(member)
        self.revive()

    def remove(self, member: WitnessMember) -> None:
        """Remove the file of a witness that does not run, with what SQLite left next to it."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{member.file}{suffix}").unlink(missing_ok=True)

    def save(self, member: WitnessMember, copy: Path) -> None:
        """End one witness in order and keep a copy of its file; it does not run afterwards."""
        self.end(member)
        shutil.copy(member.file, copy)

    def end(self, member: WitnessMember) -> int:
        """SIGTERM one witness and return its exit status."""
        process = member.process
        if process is None:
            return 0
        process.terminate()
        status = process.wait(timeout=10)
        member.process = None
        return status

    def command(self, member: WitnessMember) -> Sequence[str]:
        words = ["--file", str(member.file), "--listen", member.endpoint, "--key-file", str(self.key_file)]
        if (tls := self.certificates) is not None:
            words += ["--tls-cert", str(tls.server_cert), "--tls-key", str(tls.server_key)]
        return (sys.executable, "-m", "haagent", "witness", *words)

    def log(self, member: WitnessMember) -> Path:
        return self.directory / f"{member.name}.log"

    def serves(self, member: WitnessMember) -> bool:
        if member.site.namespace is None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((member.site.address, member.port), 1),
            ):
                return True
            return False
        ask = f"exec 3<>/dev/tcp/{member.site.address}/{member.port}"
        done = subprocess.run([*member.site.inside(), "bash", "-c", ask], capture_output=True, check=False)
        return done.returncode == 0

    def close(self) -> None:
        for member in self.members:
            self.kill(member)
            self.remove(member)
            self.log(member).unlink(missing_ok=True)
        self.key_file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def _place(self, number: int, site: Site) -> WitnessMember:
        (port,) = site.ports(PORT)
        name = f"witness{number}"
        return WitnessMember(name=name, site=site, port=port, file=self.directory / name)
