"""The parts of keepalived.data that follow the instances: sync groups, scripts, files and processes that are tracked.

May not write anything; every line has keepalived's own words and indentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from haagent.config.command_model import Command, Notify
from haagent.config.model import SyncGroup, VrrpInstance
from haagent.config.tracking_model import Track, TrackFile, TrackProcess, VrrpScript
from haagent.core.reports import State
from haagent.core.tracking import Tracker
from haagent.core.units import to_seconds
from haagent.effects.track_files import file_tracker
from haagent.effects.track_processes import process_tracker

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

Subject = VrrpInstance | SyncGroup


def sections(worker: Worker) -> Iterator[str]:
    """Yield the lines of every section that has something to say."""
    configuration = worker.configuration
    parts: tuple[tuple[str, Iterable[Iterator[str]]], ...] = (
        ("VRRP Sync groups", (_group(worker, one) for one in configuration.groups)),
        ("VRRP Scripts", (_script(worker, one) for one in configuration.scripts)),
        ("VRRP Track files", (_file(worker, one) for one in configuration.files)),
        ("VRRP Track processes", (_process(worker, one) for one in configuration.processes)),
    )
    for title, entries in parts:
        lines = [line for entry in entries for line in entry]
        if lines:
            yield f"------< {title} >------"
            yield from lines


def tracked(subject: Subject) -> Iterator[str]:
    """Yield what an instance or group tracks."""
    if subject.track_interfaces:
        yield "   Tracked interfaces :"
        yield from (f"     {track.name} weight {_weight(track)}" for track in subject.track_interfaces)
    if subject.track_scripts:
        yield "   Tracked scripts :"
        yield from (f"     {track.name} weight {_weight(track)}" for track in subject.track_scripts)
    for title, tracks in (("files", subject.track_files), ("processes", subject.track_processes)):
        if tracks:
            yield f"   Tracked {title} :"
            yield from (f"     {track.name}, weight {_weight(track)}" for track in tracks)


def notify_lines(notify: Notify) -> Iterator[str]:
    """Yield the commands of notify_*."""
    commands = (
        ("Backup state transition", notify.backup),
        ("Master state transition", notify.master),
        ("Fault state transition", notify.fault),
        ("Stop state transition", notify.stop),
        ("Deleted state transition", notify.deleted),
        ("Generic state transition", notify.generic),
        ("Master rx lower pri", notify.master_rx_lower_pri),
    )
    yield from (
        f"   {title} script = {quoted(command)}" for title, command in commands if command is not None
    )


def quoted(command: Command) -> str:
    """Return a command as keepalived prints it."""
    return " ".join(f"'{word}'" for word in command.argv)


def boolean(value: bool) -> str:
    """Return how keepalived writes a switch."""
    return "true" if value else "false"


def _weight(track: Track) -> str:
    return f"{track.weight}{' reverse' if track.reverse else ''}"


def _group(worker: Worker, group: SyncGroup) -> Iterator[str]:
    found = worker.node.groups.get(group.name)
    members = found.members if found else ()
    faulty = sum(member.state is State.FAULT for member in members)
    fresh = sum(member.state is State.INIT for member in members)
    yield f" VRRP Sync Group = {group.name}, {found.state if found else State.INIT}"
    yield f"   Num member fault {faulty}, num member init {fresh}"
    yield "   VRRP member instances :"
    yield from (f"     {member}" for member in group.members)
    if group.tracking_weight:
        yield "   sync group tracking weight set"
    yield f"   Using smtp notification = {'yes' if group.smtp_alert else 'no'}"
    yield from tracked(group)
    yield from notify_lines(group.notify)


def _script(worker: Worker, script: VrrpScript) -> Iterator[str]:
    tracker = worker.node.trackers.get(script.name)
    up = None if tracker is None else tracker.up
    yield f" VRRP Script = {script.name}"
    yield f"   Command = {quoted(script.command)}"
    yield f"   Interval = {to_seconds(script.interval):g} sec"
    yield f"   Timeout = {to_seconds(script.timeout):g} sec"
    yield f"   Weight = {script.weight}{' reverse' if script.reverse else ''}"
    yield f"   Rise = {script.rise}"
    yield f"   Fall = {script.fall}"
    yield f"   Result = {script.rise + script.fall - 1 if up else 0}"
    yield "   Insecure = no"
    yield f"   Init state = {'failed' if script.init_fail else 'unknown'}"
    yield f"   Status = {'INIT' if up is None else 'GOOD' if up else 'BAD'}"
    yield from _tracking(worker, script.name, lambda subject: subject.track_scripts)
    yield "   State = idle"


def _file(worker: Worker, file: TrackFile) -> Iterator[str]:
    tracker = worker.node.trackers.get(file_tracker(file.name))
    yield f" Track file = {file.name}"
    yield f"   File = {file.path}"
    yield f"   Status = {tracker.value if tracker is not None and tracker.up else 'unreadable'}"
    yield f"   Weight = {file.weight}{' reverse' if file.reverse else ''}"
    yield from _tracking(worker, file.name, lambda subject: subject.track_files)


def _process(worker: Worker, process: TrackProcess) -> Iterator[str]:
    tracker: Tracker | None = worker.node.trackers.get(process_tracker(process.name))
    yield f" VRRP Track process = {process.name}"
    yield f"   Process = {process.argv[0]}"
    yield f"   Min processes = {process.quorum}"
    if process.quorum_max is not None:
        yield f"   Max processes = {process.quorum_max}"
    yield f"   Have quorum = {boolean(bool(tracker and tracker.up))}"
    yield f"   Weight = {process.weight}{' reverse' if process.reverse else ''}"
    yield f"   Terminate delay = {to_seconds(process.terminate_delay):.6f}s"
    yield f"   Fork delay = {to_seconds(process.fork_delay):.6f}s"
    yield f"   Full command = {boolean(process.full_command)}"
    yield from _tracking(worker, process.name, lambda subject: subject.track_processes)


def _tracking(worker: Worker, name: str, tracks_of: Callable[[Subject], tuple[Track, ...]]) -> Iterator[str]:
    """Yield the instances that a tracker concerns, by themselves or by their group."""
    configuration = worker.configuration
    yield "   Tracking instances :"
    for instance in configuration.instances:
        group = next((one for one in configuration.groups if instance.name in one.members), None)
        owners: tuple[Subject, ...] = (instance, *((group,) if group else ()))
        track = next((track for owner in owners for track in tracks_of(owner) if track.name == name), None)
        if track is not None:
            yield f"     {instance.name}, weight {_weight(track)}"
