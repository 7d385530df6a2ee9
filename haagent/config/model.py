"""What a configuration means: frozen dataclasses, already checked, in keepalived's words.

Times are Durations (integer nanoseconds), addresses ``ipaddress`` objects. ``place`` fields say where a thing
was written, for messages; they do not take part in comparison, so a moved line is not a changed one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, NamedTuple, TypeAlias

from haagent.core.units import SECOND, Duration
from haagent.errors import Place

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
NOWHERE = Place("")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run without a shell: ``argv``, and whom as (None: the default script user)."""

    argv: tuple[str, ...]
    user: str | None = None
    group: str | None = None
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Notify:
    """The notify_* commands of one instance or group, and the mail switch."""

    generic: Command | None = None
    master: Command | None = None
    backup: Command | None = None
    fault: Command | None = None
    stop: Command | None = None
    deleted: Command | None = None
    master_rx_lower_pri: Command | None = None


@dataclass(frozen=True, slots=True)
class NotifyFifo:
    """A named pipe that gets a line for every change of state, and the program that reads it, if we start it."""

    path: str
    user: str | None = None
    group: str | None = None
    script: Command | None = None


@dataclass(frozen=True, slots=True)
class DumpFiles:
    """Where keepalived's dumps go on its signals, and which form of its JSON."""

    data: str = "/tmp/keepalived.data"  # noqa: S108 - where exporters look; written by renaming, see agent.dumps
    stats: str = "/tmp/keepalived.stats"  # noqa: S108
    json: str = "/tmp/keepalived.json"  # noqa: S108
    json_version: int = 1


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What global_defs says about the agent's own process. 0, empty and None leave things as they are."""

    nice: int = 0
    real_time: int = 0
    no_swap: bool = False
    processors: tuple[int, ...] = ()
    umask: int | None = None
    startup: Command | None = None
    startup_timeout: Duration = 10 * SECOND
    shutdown: Command | None = None
    shutdown_timeout: Duration = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Mail:
    """Where mail about changes of state goes. ``router`` stands in its subject."""

    server: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    router: str
    helo: str = ""
    timeout: Duration = 30 * SECOND
    no_faults: bool = False


@dataclass(frozen=True, slots=True)
class LinkDelay:
    """A line of interface_up_down_delays: how long a change of the link must last before it counts."""

    interface: str
    down: Duration
    up: Duration = 0
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class VrrpScript:
    """A vrrp_script block. ``timeout`` is the interval unless given."""

    name: str
    command: Command
    interval: Duration = SECOND
    timeout: Duration = SECOND
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    fall: int = 1
    init_fail: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Track:
    """One entry of a track_script, track_interface, track_process or track_file block.

    ``weight`` 0 means FAULT while down; positive is added while up, negative while down; ``reverse`` swaps.
    """

    name: str
    weight: int = 0
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class TrackFile:
    """A track_file block: a file with a number in it. ``initial`` is written at start where there is no file yet."""

    name: str
    path: str
    weight: int = 1
    reverse: bool = False
    initial: int | None = None
    overwrite: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrackProcess:
    """A vrrp_track_process block: up while ``quorum`` to ``quorum_max`` processes run that are called like ``argv``.

    Without ``full_command`` the name alone counts, at most 15 bytes. ``param_match``: how much of the parameters
    must be the same. The delays are for how long a change must last before it counts.
    """

    name: str
    argv: tuple[str, ...]
    full_command: bool = False
    param_match: Literal["exact", "initial", "partial"] = "exact"
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    quorum_max: int | None = None
    fork_delay: Duration = 0
    terminate_delay: Duration = 0
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrackHaproxy:
    """A track_haproxy block: up while the HAProxy at ``socket`` answers and has what is asked of it.

    ``backends`` are (name, servers that must be usable), ``frontends`` must be open. ``epoch_map`` is the file of a map
    that is kept at the epochs of this node's instances, by name; "" is none.
    """

    name: str
    socket: str
    interval: Duration = SECOND
    timeout: Duration = SECOND
    weight: int = 0
    reverse: bool = False
    rise: int = 2
    fall: int = 2
    backends: tuple[tuple[str, int], ...] = ()
    frontends: tuple[str, ...] = ()
    epoch_map: str = ""
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrackPeer:
    """A track_peer block: up while at least ``least`` of ``nodes`` were heard within ``timeout``.

    No ``nodes`` are all other nodes of the peers block. This node's own name among them does not count.
    """

    name: str
    nodes: tuple[str, ...] = ()
    least: int = 1
    timeout: Duration = 3 * SECOND
    weight: int = -20
    reverse: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """One line of virtual_ipaddress or virtual_ipaddress_excluded.

    ``own_mac``: wanted on a virtual MAC interface although it is not on the instance's own interface. ``flags`` are
    the kernel's, in keepalived's words (home, mngtmpaddr, noprefixroute, autojoin).
    """

    address: IPAddress
    prefix_length: int
    device: str
    label: str | None = None
    scope: str | None = None
    broadcast: str | None = None
    peer: str | None = None
    preferred_lifetime: int | None = None
    nodad: bool = True
    no_track: bool = False
    own_mac: bool = False
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


class NextHop(NamedTuple):
    """One way of a route with several: "" is no gateway, None no device."""

    gateway: str
    device: str | None = None
    weight: int = 1
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A line of virtual_routes or static_routes. ``destination`` None is the default route.

    ``metrics`` are in the kernel's units; it does not change those that are ``locked``. ``append``: behind other routes
    to the same place, not before them. ``text`` is the line, for people.
    """

    destination: IPNetwork | None
    family: Literal[4, 6] | None = None
    kind: str = "unicast"
    gateway: IPAddress | None = None
    device: str | None = None
    source: IPAddress | None = None
    from_network: IPNetwork | None = None
    table: int = 254
    metric: int | None = None
    scope: int | None = None
    tos: int = 0
    onlink: bool = False
    metrics: tuple[tuple[str, int | str], ...] = ()
    locked: tuple[str, ...] = ()
    next_hops: tuple[NextHop, ...] = ()
    append: bool = False
    realms: int | None = None
    preference: int | None = None
    no_track: bool = False
    text: str = ""
    place: Place = field(default=NOWHERE, compare=False)

    @property
    def version(self) -> Literal[4, 6]:
        """The family, from whatever names an address."""
        for one in (self.destination, self.gateway, self.source, self.from_network):
            if one is not None:
                return one.version
        if self.next_hops and ":" in self.next_hops[0].gateway:
            return 6
        return self.family or 4


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of virtual_rules or static_rules. ``priority`` None is keepalived's default, 16384."""

    from_network: IPNetwork | None = None
    to_network: IPNetwork | None = None
    family: Literal[4, 6] | None = None
    inverted: bool = False
    table: int | None = None
    priority: int | None = None
    input: str | None = None
    output: str | None = None
    mark: int | None = None
    mask: int = 2**32 - 1
    tos: int = 0
    suppress_length: int | None = None
    suppress_group: int | None = None
    realms: int | None = None
    tunnel: int | None = None
    l3mdev: bool = False
    uids: tuple[int, int] | None = None
    ip_protocol: int | None = None
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    action: str = "table"
    goto: int | None = None
    no_track: bool = False
    text: str = ""
    place: Place = field(default=NOWHERE, compare=False)

    @property
    def version(self) -> Literal[4, 6]:
        """The family, from whatever names a network."""
        for one in (self.from_network, self.to_network):
            if one is not None:
                return one.version
        return self.family or 4


@dataclass(frozen=True, slots=True)
class VetoScript:
    """``veto_script``: asked before the node claims. It has ``timeout`` to answer and is asked again after ``pause``."""

    command: Command
    timeout: Duration
    pause: Duration


@dataclass(frozen=True, slots=True)
class Garp:
    """When and how often addresses are announced. Counts per address, Durations; 0 switches off."""

    repeat: int = 5
    delay: Duration = 5 * SECOND
    refresh: Duration = 0
    refresh_repeat: int = 1
    lower_priority_delay: Duration = 5 * SECOND
    lower_priority_repeat: int = 5


@dataclass(frozen=True, slots=True)
class AnnouncePace:
    """The pause between two announcements: gratuitous ARPs, and neighbour advertisements. 0 is none.

    ``interfaces`` keep it together (garp_group); without any, each of the other interfaces keeps it for itself.
    """

    interfaces: tuple[str, ...]
    garp: Duration = 0
    gna: Duration = 0


@dataclass(frozen=True, slots=True)
class Unicast:
    """Unicast adverts: who gets them, and from which address.

    ``hops`` are the least and the largest TTL (hop limit) that adverts of a peer may arrive with, where it is limited.
    """

    peers: tuple[IPAddress, ...]
    ttl: int = 255
    check_source: bool = True
    hops: tuple[tuple[IPAddress, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualMac:
    """A macvlan interface ``name`` on ``base`` with a virtual router's MAC ``address`` (six octets, with colons)."""

    name: str
    base: str
    address: str


@dataclass(frozen=True, slots=True)
class VrrpInstance:
    """A vrrp_instance block, complete: every default filled in.

    ``vmac`` is the instance's own virtual MAC interface, ``address_vmacs`` are those of addresses on other interfaces.
    ``xmit_base``: adverts leave by ``interface`` all the same. ``accept`` is RFC 9568's Accept_Mode.
    """

    name: str
    interface: str
    vrid: int
    addresses: tuple[VirtualAddress, ...]
    excluded: tuple[VirtualAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    promote_secondaries: bool = False
    family: Literal[4, 6] = 4
    version: Literal[2, 3] = 2
    initial_state: Literal["MASTER", "BACKUP"] = "BACKUP"
    priority: int = 100
    advert_interval: Duration = SECOND
    preempt: bool = True
    preempt_delay: Duration = 0
    source: IPAddress | None = None
    track_source: bool = False
    multicast_group: IPAddress | None = None
    unicast: Unicast | None = None
    vmac: VirtualMac | None = None
    address_vmacs: tuple[VirtualMac, ...] = ()
    xmit_base: bool = False
    accept: bool = True
    auth_pass: bytes | None = None
    track_scripts: tuple[Track, ...] = ()
    track_interfaces: tuple[Track, ...] = ()
    track_files: tuple[Track, ...] = ()
    track_processes: tuple[Track, ...] = ()
    track_haproxies: tuple[Track, ...] = ()
    track_peers: tuple[Track, ...] = ()
    track_primary: bool = True
    notify: Notify = Notify()
    veto: VetoScript | None = None
    garp: Garp = Garp()
    down_timer_adverts: int = 3
    skip_check_adv_addr: bool = False
    strict: bool = False
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = True
    checksum_as_v2: bool = False
    notify_priority_changes: bool = False
    smtp_alert: bool = False
    place: Place = field(default=NOWHERE, compare=False)

    @property
    def vmacs(self) -> tuple[VirtualMac, ...]:
        """Every virtual MAC interface of the instance, its own first."""
        return (*((self.vmac,) if self.vmac else ()), *self.address_vmacs)

    def carrier(self, device: str) -> str:
        """Return the interface whose wire ``device`` uses: the base of a virtual MAC interface, any other itself."""
        return next((vmac.base for vmac in self.vmacs if vmac.name == device), device)


@dataclass(frozen=True, slots=True)
class SyncGroup:
    """A vrrp_sync_group block: instances that move together, under one claim."""

    name: str
    members: tuple[str, ...]
    track_scripts: tuple[Track, ...] = ()
    track_interfaces: tuple[Track, ...] = ()
    track_files: tuple[Track, ...] = ()
    track_processes: tuple[Track, ...] = ()
    track_haproxies: tuple[Track, ...] = ()
    track_peers: tuple[Track, ...] = ()
    notify: Notify = Notify()
    veto: VetoScript | None = None
    tracking_weight: bool = False
    notify_priority_changes: bool = False
    smtp_alert: bool = False
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class GlobalDefs:
    """The parts of global_defs that mean something here."""

    router_id: str = ""
    script_user: str | None = None
    script_group: str | None = None
    script_security: bool = True
    startup_delay: Duration = 0
    delay_after_boot: Duration = 0
    notify_priority_changes: bool = False
    log_unknown_vrids: bool = False
    fifos: tuple[NotifyFifo, ...] = ()
    fifo_states_on_reload: bool = False
    dumps: DumpFiles = DumpFiles()
    process: ProcessSettings = ProcessSettings()
    smtp_alert: bool = False
    mail: Mail | None = None


@dataclass(frozen=True, slots=True)
class ArbiterConfig:
    """An ``arbiter`` block or URL. ``kind`` is the plugin's name; "none" is plain VRRP.

    ``lease``, ``renew`` and ``guard`` are None until the agent derives them from the advert interval.
    ``settings`` are the plugin's own words, secrets already read from their files (as ``password``).
    ``members`` are the arbiters a "quorum" is made of, and empty for every other kind.
    """

    kind: str
    endpoints: tuple[str, ...] = ()
    domain: str = "haagent"
    lease: Duration | None = None
    renew: Duration | None = None
    guard: Duration | None = None
    settings: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    place: Place = field(default=NOWHERE, compare=False)
    members: tuple[ArbiterConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """One other node and the addresses it is reached at, over any number of networks."""

    node: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peers:
    """The ``peers`` block: the authenticated channel between the nodes. ``key`` is the shared secret.

    ``failsafe`` off: the nodes talk, but promise each other nothing; the arbiter alone renews leases.
    """

    nodes: tuple[Peer, ...]
    port: int
    key: bytes = field(repr=False)
    listen: tuple[str, ...] = ()
    failsafe: bool = True


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the agent answers over TCP. ``subject`` is the instance or group an agent-check is about; "" is all."""

    host: str
    port: int
    subject: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Daemon:
    """The ``haagent`` block: what keepalived has no word for.

    ``minimum_tenure``: how long a MASTER keeps the address before it hands over to a better node.
    """

    node: str = ""
    gate: Literal["auto", "required", "bpf", "nftables", "lifetime", "off"] = "auto"
    control_socket: str = ""
    minimum_tenure: Duration = 0
    log_level: str = "info"
    log_format: Literal["human", "json"] = "human"
    http: tuple[Listen, ...] = ()
    agent_checks: tuple[Listen, ...] = ()

    @property
    def listens(self) -> tuple[Listen, ...]:
        """Every address the front listens on."""
        return (*self.http, *self.agent_checks)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything one agent is told. ``warnings`` and ``notes`` are complete sentences with their places."""

    globals: GlobalDefs
    instances: tuple[VrrpInstance, ...]
    groups: tuple[SyncGroup, ...]
    scripts: tuple[VrrpScript, ...]
    arbiter: ArbiterConfig | None
    peers: Peers | None
    daemon: Daemon
    files: tuple[TrackFile, ...] = ()
    processes: tuple[TrackProcess, ...] = ()
    haproxies: tuple[TrackHaproxy, ...] = ()
    peer_votes: tuple[TrackPeer, ...] = ()
    net_namespace: str = ""
    pid_files: tuple[str, str] | None = None  # the supervisor's and the worker's, where no option names them
    link_delays: tuple[LinkDelay, ...] = ()
    announce_paces: tuple[AnnouncePace, ...] = ()
    static_addresses: tuple[VirtualAddress, ...] = ()
    static_routes: tuple[Route, ...] = ()
    static_rules: tuple[Rule, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def subjects(self) -> tuple[VrrpInstance | SyncGroup, ...]:
        """Whoever tracks something and notifies somebody."""
        return (*self.instances, *self.groups)
