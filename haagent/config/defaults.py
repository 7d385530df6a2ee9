"""global_defs: what it says about the whole agent, and what it changes for every instance.

Several global_defs blocks count as one. May not know instances.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, cast

from haagent.config.command_model import NotifyFifo
from haagent.config.commands import read_command
from haagent.config.mail import read_mail
from haagent.config.model import DumpFiles, Garp, GlobalDefs
from haagent.config.network_model import IPAddress
from haagent.config.process import read_process_settings
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.config.values import address, choice, integer, interface
from haagent.errors import ConfigError

_DAY = 86_400
_STANDARD_GROUPS = {4: "224.0.0.18", 6: "ff02::12"}


@dataclass(frozen=True, slots=True)
class InstanceDefaults:
    """What an instance takes where it says nothing itself. Groups are None where they are the standard's."""

    globals: GlobalDefs
    version: Literal[2, 3]
    garp: Garp
    default_interface: str
    down_timer_adverts: int
    lower_prio_no_advert: bool
    higher_prio_send_advert: bool
    check_unicast_source: bool
    skip_check_adv_addr: bool
    strict: bool
    checksum_as_v2: bool
    group4: IPAddress | None
    group6: IPAddress | None
    vmac_prefix: str = "vrrp"
    vmac_address_prefix: str = "vrrp"


def read_defaults(section: Section, name: str = "") -> InstanceDefaults:
    """Return the meaning of global_defs. ``name`` is what data_use_instance puts into the names of dumps."""
    prefix = _prefix(section, "vmac_prefix", "vrrp")
    return InstanceDefaults(
        globals=_read_globals(section, name),
        version=section.value("vrrp_version", read_version, 2),
        garp=read_garp(section, "vrrp_", _least_garp() if section.flag("vrrp_min_garp") else Garp()),
        default_interface=section.value("default_interface", lambda one: interface(one.values[0]), "eth0"),
        down_timer_adverts=section.value("vrrp_down_timer_adverts", read_down_timer_adverts, 3),
        lower_prio_no_advert=section.flag("vrrp_lower_prio_no_advert"),
        higher_prio_send_advert=section.flag("vrrp_higher_prio_send_advert", default=True),
        check_unicast_source=section.flag("vrrp_check_unicast_src", default=True),
        skip_check_adv_addr=section.flag("vrrp_skip_check_adv_addr"),
        strict=section.flag("vrrp_strict"),
        checksum_as_v2=section.flag("v3_checksum_as_v2"),
        group4=section.value("vrrp_mcast_group4", lambda one: read_group(one, 4), None),
        group6=section.value("vrrp_mcast_group6", lambda one: read_group(one, 6), None),
        vmac_prefix=prefix,
        vmac_address_prefix=_prefix(section, "vmac_addr_prefix", prefix),
    )


def _prefix(section: Section, keyword: str, default: str) -> str:
    """Return the first part of interface names; one that cannot be a name is left out, as its loss harms nobody."""

    def read(statement: Statement) -> str:
        try:
            return interface(statement.values[0], keyword)
        except ConfigError as error:
            section.messages.warning(f"{error.message}: {default} is used", error.place, error.remedy)
            return default

    return section.value(keyword, read, default)


def _read_globals(section: Section, name: str) -> GlobalDefs:
    user = section.one("script_user")
    words = [word.text for word in user.values] if user else []
    return GlobalDefs(
        router_id=section.value("router_id", lambda one: one.values[0].text, ""),
        script_user=words[0] if words else None,
        script_group=words[1].lstrip(":") if len(words) > 1 else None,
        script_security=True,
        startup_delay=section.seconds("vrrp_startup_delay", 0, _DAY, 0),
        delay_after_boot=section.seconds("vrrp_delay_after_boot", 0, _DAY, 0),
        notify_priority_changes=section.flag("vrrp_notify_priority_changes"),
        log_unknown_vrids="log_unknown_vrids" in section,
        fifos=_read_fifos(section, words),
        fifo_states_on_reload="fifo_write_vrrp_states_on_reload" in section,
        dumps=_read_dumps(section, name if section.flag("data_use_instance") else ""),
        smtp_alert=section.flag("smtp_alert_vrrp", section.flag("smtp_alert")),
        mail=read_mail(section),
        process=read_process_settings(section, *(*words, None, None)[:2]),
    )


def _read_dumps(section: Section, name: str) -> DumpFiles:
    standard = DumpFiles()

    def path(keyword: str, default: str) -> str:
        stem, extension = os.path.splitext(section.value(keyword, absolute, default))
        return f"{stem}.{name}{extension}" if name else f"{stem}{extension}"

    return DumpFiles(
        data=path("state_dump_file", standard.data),
        stats=path("stats_dump_file", standard.stats),
        json=path("json_dump_file", standard.json),
        json_version=section.value("json_version", lambda one: integer(one.values[0], 1, 2, one.keyword), 1),
    )


def absolute(statement: Statement) -> str:
    """Return an absolute path. Raises ConfigError."""
    path = statement.values[0].text
    if not path.startswith("/"):
        raise ConfigError(f"{statement.keyword} is {path!r}", statement.place, "an absolute path")
    return path


def _read_fifos(section: Section, account: list[str]) -> tuple[NotifyFifo, ...]:
    """Return notify_fifo and vrrp_notify_fifo: with VRRP alone they get the same lines."""
    user, group = (*account, None, None)[:2]
    found = []
    for keyword in ("notify_fifo", "vrrp_notify_fifo"):
        statement, script = section.one(keyword), f"{keyword}_script"
        if statement is None:
            if script in section:
                section.messages.warning(
                    f"{script} without {keyword} is not run", section.all(script)[0].place
                )
            continue
        path, owner, owners = [*(word.text for word in statement.values), None, None][:3]
        command = section.value(script, lambda one: read_command(one, section.messages, user, group), None)
        found.append(NotifyFifo(path or "", owner, owners, command))
    return tuple(found)


def read_version(statement: Statement) -> Literal[2, 3]:
    """Return a VRRP version."""
    return cast("Literal[2, 3]", int(choice(statement.values[0], ("2", "3"), "VRRP version")))


def read_down_timer_adverts(statement: Statement) -> int:
    """Return how many adverts may be missed."""
    return integer(statement.values[0], 1, 100, statement.keyword)


def read_group(statement: Statement, family: int) -> IPAddress | None:
    """Return a multicast group of ``family``, None for the standard one. Raises ConfigError."""
    group = address(statement.values[0], statement.keyword)
    if not group.is_multicast or group.version != family:
        raise ConfigError(
            f"{statement.keyword} is {group}", statement.place, f"an IPv{family} multicast address"
        )
    return None if str(group) == _STANDARD_GROUPS[family] else group


def read_garp(section: Section, prefix: str, base: Garp) -> Garp:
    """Return the announcement settings; those for lower priority follow the master's unless given."""

    def count(name: str, default: int) -> int:
        keyword = f"{prefix}garp_{name}"
        return section.value(keyword, lambda one: max(1, integer(one.values[0], 0, 2**31, keyword)), default)

    delay = section.seconds(f"{prefix}garp_master_delay", 0, _DAY, base.delay)
    repeat = count("master_repeat", base.repeat)
    lower_delay = delay if f"{prefix}garp_master_delay" in section else base.lower_priority_delay
    lower_repeat = repeat if f"{prefix}garp_master_repeat" in section else base.lower_priority_repeat
    return Garp(
        repeat=repeat,
        delay=delay,
        refresh=section.seconds(f"{prefix}garp_master_refresh", 0, 365 * _DAY, base.refresh),
        refresh_repeat=count("master_refresh_repeat", base.refresh_repeat),
        lower_priority_delay=section.seconds(f"{prefix}garp_lower_prio_delay", 0, _DAY, lower_delay),
        lower_priority_repeat=count("lower_prio_repeat", lower_repeat),
    )


def _least_garp() -> Garp:
    """Return what vrrp_min_garp means: one announcement, once."""
    return Garp(
        repeat=1, delay=0, refresh=0, refresh_repeat=1, lower_priority_delay=0, lower_priority_repeat=1
    )
