"""use_vmac: which macvlan interfaces the instances need, how they are called, and which addresses are put there.

Promises keepalived's names where it has a rule for them: ``vrrp.VRID``, ``vrrp6.VRID`` when that is taken, ``vrrp1.VRID``
and so on for addresses on other interfaces. No two interfaces of one configuration have one name, and no two
virtual MACs are alive on one interface. May not look at the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualAddress, VirtualMac
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.config.values import integer, interface
from haagent.errors import ConfigError

_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?:[:-][0-9A-Fa-f]{1,2}){4,5}")
_RESERVED = ("00:00:5e:00:01:", "00:00:5e:00:02:")
_LONGEST = 15  # bytes of an interface's name


def read_vmac(section: Section, device: str, vrid: int, family: int, *, strict: bool) -> VirtualMac | None:
    """Return what ``use_vmac [NAME] [MAC] [group N]`` asks for; the name is empty where ``place`` chooses it."""
    if "use_vmac" not in section:
        for statement in section.all("vmac_xmit_base"):
            section.messages.warning("vmac_xmit_base has no effect without use_vmac", statement.place)
        return None

    def read(statement: Statement) -> VirtualMac:
        return _request(
            statement, section.messages, VirtualMac("", device, standard(vrid, family)), vrid, strict
        )

    return section.value("use_vmac", read, None)


def read_xmit_base(section: Section, name: str, *, strict: bool, unicast: bool) -> bool:
    """Return whether adverts leave by the interface itself although there is a virtual MAC."""
    wanted = "vmac_xmit_base" in section and "use_vmac" in section
    place = section.all("use_vmac")[0].place if "use_vmac" in section else None
    if unicast and place is not None and not wanted:
        section.messages.warning(
            f"{name}: unicast adverts leave by the interface itself, with its own MAC",
            place,
            "write vmac_xmit_base",
        )
        return True
    if wanted and strict:
        section.messages.warning(f"{name}: vrrp_strict does not know vmac_xmit_base; it is not used", place)
        return False
    return wanted


def standard(vrid: int, family: int) -> str:
    """Return the MAC that RFC 9568 7.3 gives a virtual router."""
    return f"00:00:5e:00:{1 if family == 4 else 2:02x}:{vrid:02x}"


def place(
    instances: Iterable[VrrpInstance], prefix: str, address_prefix: str, messages: Messages
) -> list[VrrpInstance]:
    """Return the instances with names for their virtual MAC interfaces and the addresses on them."""
    given = list(instances)
    names = {instance.vmac.name for instance in given if instance.vmac and instance.vmac.name}
    named = [_named(instance, prefix, names) for instance in given]
    placed = [_place_addresses(instance, address_prefix, names) for instance in named]
    _check(placed, messages)
    return placed


def _named(instance: VrrpInstance, prefix: str, names: set[str]) -> VrrpInstance:
    if instance.vmac is None or instance.vmac.name:
        return instance
    return replace(instance, vmac=replace(instance.vmac, name=_free_name(prefix, instance, names)))


def _request(
    statement: Statement, messages: Messages, wanted: VirtualMac, vrid: int, strict: bool
) -> VirtualMac:
    words = iter(statement.values)
    for word in words:
        if word.text == "netlink_notify_msg":
            messages.note("netlink_notify_msg has no effect", word.place, once=word.text)
        elif word.text == "group":
            integer(next(words, word), 0, 2**32 - 1, "group")
            messages.warning("the interface group of use_vmac is not set", word.place, once="use_vmac group")
        elif _MAC.fullmatch(word.text):
            if strict:
                messages.warning(
                    "vrrp_strict knows the standard's MAC only; this one is not used", word.place
                )
            else:
                wanted = replace(wanted, address=_address(word, vrid))
        else:
            wanted = replace(wanted, name=interface(word, "use_vmac"))
    return wanted


def _address(word: Token, vrid: int) -> str:
    octets = [int(octet, 16) for octet in re.split("[:-]", word.text)]
    octets += [vrid] * (6 - len(octets))
    text = ":".join(f"{octet:02x}" for octet in octets)
    if octets[0] & 1 or not any(octets):
        raise ConfigError(f"use_vmac has the MAC {word.text}", word.place, "a unicast MAC")
    if text.startswith(_RESERVED) and octets[5] != vrid:
        raise ConfigError(
            f"use_vmac has another virtual router's MAC {word.text}", word.place, "leave it out"
        )
    return text


def _free_name(prefix: str, instance: VrrpInstance, names: set[str], family: int = 4) -> str:
    candidates = [prefix, *([f"{prefix}6"] if 6 in (instance.family, family) else [])]
    numbered = (f"{prefix}{number}" for number in count(1))
    while True:
        stem = candidates.pop(0) if candidates else next(numbered)
        name = f"{stem[: _LONGEST - 4]}.{instance.vrid}"
        if name not in names:
            names.add(name)
            return name


def _place_addresses(instance: VrrpInstance, prefix: str, names: set[str]) -> VrrpInstance:
    """Put addresses on the instance's own virtual MAC interface, or on one of their own where they ask for that."""
    made: dict[tuple[str, int], VirtualMac] = {}

    def placed(virtual: VirtualAddress) -> VirtualAddress:
        own = instance.vmac if virtual.device == instance.interface else None
        family = virtual.address.version
        if not virtual.own_mac or (own is not None and family == instance.family):
            return replace(virtual, device=own.name, own_mac=False) if own is not None else virtual
        here = virtual.device, family
        if here not in made:
            name = _free_name(prefix, instance, names, family)
            made[here] = VirtualMac(name, virtual.device, standard(instance.vrid, family))
        return replace(virtual, device=made[here].name, own_mac=False)

    addresses = tuple(placed(one) for one in instance.addresses)
    excluded = tuple(placed(one) for one in instance.excluded)
    return replace(instance, addresses=addresses, excluded=excluded, address_vmacs=tuple(made.values()))


def _check(instances: Iterable[VrrpInstance], messages: Messages) -> None:
    """One MAC on one interface is one macvlan: the kernel refuses a second one."""
    owners: dict[tuple[str, str], VrrpInstance] = {}
    names: dict[str, VrrpInstance] = {}
    for instance in instances:
        for vmac in instance.vmacs:
            first = owners.setdefault((vmac.base, vmac.address), instance)
            namesake = names.setdefault(vmac.name, instance)
            if first is not instance or namesake is not instance:
                messages.error(
                    f"{instance.name}: the virtual MAC {vmac.address} ({vmac.name}) on {vmac.base} is used by "
                    f"{(first if first is not instance else namesake).name} already",
                    instance.place,
                    "another virtual_router_id, name or MAC",
                )
