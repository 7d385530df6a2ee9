"""Notify scripts: a reader of reports that runs the configured commands, in order, one at a time per subject.

A subject is an instance or a sync group. Promises:

* Per subject, commands run strictly in the order of the reports and never two at once: first the specific one
  (``notify_master`` and so on, no further arguments), then ``notify`` with ``INSTANCE|GROUP name STATE priority``.
* Nothing waits for a command: ``read`` returns at once, and one subject never delays another. A command that outlives
  the timeout (60 s) is ended with its process group, and the next one starts.
* Every state that queued up behind a slow command is still delivered. Beyond 64 waiting, the oldest waiting one is
  dropped and that is told; the newest state is never lost. ``notify_master_rx_lower_pri`` waits at most once.
* Commands are subject to the same users and the same path security as track scripts, and never outlive us.

May not change anything: a command that cannot run or fails is told, nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from haagent.config.command_model import Command, Notify
from haagent.config.model import Configuration
from haagent.core.reports import LowerPriorityHeard, Noticed, Report, State, StateChanged
from haagent.core.units import SECOND, Duration, to_seconds
from haagent.effects.one_command import run_to_end

TIMEOUT: Duration = 60 * SECOND
STOP_PATIENCE: Duration = 5 * SECOND
MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to tell the scripts of one subject. ``kind`` is INSTANCE or GROUP, ``state`` keepalived's word."""

    kind: str
    name: str
    state: str
    previous: str
    priority: int
    epoch: int
    reason: str

    def arguments(self) -> tuple[str, ...]:
        """Return what the generic ``notify`` command gets after its own arguments."""
        return (self.kind, self.name, self.state, str(self.priority))

    def environment(self, node: str) -> dict[str, str]:
        """Return the variables every command gets; HAAGENT_EPOCH is the fencing token."""
        return {
            "HAAGENT_NODE": node,
            "HAAGENT_INSTANCE": self.name,
            "HAAGENT_STATE": self.state,
            "HAAGENT_PREVIOUS_STATE": self.previous,
            "HAAGENT_PRIORITY": str(self.priority),
            "HAAGENT_EPOCH": str(self.epoch),
            "HAAGENT_REASON": self.reason.replace("\0", " "),
        }

    def commands(self, notify: Notify) -> tuple[tuple[Command, tuple[str, ...]], ...]:
        """Return the commands to run, in order, each with its extra arguments."""
        specific = {
            State.MASTER: notify.master,
            State.BACKUP: notify.backup,
            State.FAULT: notify.fault,
            State.STOP: notify.stop,
            DELETED: notify.deleted,
            LOWER_PRIORITY: notify.master_rx_lower_pri,
        }.get(self.state)
        generic = None if self.state == LOWER_PRIORITY else notify.generic
        return (
            *(((specific, ()),) if specific else ()),
            *(((generic, self.arguments()),) if generic else ()),
        )


DELETED = "DELETED"
LOWER_PRIORITY = "MASTER_RX_LOWER_PRI"


class Notifier:
    """The notify scripts of one node. All methods belong to the event loop's thread."""

    def __init__(
        self,
        configuration: Configuration,
        node: str,
        tell: Callable[[Report], None],
        timeout: Duration = TIMEOUT,
    ) -> None:
        self._configuration, self._node, self._tell, self._timeout = configuration, node, tell, timeout
        self._subjects: dict[tuple[str, str], _Subject] = {}
        self._last: dict[str, StateChanged] = {}

    def read(self, report: Report) -> None:
        """Queue what ``report`` means for scripts; returns at once."""
        match report:
            case StateChanged(group=True):
                self._queue(_of_group(report))
            case StateChanged(new=State.INIT):
                self._last[report.instance] = report
            case StateChanged():
                self._last[report.instance] = report
                self._queue(_of_instance(report))
            case LowerPriorityHeard():
                self._queue(self._of_lower_priority(report))

    def _of_lower_priority(self, report: LowerPriorityHeard) -> Notification:
        last, reason = self._last.get(report.instance), f"priority {report.priority} from {report.source}"
        priority, epoch = (last.priority, last.epoch) if last else (0, 0)
        return Notification(
            "INSTANCE", report.instance, LOWER_PRIORITY, State.MASTER, priority, epoch, reason
        )

    def _queue(self, notification: Notification) -> None:
        notify = self._notify_of(notification.kind, notification.name)
        if notify is None or not notification.commands(notify):
            return
        key = (notification.kind, notification.name)
        if key not in self._subjects:
            self._subjects[key] = _Subject(self._run, self._tell)
        self._subjects[key].put(notification, notification.commands(notify))

    def _notify_of(self, kind: str, name: str) -> Notify | None:
        owners = self._configuration.instances if kind == "INSTANCE" else self._configuration.groups
        return next((owner.notify for owner in owners if owner.name == name), None)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration from now on; instances it no longer has are notified as DELETED."""
        kept = {instance.name for instance in configuration.instances}
        for instance in self._configuration.instances:
            last = self._last.pop(instance.name, None) if instance.name not in kept else None
            if last is not None:
                gone = StateChanged(
                    last.instance, last.new, State.STOP, last.priority, last.epoch, "configuration"
                )
                self._queue(_of_instance(gone, DELETED))
        self._configuration = configuration

    async def aclose(self, patience: Duration = STOP_PATIENCE) -> None:
        """Let queued commands finish for at most ``patience``, then end what is left. Idempotent."""
        tasks = [subject.task for subject in self._subjects.values() if subject.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=to_seconds(patience))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, notification: Notification, command: Command, extra: tuple[str, ...]) -> None:
        """Run one command to its end; whatever goes wrong is told and otherwise ignored."""
        environment = notification.environment(self._node)
        problem = await run_to_end(command, self._configuration.globals, environment, self._timeout, extra)
        if problem:
            detail = f"{' '.join((*command.argv, *extra))}: {problem}"
            self._tell(Noticed(notification.name, f"notify {notification.state} failed", detail))


def _of_instance(report: StateChanged, state: str | None = None) -> Notification:
    word = report.new.value if state is None else state
    return Notification(
        "INSTANCE", report.instance, word, report.old, report.priority, report.epoch, report.reason
    )


_Jobs = tuple[tuple[Command, tuple[str, ...]], ...]
_Run = Callable[[Notification, Command, tuple[str, ...]], Awaitable[None]]


def _of_group(report: StateChanged) -> Notification:
    return Notification(
        "GROUP", report.instance, report.new, report.old, report.priority, report.epoch, report.reason
    )


class _Subject:
    """The queue of one instance or group, and the one task that empties it."""

    def __init__(self, run: _Run, tell: Callable[[Report], None]) -> None:
        self._run, self._tell = run, tell
        self._waiting: deque[tuple[Notification, _Jobs]] = deque()
        self.task: asyncio.Task[None] | None = None

    def put(self, notification: Notification, jobs: _Jobs) -> None:
        """Queue one notification."""
        if notification.state == LOWER_PRIORITY:
            self._forget_waiting(LOWER_PRIORITY)
        if len(self._waiting) >= MOST_WAITING:
            dropped, _ = self._waiting.popleft()
            detail = f"more than {MOST_WAITING} notifications wait; dropped {dropped.state}"
            self._tell(Noticed(notification.name, "notify queue is full", detail))
        self._waiting.append((notification, jobs))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._empty(), name=f"notify {notification.name}")

    def _forget_waiting(self, state: str) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[0].state != state)

    async def _empty(self) -> None:
        while self._waiting:
            notification, jobs = self._waiting.popleft()
            for command, extra in jobs:
                await self._run(notification, command, extra)
