"""The text of keepalived.data: global definitions and instances, line by line as exporters read them.

May not write anything; every line has keepalived's own words and indentation. What follows the instances is in
``dump_sections``. Descriptors, socket pools, interfaces and process priorities are keepalived's inside and not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from haagent.agent.dump_sections import boolean, notify_lines, sections, tracked
from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.instance import Instance
from haagent.core.packet import MULTICAST_GROUP_4, MULTICAST_GROUP_6
from haagent.core.reports import State
from haagent.core.units import MICROSECOND, SECOND, to_seconds
from haagent.core.virtual_router import skew_time

if TYPE_CHECKING:
    from haagent.agent.dumps import Dumps
    from haagent.agent.worker import Worker


def text(worker: Worker, dumps: Dumps) -> str:
    """Return the whole file."""
    return "".join(f"{line}\n" for line in _lines(worker, dumps))


def address_line(virtual: VirtualAddress, base: str, *, installed: bool) -> str:
    """Return one address as keepalived prints it: the length is left out where it is the whole address.

    ``base`` is what carries the address's interface; another one than itself for a virtual MAC.
    """
    whole = 32 if virtual.address.version == 4 else 128
    length = "" if virtual.prefix_length == whole else f"/{virtual.prefix_length}"
    scope = virtual.scope or (
        "link" if virtual.address.version == 6 and virtual.address.is_link_local else "global"
    )
    label = f" label {virtual.label}" if virtual.label else ""
    device = virtual.device if base == virtual.device else f"{virtual.device}@{base}"
    return f"{virtual.address}{length} dev {device} scope {scope}{label}{' set' if installed else ''}"


def _lines(worker: Worker, dumps: Dumps) -> Iterator[str]:
    defaults = worker.configuration.globals
    mail = defaults.mail
    yield "------< Global definitions >------"
    yield f" Network namespace = {worker.configuration.net_namespace or '(default)'}"
    yield f" Router ID = {defaults.router_id}"
    if mail is not None:
        yield f" Smtp server = {mail.server}"
        yield f" Smtp server port = {mail.port}"
        yield f" Email notification from = {mail.sender}"
        yield " Email notification"
        yield from (f"   {recipient}" for recipient in mail.recipients)
    yield f" FIFO write vrrp states on reload = {boolean(defaults.fifo_states_on_reload)}"
    yield f" VRRP notify priority changes = {boolean(defaults.notify_priority_changes)}"
    yield " Script security enabled"
    yield "------< VRRP Topology >------"
    for member, configured in dumps.members():
        yield from _instance(worker, member, configured, dumps.transitions(member.name).last)
    yield from sections(worker)


def _instance(worker: Worker, member: Instance, configured: VrrpInstance, changed: float) -> Iterator[str]:
    group = next((one.name for one in worker.configuration.groups if member.name in one.members), "")
    yield f" VRRP Instance = {member.name}"
    yield f"   VRRP Version = {configured.version}"
    if configured.family == 6:
        yield "   Using Native IPv6"
    if group:
        yield f"   Sync group = {group}"
    yield from _state(member, configured, changed)
    yield from _network(member, configured)
    yield from _garp(configured)
    yield f"   Virtual Router ID = {configured.vrid}"
    yield f"   Priority = {configured.priority}"
    yield f"   Effective priority = {member.router.priority}"
    yield f"   Total priority = {member.router.priority}"
    yield f"   Advert interval = {_interval(configured)}"
    yield f"   Accept = {_enabled(configured.accept)}"
    yield f"   Preempt = {_enabled(configured.preempt)}"
    if configured.preempt_delay:
        yield f"   Preempt delay = {to_seconds(configured.preempt_delay):.6f} secs"
    yield f"   Promote_secondaries = {_enabled(configured.promote_secondaries)}"
    if configured.auth_pass is not None:
        yield "   Authentication type = SIMPLE_PASSWORD"
        yield "   Password = ********"
    yield from _addresses(configured, installed=member.state is State.MASTER)
    yield from tracked(configured)
    yield f"   Using smtp notification = {'yes' if configured.smtp_alert else 'no'}"
    yield f"   Notify deleted = {'Deleted' if configured.notify.deleted is not None else 'Fault'}"
    yield from notify_lines(configured.notify)
    yield f"   Notify priority changes = {boolean(configured.notify_priority_changes)}"


def _state(member: Instance, configured: VrrpInstance, changed: float) -> Iterator[str]:
    yield f"   State = {member.state}"
    yield "   Flags:"
    if configured.unicast is not None:
        yield "     Using unicast"
    if configured.strict:
        yield "     Enforcing strict VRRP compliance"
    if not configured.track_primary:
        yield "     Not tracking primary interface"
    if configured.skip_check_adv_addr:
        yield "     Skip check of addresses in adverts from the same master"
    yield f"   Wantstate = {member.state}"
    yield "   Number of config faults = 0"
    yield f"   Number of interface and track script faults = {len(member.faults())}"
    yield f"   Last transition = {changed:.6f} ({_date(changed)})"
    yield f"   Master down timer = {_master_down(member, configured) // MICROSECOND} usecs"


def _network(member: Instance, configured: VrrpInstance) -> Iterator[str]:
    vmac = configured.vmac
    if vmac is None:
        yield f"   Interface = {configured.interface}"
    else:
        up, base = boolean(member.state is State.MASTER), boolean(configured.xmit_base)
        yield f"   Use VMAC, i/f name {vmac.name}, is_up = {up}, xmit_base = {base}"
        yield f"   Interface = {vmac.name}, vmac on {vmac.base}"
    if member.router.primary_address is not None:
        origin = " (from configuration)" if configured.source is not None else ""
        yield f"   Using src_ip = {member.router.primary_address}{origin}"
    if configured.unicast is None:
        standard = MULTICAST_GROUP_4 if configured.family == 4 else MULTICAST_GROUP_6
        yield f"   Multicast address {configured.multicast_group or standard}"


def _addresses(configured: VrrpInstance, *, installed: bool) -> Iterator[str]:
    def lines(addresses: tuple[VirtualAddress, ...]) -> Iterator[str]:
        return (
            f"     {address_line(one, configured.carrier(one.device), installed=installed)}"
            for one in addresses
        )

    if configured.addresses:
        yield f"   Virtual IP ({len(configured.addresses)}):"
        yield from lines(configured.addresses)
    if configured.excluded:
        yield "   Virtual IP Excluded :"
        yield from lines(configured.excluded)
    if configured.unicast is not None:
        yield f"   Unicast TTL = {configured.unicast.ttl}"
        yield f"   Check unicast src : {'yes' if configured.unicast.check_source else 'no'}"
        yield "   Unicast Peer :"
        limits = {peer: (least, most) for peer, least, most in configured.unicast.hops}
        for peer in configured.unicast.peers:
            least, most = limits.get(peer, (0, 255))
            yield f"     {peer} min_ttl {least} max_ttl {most}"
    for title, entries in (("Routes", configured.routes), ("Rules", configured.rules)):
        if entries:
            yield f"   Virtual {title} :"
            yield from (f"     {entry.text}" for entry in entries)


def _garp(configured: VrrpInstance) -> Iterator[str]:
    garp = configured.garp
    yield f"   Gratuitous ARP delay = {garp.delay // SECOND}"
    yield f"   Gratuitous ARP repeat = {garp.repeat}"
    yield f"   Gratuitous ARP refresh = {garp.refresh // SECOND}"
    yield f"   Gratuitous ARP refresh repeat = {garp.refresh_repeat}"
    yield f"   Gratuitous ARP lower priority delay = {garp.lower_priority_delay // SECOND}"
    yield f"   Gratuitous ARP lower priority repeat = {garp.lower_priority_repeat}"
    yield f"   Down timer adverts = {configured.down_timer_adverts}"
    yield f"   Send advert after receive lower priority advert = {boolean(not configured.lower_prio_no_advert)}"
    yield f"   Send advert after receive higher priority advert = {boolean(configured.higher_prio_send_advert)}"


def _master_down(member: Instance, configured: VrrpInstance) -> int:
    interval = configured.advert_interval
    return configured.down_timer_adverts * interval + skew_time(
        configured.version, member.router.priority, interval
    )


def _interval(configured: VrrpInstance) -> str:
    seconds = to_seconds(configured.advert_interval)
    return f"{seconds:.0f} sec" if configured.version == 2 else f"{seconds * 1000:.0f} milli-sec"


def _enabled(value: bool) -> str:
    return "enabled" if value else "disabled"


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%a %b %d %H:%M:%S.%f %Y")
