"""Starts one checked command and watches it until it is gone.

Promises: no shell; a process group and session of its own; nothing inherited but the environment, and of that neither
what systemd told us nor a password; no capability of an agent that does not run as root; it is ended when the process
that started it ends; an exit status that was lost is a failure. May not decide what a result means.

How a command is started. A Python ``preexec_fn`` or ``user=`` makes ``subprocess`` fork, which blocks the event loop
for the time it takes to copy the page tables (5 ms measured for 60 MB resident) and is not safe beside threads. With
neither it uses vfork (0.3 ms). So user, groups and PR_SET_PDEATHSIG are set by util-linux's ``setpriv`` between our
vfork and the command: in that order, because the kernel forgets the death signal when credentials change. It costs
2 ms of another processor, and a command on a dead file server blocks its own process, not us. Without ``setpriv`` we
fork, and only the agent's orderly end or its supervisor ends the command. The death signal reaches the leader only; a
supervisor that wants the leader's children too is their subreaper.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from haagent.core.units import SECOND, Duration, to_seconds
from haagent.errors import EffectError

T = TypeVar("T")
TRUSTED_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KILL_AFTER: Duration = 2 * SECOND
NOT_FOR_CHILDREN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "JOURNAL_STREAM",
)


# systemd's AmbientCapabilities= would hand ours on. Those of root end with root's uid, or are root's scripts' to have.
_WITHOUT_CAPABILITIES = ("--inh-caps=-all", "--ambient-caps=-all")
_withheld: set[str] = set()


def withhold(secrets: Iterable[str]) -> None:
    """From now on no command gets an environment variable that holds one of these texts."""
    _withheld.update(filter(None, secrets))


class CommandError(EffectError):
    """A command that must not or cannot be started; the text says why and what is accepted."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a command runs as: numeric ids and supplementary groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that has passed every check, ready to be started now."""

    argv: tuple[str, ...]
    account: Account

    def start(self, environment: Mapping[str, str] | None = None) -> Child:
        """Start it; blocks for well under a millisecond. Raises CommandError."""
        inherited = {
            key: value
            for key, value in os.environ.items()
            if key not in NOT_FOR_CHILDREN and value not in _withheld
        }
        try:
            process = self._spawn({**inherited, **(environment or {})})
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise CommandError(f"{self.argv[0]} cannot be executed: {error}") from None
        try:
            return Child(process)
        except OSError as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise CommandError(f"{self.argv[0]} cannot be watched: {error}") from None

    def _spawn(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        prefix = _setpriv()
        become, kwargs = prefix is not None and self.account.uid != os.geteuid(), {}
        if prefix is None and os.geteuid() == 0:
            kwargs = {
                "user": self.account.uid,
                "group": self.account.gid,
                "extra_groups": self.account.groups,
            }
        argv = [
            *(prefix or ()),
            *(self._identity() if become else ()),
            *(_WITHOUT_CAPABILITIES if prefix and os.geteuid() != 0 else ()),
            *(["--"] if prefix else ()),
            *self.argv,
        ]
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,
            **kwargs,
        )

    def _identity(self) -> list[str]:
        account = self.account
        groups = ",".join(str(group) for group in account.groups)
        return [f"--reuid={account.uid}", f"--regid={account.gid}", f"--groups={groups}"]


@functools.cache
def _setpriv() -> tuple[str, ...] | None:
    """Return the words that start a command bound to our life, or None where util-linux's setpriv is missing."""
    found = shutil.which("setpriv", path=TRUSTED_PATH)
    return None if found is None else (found, "--pdeathsig", "KILL")


class Child:
    """One running command: the leader of a process group whose number stays ours until ``reap``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self.pid = process.pid

    async def exited(self, within: Duration) -> bool:
        """Wait until the leader has ended, for at most ``within``; return whether it has."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            async with asyncio.timeout(to_seconds(within)):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._pidfd)
        return True

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # nobody is left, or only zombies of other users

    async def end(self, grace: Duration = KILL_AFTER) -> bool:
        """SIGTERM, then SIGKILL to whatever of the group is left after ``grace``; return whether the leader is gone."""
        self.signal_group(signal.SIGTERM)
        try:
            await self.exited(grace)
        finally:
            self.signal_group(signal.SIGKILL)
        return await self.exited(KILL_AFTER)

    def reap(self) -> int | None:
        """Collect the exit status: 0..255, minus the signal that killed it, or None if somebody else took it.

        Only after ``exited``. ``Popen.wait`` is not used because it answers 0 when the status was taken.
        """
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            result = None
        os.close(self._pidfd)
        status = None if result is None else result.si_status
        if result is not None and result.si_code != os.CLD_EXITED:
            status = -result.si_status
        self._process.returncode = status if status is not None else 255
        return status


def describe(status: int | None) -> str:
    """Return what an exit status means as half a sentence, or "" for success."""
    match status:
        case 0:
            return ""
        case None:
            return "ended, but its exit status was lost"
        case 126:
            return "exited with status 126: it, or its interpreter, cannot be executed by its user"
        case 127:
            return "exited with status 127: it, its interpreter or a program it calls is not found"
        case _ if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        case _:
            return f"exited with status {status}"


async def in_thread(function: Callable[[], T]) -> T:
    """Run ``function`` in a daemon thread, which a hung file or name server may keep without keeping us."""
    loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            return  # the loop has ended meanwhile

    threading.Thread(target=work, name="haagent-check", daemon=True).start()
    return await future
