"""vrrp_instance blocks: every default filled in, every combination that does not do what it says answered.

The rules follow keepalived's own completion of an instance where two nodes must agree about the wire; where
keepalived drops what it cannot use and goes on, a message says so, and what could make two masters is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from haagent.config.addresses import read_addresses
from haagent.config.authentication import read_auth_pass
from haagent.config.commands import read_notify, read_veto
from haagent.config.defaults import (
    InstanceDefaults,
    read_down_timer_adverts,
    read_garp,
    read_group,
    read_version,
)
from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.model import Unicast, VrrpInstance
from haagent.config.network_model import IPAddress, VirtualAddress
from haagent.config.routing import read_routes, read_rules
from haagent.config.sections import Section
from haagent.config.tracking import Trackable, read_tracked_interfaces
from haagent.config.tracking_model import Track
from haagent.config.tree import Statement
from haagent.config.values import address, integer, interface
from haagent.config.virtual_macs import read_vmac, read_xmit_base
from haagent.core.units import CENTISECOND, SECOND, Duration
from haagent.errors import ConfigError, Place

OWNER = 255
_MTU = 1500
_MOST_ADDRESSES = 255
_LONGEST_V3: Duration = 4095 * CENTISECOND
_ANY_TTL = (0, 255)
_STANDARD_DOWN_TIMER = 3


@dataclass(slots=True)
class _Reading:
    """One instance while it is read: what most steps need."""

    name: str
    place: Place
    section: Section
    defaults: InstanceDefaults
    strict: bool = False

    @property
    def messages(self) -> Messages:
        return self.section.messages

    def warn(self, text: str, remedy: str = "", keyword: str = "") -> None:
        found = self.section.all(keyword) if keyword else []
        self.messages.warning(f"{self.name}: {text}", found[0].place if found else self.place, remedy)


def read_instance(
    statement: Statement, defaults: InstanceDefaults, trackable: Trackable, messages: Messages
) -> VrrpInstance:
    """Return the instance. Without a usable interface or VRID (an error) it has "" and 0, for the other checks."""
    section = Section("vrrp_instance", statement.block or [], messages)
    reading = _Reading(statement.values[0].text, statement.place, section, defaults)
    reading.strict = section.flag("strict_mode", defaults.strict)
    device = section.value("interface", lambda one: interface(one.values[0]), "")
    vrid = section.value("virtual_router_id", lambda one: integer(one.values[0], 1, 255, one.keyword), 0)
    for keyword in ("interface", "virtual_router_id"):
        if keyword not in section:
            messages.error(
                f"{reading.name}: {keyword} is missing", reading.place, "every vrrp_instance needs one"
            )
    addresses = read_addresses(section.lines("virtual_ipaddress"), device, messages)
    excluded = read_addresses(section.lines("virtual_ipaddress_excluded"), device, messages)
    source = _source(section)
    unicast = _unicast(reading)
    family = _family(addresses, excluded, source, unicast)
    version = _version(reading, family)
    addresses, excluded = _fit(reading, addresses, excluded, family, version)
    _check_family(reading, family, source, unicast)
    addresses, excluded = _own_macs(reading, family, addresses), _own_macs(reading, family, excluded)
    priority, state = _priority(reading)
    preempt, delay = _preemption(reading, priority, state)
    strict = reading.strict
    return VrrpInstance(
        name=reading.name,
        interface=device,
        vrid=vrid,
        addresses=tuple(addresses),
        excluded=tuple(excluded),
        routes=read_routes(section.lines("virtual_routes"), messages),
        rules=read_rules(section.lines("virtual_rules"), messages),
        promote_secondaries="promote_secondaries" in section,
        family=family,
        version=version,
        initial_state=state,
        priority=priority,
        advert_interval=_interval(reading, version),
        preempt=preempt,
        preempt_delay=delay,
        source=source,
        track_source=_track_source(reading, source),
        multicast_group=_group(reading, family, unicast),
        unicast=unicast,
        vmac=read_vmac(section, device, vrid, family, strict=strict),
        xmit_base=read_xmit_base(section, reading.name, strict=strict, unicast=unicast is not None),
        accept=_accept(reading, priority, version),
        auth_pass=read_auth_pass(section, reading.name, version, strict=strict),
        track_scripts=_workable(reading, trackable.read_scripts(section), priority),
        track_interfaces=_workable(reading, read_tracked_interfaces(section, device), priority),
        track_files=_workable(reading, trackable.read_files(section), priority, default=1),
        track_processes=_workable(reading, trackable.read_processes(section), priority),
        track_haproxies=_workable(reading, trackable.read_haproxies(section), priority),
        track_peers=_workable(reading, trackable.read_peers(section), priority),
        track_primary="dont_track_primary" not in section,
        notify=read_notify(section, defaults.globals.script_user, defaults.globals.script_group),
        veto=read_veto(section, defaults.globals.script_user, defaults.globals.script_group),
        garp=read_garp(section, "", defaults.garp),
        down_timer_adverts=_down_timer_adverts(reading),
        skip_check_adv_addr=section.flag("skip_check_adv_addr", defaults.skip_check_adv_addr),
        strict=strict,
        lower_prio_no_advert=strict or section.flag("lower_prio_no_advert", defaults.lower_prio_no_advert),
        higher_prio_send_advert=section.flag("higher_prio_send_advert", defaults.higher_prio_send_advert)
        and not strict,
        checksum_as_v2=section.flag("v3_checksum_as_v2", defaults.checksum_as_v2),
        smtp_alert=section.flag("smtp_alert", defaults.globals.smtp_alert),
        notify_priority_changes=section.flag(
            "notify_priority_changes", defaults.globals.notify_priority_changes
        ),
        place=reading.place,
    )


def _without_length(token: Token, what: str) -> IPAddress:
    """Return an address; a prefix length after it is accepted, as keepalived accepts it."""
    return address(token._replace(text=token.text.partition("/")[0]), what)


def _source(section: Section) -> IPAddress | None:
    """Return the address adverts are sent from."""
    keyword = "unicast_src_ip" if "unicast_src_ip" in section else "mcast_src_ip"
    return section.value(keyword, lambda one: _without_length(one.values[0], keyword), None)


def _track_source(reading: _Reading, source: IPAddress | None) -> bool:
    if source is None and "track_src_ip" in reading.section:
        reading.warn("track_src_ip has no effect: no source address is given", "", "track_src_ip")
    return source is not None and "track_src_ip" in reading.section


def _down_timer_adverts(reading: _Reading) -> int:
    """Return how many adverts may be missed; the standard, and so vrrp_strict, knows 3."""
    count = reading.section.value(
        "down_timer_adverts", read_down_timer_adverts, reading.defaults.down_timer_adverts
    )
    if reading.strict and count != _STANDARD_DOWN_TIMER:
        reading.warn("vrrp_strict does not know down_timer_adverts; it is 3", "", "down_timer_adverts")
        return _STANDARD_DOWN_TIMER
    return count


def _unicast(reading: _Reading) -> Unicast | None:
    section = reading.section
    if "unicast_peer" not in section:
        for keyword in ("unicast_ttl", "check_unicast_src"):
            if keyword in section:
                reading.warn(f"{keyword} has no effect without unicast_peer", "list the peers", keyword)
        if "unicast_src_ip" in section:
            reading.warn(
                "unicast_src_ip without unicast_peer: adverts are multicast",
                "list the peers",
                "unicast_src_ip",
            )
        return None
    peers: dict[IPAddress, tuple[int, int]] = {}
    for entry in section.lines("unicast_peer"):
        _read_peer(entry, peers, reading)
    if not section.lines("unicast_peer"):
        reading.messages.error(
            f"{reading.name}: unicast_peer is empty",
            section.all("unicast_peer")[0].place,
            "list every other node; going back to multicast would make two masters",
        )
    if reading.strict:
        reading.warn(
            "vrrp_strict does not know unicast; the peers are used all the same",
            "remove vrrp_strict",
            "unicast_peer",
        )
    hops = tuple((peer, *limits) for peer, limits in peers.items() if limits != _ANY_TTL)
    return Unicast(
        peers=tuple(peers),
        ttl=section.value("unicast_ttl", lambda one: integer(one.values[0], 0, 255, one.keyword), 255),
        # As in keepalived: who limits the TTL of a peer wants peers alone to be heard.
        check_source=bool(hops) or section.flag("check_unicast_src", reading.defaults.check_unicast_source),
        hops=hops,
    )


def _read_peer(entry: Statement, peers: dict[IPAddress, tuple[int, int]], reading: _Reading) -> None:
    """Add ``ADDRESS [min_ttl N] [max_ttl N]``, with the least and largest TTL; the first one of an address counts."""
    try:
        if entry.block is not None:
            raise ConfigError(f"unexpected block after {entry.keyword!r}", entry.place, "one address a line")
        peer = _without_length(entry.words[0], "unicast peer")
        limits = dict(zip(("min_ttl", "max_ttl"), _ANY_TTL, strict=True))
        for word, *value in (entry.values[at : at + 2] for at in range(0, len(entry.values), 2)):
            if word.text not in limits:
                raise ConfigError(f"{word.text!r} after a unicast peer", word.place, "one peer a line")
            if not value:
                raise ConfigError(f"{word.text} is missing its value", word.place)
            limits[word.text] = integer(value[0], 0, 255, word.text)
        if limits["min_ttl"] > limits["max_ttl"]:
            raise ConfigError(f"min_ttl of {peer} is larger than max_ttl: no advert passes", entry.place)
        peers.setdefault(peer, (limits["min_ttl"], limits["max_ttl"]))
    except ConfigError as error:
        reading.messages.add(error)


def _family(
    addresses: list[VirtualAddress],
    excluded: list[VirtualAddress],
    source: IPAddress | None,
    unicast: Unicast | None,
) -> Literal[4, 6]:
    """Return the family of the first virtual address, else of the source, the first peer, the first excluded address."""
    peers = unicast.peers if unicast else ()
    candidates: list[IPAddress | None] = [one.address for one in addresses[:1]]
    candidates += [source, *peers, *(one.address for one in excluded)]
    return next((one.version for one in candidates if one is not None), 4)


def _version(reading: _Reading, family: int) -> Literal[2, 3]:
    version = reading.section.value("version", read_version, reading.defaults.version)
    if family == 6 and version == 2:
        if "version" in reading.section:
            reading.warn("VRRP version 2 cannot carry IPv6; version 3 is used", keyword="version")
        return 3
    return version


def _fit(
    reading: _Reading,
    addresses: list[VirtualAddress],
    excluded: list[VirtualAddress],
    family: int,
    version: int,
) -> tuple[list[VirtualAddress], list[VirtualAddress]]:
    """Return what the adverts carry and what they do not: other families are left out, surplus is excluded."""
    for one in addresses:
        if one.address.version != family:
            reading.warn(
                f"{one} is not IPv{family} like the first address; it is left out",
                "virtual_ipaddress_excluded takes both",
            )
    addresses = [one for one in addresses if one.address.version == family]
    written = bool(reading.section.lines("virtual_ipaddress"))  # and if none could be read, that was said
    if not written and "no_virtual_ipaddress" not in reading.section:
        if version == 3 or reading.strict:
            reading.messages.error(
                f"{reading.name}: no virtual_ipaddress", reading.place, "at least one is required"
            )
        else:
            reading.warn("no virtual_ipaddress: there is nothing to keep available")
    space = _MTU - (20 if family == 4 else 40) - 8 - (8 if version == 2 else 0)
    most = min(_MOST_ADDRESSES, space // (4 if family == 4 else 16))
    if len(addresses) > most:
        reading.warn(
            f"{len(addresses)} addresses, and an advert carries {most}; the others count as excluded"
        )
    own = {one.address for one in addresses[:most]}
    extra = [one for one in addresses[most:] + excluded if one.address not in own]
    return addresses[:most], extra


def _check_family(reading: _Reading, family: int, source: IPAddress | None, unicast: Unicast | None) -> None:
    others = [
        ("source address", source),
        *(("unicast peer", peer) for peer in (unicast.peers if unicast else ())),
    ]
    for what, one in others:
        if one is not None and one.version != family:
            reading.messages.error(
                f"{reading.name}: {what} {one} is not IPv{family} like the virtual addresses", reading.place
            )


def _priority(reading: _Reading) -> tuple[int, Literal["MASTER", "BACKUP"]]:
    """Return the base priority and the initial state, which without ``state`` is MASTER for an owner only."""
    section = reading.section
    wished = section.value("state", lambda one: one.values[0].text, "")
    if any(one.values and one.values[0].text == "MASTER" for one in section.all("state")):
        wished = "MASTER"  # of several states, as in keepalived
    if wished not in ("", "MASTER", "BACKUP"):
        reading.warn(f"state is {wished!r}; BACKUP is assumed", "MASTER or BACKUP", "state")
    default = OWNER if wished == "MASTER" else 100
    priority = section.value("priority", lambda one: integer(one.values[0], 1, 255, one.keyword), default)
    if "priority" not in section and wished == "MASTER":
        reading.warn(
            "state MASTER without a priority means priority 255, the address's owner",
            "set a priority",
            "state",
        )
    elif priority == OWNER:
        reading.warn(
            "priority 255 is the address's owner: no tracker can lower it", "use 254 or less", "priority"
        )
    if reading.strict and (wished == "MASTER") != (priority == OWNER) and wished:
        reading.warn("vrrp_strict: MASTER is the state of priority 255 alone", keyword="state")
        wished = "MASTER" if priority == OWNER else "BACKUP"
    is_master = wished == "MASTER" or (not wished and priority == OWNER)
    return priority, "MASTER" if is_master else "BACKUP"


def _own_macs(reading: _Reading, family: int, addresses: list[VirtualAddress]) -> list[VirtualAddress]:
    """Return the addresses with use_vmac_addr applied: it is use_vmac for all that are not the instance's own."""
    if "use_vmac_addr" not in reading.section:
        return addresses
    device = reading.section.value("interface", lambda one: one.values[0].text, "")
    return [
        replace(one, own_mac=one.own_mac or one.device != device or one.address.version != family)
        for one in addresses
    ]


def _accept(reading: _Reading, priority: int, version: int) -> bool:
    """Return Accept_Mode: keepalived accepts unless told otherwise, with vrrp_strict only the owner does."""
    section = reading.section
    if section.latest("accept", "no_accept") == "no_accept":
        if priority == OWNER:
            reading.warn("an owner accepts traffic to its own address", keyword="no_accept")
        return priority == OWNER
    if "accept" in section and reading.strict and version == 2 and priority != OWNER:
        reading.warn("vrrp_strict: version 2 does not know accept; it is not used", keyword="accept")
        return False
    return "accept" in section or not reading.strict or priority == OWNER


def _preemption(reading: _Reading, priority: int, state: str) -> tuple[bool, Duration]:
    section = reading.section
    preempt = section.latest("preempt", "nopreempt") != "nopreempt"
    delay = section.seconds("preempt_delay", 0, 1000, 0)
    if not preempt and (state == "MASTER" or priority == OWNER):
        why = "priority 255" if priority == OWNER else "state MASTER"
        reading.warn(
            f"nopreempt does not work with {why}; this node preempts",
            "write state BACKUP on every node",
            "nopreempt",
        )
        preempt = True
    if delay and (not preempt or state == "MASTER" or reading.strict):
        why = "nopreempt" if not preempt else "vrrp_strict" if reading.strict else "state MASTER"
        reading.warn(f"preempt_delay does not work with {why}; it is 0", keyword="preempt_delay")
        delay = 0
    return preempt, delay


def _interval(reading: _Reading, version: int) -> Duration:
    """Return Advertisement_Interval: whole seconds in version 2, centiseconds up to 40.95 s in version 3."""
    wanted = reading.section.seconds("advert_int", 0.01, 255, SECOND)
    step, most = (SECOND, 255 * SECOND) if version == 2 else (CENTISECOND, _LONGEST_V3)
    interval = min(most, max(step, (wanted + step // 2) // step * step))
    if interval != wanted:
        reading.warn(
            f"VRRP version {version} cannot carry advert_int {wanted / SECOND:g}; it is {interval / SECOND:g}",
            "whole seconds" if version == 2 else "steps of 0.01 up to 40.95",
            "advert_int",
        )
    return interval


def _group(reading: _Reading, family: int, unicast: Unicast | None) -> IPAddress | None:
    default = reading.defaults.group4 if family == 4 else reading.defaults.group6
    if unicast is not None:
        if "mcast_dst_ip" in reading.section:
            reading.warn("mcast_dst_ip has no effect with unicast_peer", keyword="mcast_dst_ip")
        return None
    return reading.section.value("mcast_dst_ip", lambda one: read_group(one, family), default)


def _workable(
    reading: _Reading, tracks: tuple[Track, ...], priority: int, default: int = 0
) -> tuple[Track, ...]:
    """Return the trackers that can work: an owner's priority never changes, so (as in keepalived) it has no weights.

    A weight that is the ``default`` of its kind (a file's is 1) counts as 0 there.
    """
    if priority == OWNER and default:
        tracks = tuple(replace(track, weight=0) if track.weight == default else track for track in tracks)
    weighted = [track for track in tracks if track.weight]
    if priority == OWNER:
        for track in weighted:
            text = f"the weight of {track.name} does not work with priority 255; it is not tracked"
            reading.warn(text, "use 254 or less")
        return tuple(track for track in tracks if not track.weight)
    if reading.section.latest("preempt", "nopreempt") == "nopreempt":
        for track in weighted:
            text = f"nopreempt makes the weight of {track.name} useless where the BACKUP is a keepalived"
            reading.warn(text, "weight 0 works with both", "nopreempt")
    return tracks
