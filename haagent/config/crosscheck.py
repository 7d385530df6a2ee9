"""What no single block can tell: names given twice, VRIDs that clash, blocks that do nothing together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Protocol, TypeVar

from haagent.config.listening import check_listens
from haagent.config.messages import Messages
from haagent.config.model import Configuration, VrrpInstance
from haagent.config.votes import check_votes
from haagent.core.units import SECOND
from haagent.errors import ConfigError, Place


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def place(self) -> Place: ...


N = TypeVar("N", bound=_Named)


def unique(kind: str, found: Iterable[N], messages: Messages) -> list[N]:
    """Return ``found`` without those whose name is taken already; each of them is an error (keepalived skips them)."""
    kept: dict[str, N] = {}
    for one in found:
        if one.name in kept:
            messages.error(
                f"{kind} {one.name} is defined again",
                one.place,
                f"the first one is at {kept[one.name].place}",
            )
        kept.setdefault(one.name, one)
    return list(kept.values())


def check(configuration: Configuration, messages: Messages) -> None:
    """Say everything that concerns several blocks."""
    _check_vrids(configuration.instances, messages)
    _check_addresses(configuration.instances, messages)
    _check_use(configuration, messages)
    _check_delays(configuration, messages)
    try:
        check_listens(configuration)
        check_votes(configuration, configuration.daemon.node)
    except ConfigError as error:
        messages.add(error)
    mailed = next((subject for subject in configuration.subjects if subject.smtp_alert), None)
    if configuration.globals.mail is None and mailed is not None:
        text = f"{mailed.name}: smtp_alert without notification_email: no mail is sent"
        messages.warning(text, mailed.place, "name a recipient in global_defs")
    _check_peers(configuration, messages)


def _check_peers(configuration: Configuration, messages: Messages) -> None:
    """Without an arbiter the peers have nothing to promise; a track_peer counts who is there all the same."""
    plain = configuration.arbiter is None or configuration.arbiter.kind == "none"
    if configuration.peers is not None and plain and not configuration.peer_votes:
        messages.warning(
            "peers without an arbiter: promises between nodes replace an arbiter only while it is away",
            configuration.peers.place,
            "name an arbiter; only a track_peer uses peers without one",
        )


def _check_delays(configuration: Configuration, messages: Messages) -> None:
    """A virtual MAC's interface goes up and down by our own doing; what can fail is its base."""
    made = {vmac.name: vmac for instance in configuration.instances for vmac in instance.vmacs}
    for delay in configuration.link_delays:
        if (vmac := made.get(delay.interface)) is not None:
            messages.warning(
                f"interface_up_down_delays: delays for {vmac.name} have no effect, it is made by use_vmac",
                delay.place,
                f"name {vmac.base}",
            )
    for instance in configuration.instances:
        for delay in configuration.link_delays:
            most = (instance.down_timer_adverts - 1) * instance.advert_interval
            if delay.interface == instance.interface and max(delay.down, delay.up) >= max(most, 1):
                messages.warning(
                    f"interface_up_down_delays: a delay of {delay.interface} is not shorter than"
                    f" {most / SECOND:g} s; the others may have taken over from {instance.name} before it is over",
                    delay.place,
                    "keepalived does not use such a delay",
                )


def _check_use(configuration: Configuration, messages: Messages) -> None:
    """Say which trackers nothing tracks; they are not looked at."""
    users = configuration.subjects
    kinds: tuple[tuple[str, Iterable[_Named], set[str]], ...] = (
        ("vrrp_script", configuration.scripts, {t.name for user in users for t in user.track_scripts}),
        ("track_file", configuration.files, {t.name for user in users for t in user.track_files}),
        (
            "vrrp_track_process",
            configuration.processes,
            {t.name for user in users for t in user.track_processes},
        ),
        (
            "track_haproxy",
            tuple(one for one in configuration.haproxies if not one.epoch_map),
            {t.name for user in users for t in user.track_haproxies},
        ),
        ("track_peer", configuration.peer_votes, {t.name for user in users for t in user.track_peers}),
    )
    for kind, defined, used in kinds:
        for one in defined:
            if one.name not in used:
                messages.note(f"{kind} {one.name} is not tracked by anything", one.place)


def _check_vrids(instances: Sequence[VrrpInstance], messages: Messages) -> None:
    """A virtual router is one VRID on one interface and family: two instances of it would answer each other's adverts."""
    by_router: dict[tuple[str, int, int], list[VrrpInstance]] = {}
    usable = (instance for instance in instances if instance.interface and instance.vrid)
    for instance in usable:
        by_router.setdefault((instance.interface, instance.family, instance.vrid), []).append(instance)
    for clashing in by_router.values():
        for first, second in combinations(clashing, 2):
            if _same_audience(first, second):
                messages.error(
                    f"{second.name}: virtual_router_id {second.vrid} is used by {first.name} on {first.interface} already",
                    second.place,
                    "one VRID per interface and family",
                )


def _same_audience(first: VrrpInstance, second: VrrpInstance) -> bool:
    """Whether adverts of one can reach the peers of the other. One unicast and one multicast are kept apart."""
    if first.unicast is None or second.unicast is None:
        return first.unicast is second.unicast and first.multicast_group == second.multicast_group
    return bool(set(first.unicast.peers) & set(second.unicast.peers))


def _check_addresses(instances: Sequence[VrrpInstance], messages: Messages) -> None:
    """One address in two instances would be installed by one node and removed by the other."""
    owner: dict[tuple[object, str], VrrpInstance] = {}
    for instance in instances:
        for one in instance.addresses + instance.excluded:
            first = owner.setdefault((one.address, one.device), instance)
            if first is not instance:
                messages.warning(
                    f"{instance.name}: {one.address} belongs to {first.name} too", instance.place
                )
