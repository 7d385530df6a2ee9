"""Notify FIFOs: a reader of reports that writes keepalived's lines into named pipes, and runs their scripts.

The lines, exactly::

    INSTANCE "VI_1" MASTER 150
    GROUP "VG1" FAULT 0
    INSTANCE "VI_1" MASTER_RX_LOWER_PRI 150
    INSTANCE "VI_1" MASTER_PRIORITY 140

Promises: a write never waits; a line that does not fit, because nobody reads, is dropped and that is told once; a
FIFO that is missing is made, one that was replaced is opened again before the next line. The script of a FIFO gets
its path as last argument, is started again when it ends, and never outlives us.

May not change anything else: a FIFO that cannot be opened is told, nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import grp
import os
import pwd
import stat
from collections.abc import Callable

from haagent.config.command_model import Command, NotifyFifo
from haagent.config.model import Configuration, GlobalDefs
from haagent.core.reports import LowerPriorityHeard, Noticed, PriorityChanged, Report, State, StateChanged
from haagent.core.units import SECOND
from haagent.effects.commands import prepare
from haagent.effects.processes import CommandError, describe, in_thread

PAUSE = 1.0  # seconds from the end of a script to its next start
LONG: int = 3600 * SECOND
GRACE: int = SECOND


class NotifyFifos:
    """The FIFOs of one node. All methods belong to the event loop's thread."""

    def __init__(self, configuration: Configuration, tell: Callable[[Report], None]) -> None:
        self._configuration, self._tell = configuration, tell
        self._fifos: tuple[_Fifo, ...] = ()
        self._last: dict[tuple[str, str], StateChanged] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Make and open the FIFOs, and start their scripts."""
        defaults = self._configuration.globals
        self._fifos = tuple(_Fifo(fifo, defaults, self._tell) for fifo in defaults.fifos)

    def read(self, report: Report) -> None:
        """Write what ``report`` means; returns at once."""
        match report:
            case StateChanged(new=State.INIT):
                self._last[_key(report)] = report
            case StateChanged():
                self._last[_key(report)] = report
                self._write(_line(report))
            case LowerPriorityHeard(name):
                last = self._last.get(("INSTANCE", name))
                self._write(f'INSTANCE "{name}" MASTER_RX_LOWER_PRI {last.priority if last else 0}\n')
            case PriorityChanged(name, _, new):
                self._priority_changed(name, new)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration: changed FIFOs are opened anew, instances that are gone are told as DELETED."""
        for instance in self._configuration.instances:
            gone = instance.name not in {kept.name for kept in configuration.instances}
            last = self._last.pop(("INSTANCE", instance.name), None) if gone else None
            if last is not None:
                self._write(f'INSTANCE "{instance.name}" DELETED {last.priority}\n')
        before, self._configuration = self._configuration, configuration
        if before.globals.fifos != configuration.globals.fifos:
            self._close()
            self.start()
        if configuration.globals.fifo_states_on_reload:
            for report in self._last.values():
                self._write(_line(report))

    async def aclose(self) -> None:
        """Close the FIFOs and end their scripts. Idempotent."""
        self._close()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _close(self) -> None:
        for fifo in self._fifos:
            task = fifo.close()
            if task is not None:
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        self._fifos = ()

    def _priority_changed(self, name: str, priority: int) -> None:
        last = self._last.get(("INSTANCE", name))
        if last is None or last.new not in (State.MASTER, State.BACKUP):
            return
        instance = next((one for one in self._configuration.instances if one.name == name), None)
        if instance is not None and instance.notify_priority_changes:
            self._write(f'INSTANCE "{name}" {last.new}_PRIORITY {priority}\n')

    def _write(self, line: str) -> None:
        for fifo in self._fifos:
            fifo.write(line)


def _key(report: StateChanged) -> tuple[str, str]:
    return ("GROUP" if report.group else "INSTANCE", report.instance)


def _line(report: StateChanged) -> str:
    kind, name = _key(report)
    return f'{kind} "{name}" {report.new} {report.priority}\n'


class _Fifo:
    """One named pipe, held open for reading too, so that a line waits for a reader that comes later."""

    def __init__(self, fifo: NotifyFifo, defaults: GlobalDefs, tell: Callable[[Report], None]) -> None:
        self._fifo, self._defaults, self._tell = fifo, defaults, tell
        self._descriptor: int | None = None
        self._said = ""
        self._open()
        self._task = self._run_script(fifo.script) if fifo.script else None

    def write(self, line: str) -> None:
        """Write one line, or drop it."""
        if not self._still_there():
            self._open()
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, line.encode())
        except BlockingIOError:
            self._say(f"nobody reads it: dropped {line.strip()}")
        except OSError as error:
            self._say(str(error))
        else:
            self._said = ""

    def close(self) -> asyncio.Task[None] | None:
        """Close the pipe; the task that ends the script, if there is one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._task is not None:
            self._task.cancel()
        return self._task

    def _still_there(self) -> bool:
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.stat(self._fifo.path), os.fstat(self._descriptor))
        except OSError:
            return False

    def _open(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._fifo.path, 0o600)
            descriptor = os.open(self._fifo.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            self._say(f"cannot be opened: {error.strerror}")
            return
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            self._say("is not a FIFO")
            return
        self._descriptor = descriptor
        if self._fifo.user is not None:
            work = functools.partial(_give, self._fifo)
            asyncio.get_running_loop().create_task(self._give_away(work), name="fifo owner")

    async def _give_away(self, work: Callable[[], None]) -> None:
        try:
            await in_thread(work)
        except (OSError, KeyError) as error:
            self._say(f"cannot be given to {self._fifo.user}: {error}")

    def _say(self, detail: str) -> None:
        if detail.partition(":")[0] != self._said:
            self._said = detail.partition(":")[0]
            self._tell(Noticed(self._fifo.path, "notify FIFO", detail))

    def _run_script(self, script: Command) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(
            self._keep_running(script), name=f"fifo {self._fifo.path}"
        )

    async def _keep_running(self, script: Command) -> None:
        """Run the script again and again; being cancelled ends its process group."""
        while True:
            try:
                problem = await self._run_once(script)
            except Exception as error:
                problem = (
                    str(error) if isinstance(error, CommandError) else f"{type(error).__name__}: {error}"
                )
            self._tell(
                Noticed(self._fifo.path, "notify FIFO script ended", problem or "exited with status 0")
            )
            await asyncio.sleep(PAUSE)

    async def _run_once(self, script: Command) -> str:
        launch = await in_thread(functools.partial(prepare, script, self._defaults, (self._fifo.path,)))
        child, over = launch.start(), False
        try:
            while not over:
                over = await child.exited(LONG)
        finally:
            if not over:
                await child.end(GRACE)
            status = child.reap()
        return describe(status)


def _give(fifo: NotifyFifo) -> None:
    """Make the FIFO its user's. May be slow: asks the name service. Raises OSError, KeyError."""
    assert fifo.user is not None
    entry = pwd.getpwnam(fifo.user)
    group = grp.getgrnam(fifo.group).gr_gid if fifo.group else entry.pw_gid
    os.chown(fifo.path, entry.pw_uid, group, follow_symlinks=False)
