"""The text of keepalived.data: instances, groups and scripts, line by line as exporters read them.

May not write anything; every line has keepalived's own words and indentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from haagent.config.model import Command, SyncGroup, VirtualAddress, VrrpInstance, VrrpScript
from haagent.core.instance import Instance
from haagent.core.reports import State
from haagent.core.units import MICROSECOND, SECOND, to_seconds
from haagent.core.virtual_router import skew_time

if TYPE_CHECKING:
    from haagent.agent.dumps import Dumps
    from haagent.agent.worker import Worker


def text(worker: Worker, dumps: Dumps) -> str:
    """Return the whole file."""
    return "".join(f"{line}\n" for line in _lines(worker, dumps))


def address_line(virtual: VirtualAddress, *, installed: bool) -> str:
    """Return one address as keepalived prints it: the length is left out where it is the whole address."""
    whole = 32 if virtual.address.version == 4 else 128
    length = "" if virtual.prefix_length == whole else f"/{virtual.prefix_length}"
    scope = virtual.scope or "global"
    label = f" label {virtual.label}" if virtual.label else ""
    return f"{virtual.address}{length} dev {virtual.device} scope {scope}{label}{' set' if installed else ''}"


def quoted(command: Command) -> str:
    """Return a command as keepalived prints it."""
    return " ".join(f"'{word}'" for word in command.argv)


def _lines(worker: Worker, dumps: Dumps) -> Iterator[str]:
    defaults = worker.configuration.globals
    yield "------< Global definitions >------"
    yield f" Router ID = {defaults.router_id}"
    yield " Script security enabled"
    yield f" VRRP notify priority changes = {_bool(defaults.notify_priority_changes)}"
    yield "------< VRRP Topology >------"
    for member, configured in dumps.members():
        yield from _instance(worker, member, configured, dumps.transitions(member.name).last)
    if worker.configuration.groups:
        yield "------< VRRP Sync groups >------"
    for group in worker.configuration.groups:
        yield from _group(worker, group)
    if worker.configuration.scripts:
        yield "------< VRRP Scripts >------"
    for script in worker.configuration.scripts:
        yield from _script(worker, script)


def _instance(worker: Worker, member: Instance, configured: VrrpInstance, changed: float) -> Iterator[str]:
    raised = member.state is State.MASTER
    group = next((one.name for one in worker.configuration.groups if member.name in one.members), "")
    yield f" VRRP Instance = {member.name}"
    yield f"   VRRP Version = {configured.version}"
    if group:
        yield f"   Sync group = {group}"
    yield f"   State = {member.state}"
    yield f"   Wantstate = {member.state}"
    yield f"   Last transition = {changed:.6f} ({_date(changed)})"
    yield f"   Master down timer = {_master_down(member, configured) // MICROSECOND} usecs"
    yield f"   Interface = {configured.interface}"
    if member.router.primary_address is not None:
        yield f"   Using src_ip = {member.router.primary_address}"
    yield from _garp(configured)
    yield f"   Virtual Router ID = {configured.vrid}"
    yield f"   Priority = {configured.priority}"
    yield f"   Effective priority = {member.router.priority}"
    yield f"   Total priority = {member.router.priority}"
    yield f"   Advert interval = {_interval(configured)}"
    yield "   Accept = enabled"
    yield f"   Preempt = {'enabled' if configured.preempt else 'disabled'}"
    if configured.auth_pass is not None:
        yield "   Authentication type = SIMPLE_PASSWORD"
    for title, addresses in (
        ("Virtual IP", configured.addresses),
        ("Virtual IP Excluded", configured.excluded),
    ):
        if addresses:
            yield f"   {title} ({len(addresses)}):"
            yield from (f"     {address_line(one, installed=raised)}" for one in addresses)
    if configured.track_scripts:
        yield "   Tracked scripts :"
        yield from (f"     {track.name} weight {track.weight}" for track in configured.track_scripts)


def _garp(configured: VrrpInstance) -> Iterator[str]:
    garp = configured.garp
    yield f"   Gratuitous ARP delay = {garp.delay // SECOND}"
    yield f"   Gratuitous ARP repeat = {garp.repeat}"
    yield f"   Gratuitous ARP refresh = {garp.refresh // SECOND}"
    yield f"   Gratuitous ARP refresh repeat = {garp.refresh_repeat}"
    yield f"   Gratuitous ARP lower priority delay = {garp.lower_priority_delay // SECOND}"
    yield f"   Gratuitous ARP lower priority repeat = {garp.lower_priority_repeat}"
    yield f"   Down timer adverts = {configured.down_timer_adverts}"


def _master_down(member: Instance, configured: VrrpInstance) -> int:
    interval = configured.advert_interval
    return configured.down_timer_adverts * interval + skew_time(
        configured.version, member.router.priority, interval
    )


def _interval(configured: VrrpInstance) -> str:
    seconds = to_seconds(configured.advert_interval)
    return f"{seconds:.0f} sec" if configured.version == 2 else f"{seconds * 1000:.0f} milli-sec"


def _group(worker: Worker, group: SyncGroup) -> Iterator[str]:
    found = worker.node.groups.get(group.name)
    yield f" VRRP Sync Group = {group.name}, {found.state if found else State.INIT}"
    yield "   VRRP member instances :"
    yield from (f"     {member}" for member in group.members)


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
    yield f"   Status = {'INIT' if up is None else 'GOOD' if up else 'BAD'}"
    yield "   State = idle"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%a %b %d %H:%M:%S.%f %Y")
