"""What the lab's clusters of real servers have in common: members that are started, stopped, killed and looked after.

Promises to signal only processes it started and what those started, and that leaving the context ends them all.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from haagent.errors import HaagentError
from haagent.lab.processes import send, tree

START_TIMEOUT = 20.0


class ServerError(HaagentError):
    """A server of the lab did not start or refused a command; the text ends with its own last words."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a member runs: an address, and the namespace that has it (None: the caller's own)."""

    address: str = "127.0.0.1"
    namespace: str | None = None

    def inside(self) -> tuple[str, ...]:
        """Return what puts a command into the namespace (``ip netns exec`` becomes the command)."""
        return () if self.namespace is None else ("ip", "netns", "exec", self.namespace)

    def ports(self, *usual: int) -> tuple[int, ...]:
        """Return the ``usual`` ports in a namespace, and as many free ones outside."""
        if self.namespace is not None:
            return usual
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in usual]
            for one in sockets:
                one.bind((self.address, 0))
            return tuple(one.getsockname()[1] for one in sockets)


@dataclass(slots=True, kw_only=True)
class Member:
    """One server, running or not."""

    name: str
    site: Site
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid


AnyMember = TypeVar("AnyMember", bound=Member)


class Members(Generic[AnyMember]):
    """The servers of one cluster. A context manager; what starts, configures and questions them is the subclass."""

    members: tuple[AnyMember, ...]

    def start(self) -> None:
        """Start every member and wait until all of them serve."""
        raise NotImplementedError

    def close(self) -> None:
        """Kill every member and remove its data and log. Idempotent."""
        raise NotImplementedError

    def command(self, member: AnyMember) -> Sequence[str]:
        """Return the program and arguments that run ``member``, without what enters its namespace."""
        raise NotImplementedError

    def log(self, member: AnyMember) -> Path:
        """Return where the member's output goes."""
        raise NotImplementedError

    def serves(self, member: AnyMember) -> bool:
        """Say whether ``member`` answers."""
        raise NotImplementedError

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

    def spawn(self, member: AnyMember) -> None:
        """Start one member and return without waiting."""
        with open(self.log(member), "ab") as log:
            member.process = subprocess.Popen(
                [*member.site.inside(), *self.command(member)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_healthy(self, members: Sequence[AnyMember] | None = None) -> None:
        """Wait until each of ``members`` (default: all) serves. Raises ServerError with its last words."""
        until = time.monotonic() + START_TIMEOUT
        for member in members or self.members:
            while not self.serves(member):
                if member.process is None or member.process.poll() is not None:
                    raise ServerError(f"{member.name} ended:\n{self.tail(member)}")
                if time.monotonic() > until:
                    raise ServerError(f"{member.name} does not serve:\n{self.tail(member)}")
                time.sleep(0.05)

    def kill(self, member: AnyMember) -> None:
        """SIGKILL one member with everything it started, and reap it."""
        if member.process is not None:
            send((member.pid, *tree(member.pid)), signal.SIGKILL)
            member.process.wait(timeout=10)
            member.process = None

    def restart(self, member: AnyMember) -> None:
        """Kill one member if it runs, start it again on its data and wait until it serves."""
        self.kill(member)
        self.spawn(member)
        self.wait_until_healthy((member,))

    def revive(self) -> None:
        """Start every member that was killed on its data, all at once: some answer only with a majority."""
        for member in self.members:
            if member.process is None:
                self.spawn(member)
        self.wait_until_healthy()

    def freeze(self, member: AnyMember) -> None:
        """SIGSTOP one member: its connections stay open and silent."""
        self._signal(member, signal.SIGSTOP)

    def thaw(self, member: AnyMember) -> None:
        """SIGCONT one member."""
        self._signal(member, signal.SIGCONT)

    def tail(self, member: AnyMember, lines: int = 15) -> str:
        """Return the end of a member's log."""
        log = self.log(member)
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    @staticmethod
    def _signal(member: AnyMember, number: signal.Signals) -> None:
        if member.process is not None:
            send(tree(member.pid), number)
