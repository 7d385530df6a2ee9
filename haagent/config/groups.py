"""vrrp_sync_group blocks, and what being in a group means for the instances in it.

Promise: a group's members exist and belong to no other group; keepalived leaves unknown members out.
"""

from __future__ import annotations

from dataclasses import replace

from haagent.config.commands import read_notify, read_veto
from haagent.config.messages import Messages
from haagent.config.model import GlobalDefs, SyncGroup, VrrpInstance
from haagent.config.sections import Section
from haagent.config.tracking import Trackable, read_tracked_interfaces
from haagent.config.tracking_model import Track
from haagent.config.tree import Statement
from haagent.errors import Place


def read_group(
    statement: Statement, defaults: GlobalDefs, trackable: Trackable, messages: Messages
) -> SyncGroup:
    """Return a sync group, its members unchecked."""
    section = Section("vrrp_sync_group", statement.block or [], messages)
    name = statement.values[0].text
    lists = section.all("group")
    if len(lists) > 1:
        messages.warning(f"{name}: a second list of members is left out", lists[1].place)
    members = tuple(
        dict.fromkeys(word.text for one in lists[:1] for line in one.block or () for word in line.words)
    )
    weights = "sync_group_tracking_weight" in section
    tracks, interfaces = trackable.read_scripts(section), read_tracked_interfaces(section, None)
    files, processes = trackable.read_files(section), trackable.read_processes(section)
    haproxies, peers = trackable.read_haproxies(section), trackable.read_peers(section)
    if not weights:
        tracks = _drop_weights(tracks, name, "a group", statement.place, messages, keep=False)
        interfaces = _drop_weights(interfaces, name, "a group", statement.place, messages, keep=True)
        files = _drop_file_weights(files, name, "a group", statement.place, messages)
        processes = _drop_weights(processes, name, "a group", statement.place, messages, keep=False)
        haproxies = _drop_weights(haproxies, name, "a group", statement.place, messages, keep=False)
        peers = _drop_weights(peers, name, "a group", statement.place, messages, keep=False)
    if not members:
        messages.error(f"vrrp_sync_group {name} has no members", statement.place, "write: group { NAME ... }")
    elif len(members) == 1:
        messages.warning(f"vrrp_sync_group {name} has one member only", statement.place)
    return SyncGroup(
        name=name,
        members=members,
        track_scripts=tracks,
        track_interfaces=interfaces,
        track_files=files,
        track_processes=processes,
        track_haproxies=haproxies,
        track_peers=peers,
        notify=read_notify(section, defaults.script_user, defaults.script_group),
        veto=read_veto(section, defaults.script_user, defaults.script_group),
        tracking_weight=weights,
        notify_priority_changes=section.flag("notify_priority_changes"),
        smtp_alert=section.flag("smtp_alert", defaults.smtp_alert),
        place=statement.place,
    )


def join_groups(
    instances: list[VrrpInstance], groups: list[SyncGroup], messages: Messages
) -> list[VrrpInstance]:
    """Return the instances as their groups let them be: without weights, unless the group allows them."""
    known = {instance.name for instance in instances}
    group_of: dict[str, SyncGroup] = {}
    for group in groups:
        for member in group.members:
            if member not in known:
                messages.error(
                    f"vrrp_sync_group {group.name} names {member!r}, and no vrrp_instance defines it",
                    group.place,
                )
            elif member in group_of:
                messages.error(
                    f"{member} is in {group_of[member].name} and in {group.name}",
                    group.place,
                    "one group each",
                )
            group_of.setdefault(member, group)
    return [_in_group(instance, group_of.get(instance.name), messages) for instance in instances]


def _in_group(instance: VrrpInstance, group: SyncGroup | None, messages: Messages) -> VrrpInstance:
    changes = instance.notify_priority_changes or (group is not None and group.notify_priority_changes)
    return _without_weights(replace(instance, notify_priority_changes=changes), group, messages)


def _without_weights(instance: VrrpInstance, group: SyncGroup | None, messages: Messages) -> VrrpInstance:
    if group is None or group.tracking_weight:
        return instance
    name, where, place = instance.name, f"group {group.name}", instance.place
    return replace(
        instance,
        track_scripts=_drop_weights(instance.track_scripts, name, where, place, messages, keep=False),
        track_interfaces=_drop_weights(instance.track_interfaces, name, where, place, messages, keep=True),
        track_files=_drop_file_weights(instance.track_files, name, where, place, messages),
        track_processes=_drop_weights(instance.track_processes, name, where, place, messages, keep=False),
        track_haproxies=_drop_weights(instance.track_haproxies, name, where, place, messages, keep=False),
        track_peers=_drop_weights(instance.track_peers, name, where, place, messages, keep=False),
    )


def _drop_file_weights(
    tracks: tuple[Track, ...], name: str, where: str, place: Place, messages: Messages
) -> tuple[Track, ...]:
    """Return tracked files without weights; the default weight, 1, counts as 0, as in keepalived."""
    plain = tuple(replace(track, weight=0) if track.weight == 1 else track for track in tracks)
    return _drop_weights(plain, name, where, place, messages, keep=False)


def _drop_weights(
    tracks: tuple[Track, ...], name: str, where: str, place: Place, messages: Messages, *, keep: bool
) -> tuple[Track, ...]:
    """Return trackers without weights: weighted ones are left out, or with ``keep`` tracked with weight 0.

    keepalived leaves out weighted scripts and keeps weighted interfaces.
    """
    for track in tracks:
        if track.weight:
            outcome = "it counts as weight 0" if keep else "it is not tracked"
            text = f"{name}: the weight of {track.name} does not work in {where}; {outcome}"
            messages.warning(text, place, "weight 0, or sync_group_tracking_weight in the group")
    return tuple(replace(track, weight=0) for track in tracks if keep or not track.weight)
