"""From a configuration to what the core and the gate are told, and the arithmetic that keeps timing safe.

May raise ConfigError for timing that cannot keep its promise; derives everything else and decides nothing.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from ipaddress import ip_address

from haagent.config.model import ArbiterConfig, Configuration, LinkDelay, Peers, SyncGroup, VrrpInstance
from haagent.config.network_model import IPAddress
from haagent.config.tracking_model import Track
from haagent.core.group import GroupParameters
from haagent.core.instance import AnnounceParameters, InstanceParameters
from haagent.core.parameters import NodeParameters
from haagent.core.session import SessionParameters
from haagent.core.tracking import TrackerParameters, TrackUse, interface_tracker
from haagent.core.units import MILLISECOND, SECOND, Duration, to_seconds
from haagent.core.virtual_router import RouterParameters
from haagent.effects.gate import Guard, GuardedRouter
from haagent.effects.track_files import file_tracker
from haagent.effects.track_haproxy import haproxy_tracker
from haagent.effects.track_peers import peer_tracker
from haagent.effects.track_processes import process_tracker
from haagent.errors import ConfigError

SHORTEST_LEASE: Duration = SECOND  # by default; a shorter one is for those who ask for it
SHORTEST_WITH_FAILSAFE: Duration = 200 * MILLISECOND  # by default: the peers answer when an arbiter is busy
SHORTEST_POSSIBLE: Duration = 100 * MILLISECOND
UNCOLLECTED: Duration = 8 * 3600 * SECOND  # an arbiter may be away for that long and find our session again
GUARD: Duration = 20 * MILLISECOND
MULTICAST = {4: "224.0.0.18", 6: "ff02::12"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one node: the supervisor's, handed to each worker. ``resumed``: an earlier worker of it died.

    ``uptime``: how long the host had been running when the worker began.
    """

    node: str
    incarnation: str
    host: str
    resumed: bool = False
    uptime: Duration = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """L, R and g of docs/safety."""

    lease: Duration
    renew: Duration
    guard: Duration

    @property
    def address_lifetime(self) -> int:
        """The lifetime of addresses: whole seconds that outlive the lease, so that it is never the first to end."""
        return -(-self.lease // SECOND) + 1


def arbitrated(configuration: Configuration) -> bool:
    """Tell whether an arbiter decides; ``arbiter none`` or no arbiter at all is plain VRRP."""
    return configuration.arbiter is not None and configuration.arbiter.kind != "none"


def failsafe(configuration: Configuration) -> bool:
    """Tell whether the nodes may renew each other's leases by promises (docs/safety/failsafe.md)."""
    return arbitrated(configuration) and configuration.peers is not None and configuration.peers.failsafe


def peers(configuration: Configuration, run: Run) -> Peers | None:
    """Return whom to talk to, never this node itself, whatever it is called today.

    Nobody without an arbiter, unless a track_peer asks who is there; promises need an arbiter anyway.
    """
    if configuration.peers is None or not (arbitrated(configuration) or configuration.peer_votes):
        return None
    others = tuple(peer for peer in configuration.peers.nodes if peer.node != run.node)
    return replace(configuration.peers, nodes=others, failsafe=failsafe(configuration))


def electors(configuration: Configuration, run: Run) -> tuple[str, ...]:
    """Return the nodes that may ever claim: this one and its peers; none where promises are not used."""
    others = peers(configuration, run)
    if others is None or not others.failsafe:
        return ()
    return tuple(sorted({run.node, *(peer.node for peer in others.nodes)}))


def kept_for(configuration: Configuration) -> Duration:
    """Return how long a session's record must stay in the arbiter although nobody can write it.

    An arbiter that collects the records of the dead counts on; promises keep us alive without its knowing. A record
    that is gone when the arbiter comes back would cost the address a moment, just when the outage is over.
    """
    lease = timing(configuration).lease
    return max(lease, UNCOLLECTED) if failsafe(configuration) else lease


def timing(configuration: Configuration) -> Timing:
    """Return the timing, derived where the configuration does not say. Raises ConfigError if it is unsafe."""
    adverts = [instance.advert_interval for instance in configuration.instances] or [SECOND]
    arbiter = configuration.arbiter or ArbiterConfig("none")
    if not arbitrated(configuration):
        lease = 3 * max(adverts)  # as long as VRRP itself waits for a silent Master
        return Timing(lease, lease // 4, 0)
    shortest = SHORTEST_WITH_FAILSAFE if failsafe(configuration) else SHORTEST_LEASE
    lease = arbiter.lease or max(2 * min(adverts), shortest)
    renew = arbiter.renew or lease // 4
    guard = arbiter.guard if arbiter.guard is not None else min(GUARD, lease // 10)
    _check(Timing(lease, renew, guard), arbiter)
    return Timing(lease, renew, guard)


def _check(timing: Timing, arbiter: ArbiterConfig) -> None:
    lease, renew, guard = (to_seconds(value) for value in (timing.lease, timing.renew, timing.guard))
    if timing.lease < SHORTEST_POSSIBLE:
        raise ConfigError(
            f"lease {lease:g} s is shorter than 0.1 s", arbiter.place, "an arbiter needs time to answer"
        )
    if timing.renew * 3 > timing.lease:
        raise ConfigError(
            f"renew {renew:g} s is more than a third of lease {lease:g} s: 3 x {renew:g} = {3 * renew:g} > {lease:g}",
            arbiter.place,
            f"renew at most {lease / 3:g}s, so that two lost renewals do not cost the address",
        )
    if timing.guard * 2 + timing.renew > timing.lease:
        raise ConfigError(
            f"guard {guard:g} s leaves no time to act: lease {lease:g} - renew {renew:g} - 2 x guard {guard:g} < 0",
            arbiter.place,
            f"guard at most {(lease - renew) / 2:g}s",
        )


def node_parameters(
    configuration: Configuration, run: Run, resume: tuple[tuple[str, int], ...]
) -> NodeParameters:
    """Return what the core is told."""
    times = timing(configuration)
    return NodeParameters(
        session=SessionParameters(
            node=run.node,
            incarnation=run.incarnation,
            host=run.host,
            lease=times.lease,
            renew=times.renew,
            guard=times.guard,
            electors=electors(configuration, run),
            resumed=run.resumed,
        ),
        instances=tuple(_instance(instance, configuration) for instance in configuration.instances),
        groups=groups(configuration),
        trackers=_trackers(configuration),
        arbitrated=arbitrated(configuration),
        startup_delay=max(
            configuration.globals.startup_delay, configuration.globals.delay_after_boot - run.uptime
        ),
        tenure=configuration.daemon.minimum_tenure,
        resume=resume,
    )


def groups(configuration: Configuration) -> tuple[GroupParameters, ...]:
    """Return the claims: one per sync group, and one per instance that is in none."""
    grouped = {member for group in configuration.groups for member in group.members}
    return (
        *(GroupParameters(group.name, group.members, sync=True) for group in configuration.groups),
        *(GroupParameters(i.name, (i.name,)) for i in configuration.instances if i.name not in grouped),
    )


def guards(configuration: Configuration) -> tuple[Guard, ...]:
    """Return what the gate guards, per claim."""
    by_name = {instance.name: instance for instance in configuration.instances}
    return tuple(
        Guard(group.name, tuple(_guarded(by_name[name]) for name in group.members))
        for group in groups(configuration)
    )


def _guarded(instance: VrrpInstance) -> GuardedRouter:
    virtual = (*instance.addresses, *instance.excluded)
    return GuardedRouter(
        vrid=instance.vrid,
        family=instance.family,
        interface=instance.interface,
        destinations=_destinations(instance),
        addresses=tuple(entry.address for entry in virtual),
        address_interfaces=tuple(dict.fromkeys(instance.carrier(entry.device) for entry in virtual)),
        stations=tuple((vmac.base, bytes.fromhex(vmac.address.replace(":", ""))) for vmac in instance.vmacs),
    )


def _destinations(instance: VrrpInstance) -> tuple[IPAddress, ...]:
    if instance.unicast is not None:
        return tuple(instance.unicast.peers)
    return (instance.multicast_group or ip_address(MULTICAST[instance.family]),)


def _group_of(instance: VrrpInstance, configuration: Configuration) -> SyncGroup | None:
    return next((group for group in configuration.groups if instance.name in group.members), None)


def _instance(instance: VrrpInstance, configuration: Configuration) -> InstanceParameters:
    return InstanceParameters(
        name=instance.name,
        router=RouterParameters(
            version=instance.version,
            vrid=instance.vrid,
            priority=instance.priority,
            advertisement_interval=instance.advert_interval,
            preempt_mode=instance.preempt,
            preempt_delay=instance.preempt_delay,
            preempt_lowered=True,
            down_timer_adverts=instance.down_timer_adverts,
            lower_priority_no_advert=instance.lower_prio_no_advert,
            higher_priority_send_advert=instance.higher_prio_send_advert,
        ),
        interfaces=_interfaces(instance),
        uses=_uses(instance, _group_of(instance, configuration)),
        announce=AnnounceParameters(
            repeat=instance.garp.repeat,
            delay=instance.garp.delay,
            refresh=instance.garp.refresh,
            refresh_repeat=instance.garp.refresh_repeat,
            lower_priority_repeat=instance.garp.lower_priority_repeat,
            lower_priority_delay=instance.garp.lower_priority_delay,
        ),
        notify_lower_priority=instance.notify.master_rx_lower_pri is not None
        or bool(configuration.globals.fifos),
        addresses=tuple(str(astuple(entry)) for entry in (*instance.addresses, *instance.excluded)),
        veto_pause=_veto_pause(instance, _group_of(instance, configuration)),
    )


def _veto_pause(instance: VrrpInstance, group: SyncGroup | None) -> Duration | None:
    """Return the longest pause of the veto scripts that stand before the instance's claim; None without any."""
    scripts = (instance.veto, group.veto if group is not None else None)
    return max((script.pause for script in scripts if script is not None), default=None)


def _interfaces(instance: VrrpInstance) -> tuple[str, ...]:
    # A virtual MAC's interface is down by our own doing; its base is what can fail.
    devices = (
        instance.carrier(entry.device)
        for entry in (*instance.addresses, *instance.excluded)
        if not entry.no_track
    )
    return tuple(dict.fromkeys((instance.interface, *devices)))


def _uses(instance: VrrpInstance, group: SyncGroup | None) -> tuple[TrackUse, ...]:
    """Return what the instance tracks itself and what its group tracks for all members; its own entry goes first."""
    found: dict[str, TrackUse] = {}
    for owner in (instance, *((group,) if group else ())):
        for use in (
            *(_use(track, track.name) for track in owner.track_scripts),
            *(_use(track, interface_tracker(track.name)) for track in owner.track_interfaces),
            *(_use(track, file_tracker(track.name), scaled=True) for track in owner.track_files),
            *(_use(track, process_tracker(track.name)) for track in owner.track_processes),
            *(_use(track, haproxy_tracker(track.name)) for track in owner.track_haproxies),
            *(_use(track, peer_tracker(track.name)) for track in owner.track_peers),
        ):
            found.setdefault(use.tracker, use)
    return tuple(found.values())


def tracked_interfaces(configuration: Configuration) -> set[str]:
    """Return the interfaces that track_interface names, in instances and in groups."""
    return {track.name for user in configuration.subjects for track in user.track_interfaces}


def _use(track: Track, tracker: str, *, scaled: bool = False) -> TrackUse:
    return TrackUse(tracker, track.weight, track.reverse, scaled)


def _trackers(configuration: Configuration) -> tuple[TrackerParameters, ...]:
    return (
        *(TrackerParameters(s.name, s.rise, s.fall, s.init_fail) for s in configuration.scripts),
        *(TrackerParameters(interface_tracker(name)) for name in sorted(tracked_interfaces(configuration))),
        *(TrackerParameters(file_tracker(file.name)) for file in configuration.files),
        *(TrackerParameters(process_tracker(process.name)) for process in configuration.processes),
        *(TrackerParameters(haproxy_tracker(h.name), h.rise, h.fall) for h in configuration.haproxies),
        *(TrackerParameters(peer_tracker(vote.name)) for vote in configuration.peer_votes),
    )


def host_settings(configuration: Configuration) -> dict[tuple[str, str], str]:
    """Return the settings of interfaces that the instances ask for, by (interface, name).

    Below a virtual MAC (as keepalived): the base must not answer ARP for addresses that are on the MAC's interface.
    """
    devices = {
        address.device
        for instance in configuration.instances
        if instance.promote_secondaries
        for address in (*instance.addresses, *instance.excluded)
        if instance.carrier(address.device) == address.device
    }
    bases = {vmac.base for instance in configuration.instances for vmac in instance.vmacs}
    silenced = {(base, name): "1" for base in sorted(bases) for name in ("arp_ignore", "arp_filter")}
    return {(device, "promote_secondaries"): "1" for device in sorted(devices)} | silenced


def carries_virtual_mac(configuration: Configuration, interface: str) -> bool:
    """Tell whether ``interface`` is one that haagent makes for a virtual MAC."""
    return any(vmac.name == interface for instance in configuration.instances for vmac in instance.vmacs)


def link_delays(configuration: Configuration) -> dict[str, LinkDelay]:
    """Return interface_up_down_delays by interface."""
    return {delay.interface: delay for delay in configuration.link_delays}
