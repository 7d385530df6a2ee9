"""What a configuration means: frozen dataclasses, already checked, in keepalived's words.

``Configuration`` and the blocks it is made of. What they put on the network is in ``network_model``, what they run in
``command_model``, what they watch in ``tracking_model``.

Times are Durations (integer nanoseconds), addresses ``ipaddress`` objects. ``place`` fields say where a thing
was written, for messages; they do not take part in comparison, so a moved line is not a changed one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from haagent.config.command_model import Command, Notify, NotifyFifo, VetoScript
from haagent.config.network_model import IPAddress, Route, Rule, VirtualAddress, VirtualMac
from haagent.config.tracking_model import Track, TrackFile, TrackHaproxy, TrackPeer, TrackProcess, VrrpScript
from haagent.core.units import SECOND, Duration
from haagent.errors import NOWHERE, Place


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
    notify: Notify = field(default_factory=Notify)
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
    notify: Notify = field(default_factory=Notify)
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
    ``settings`` are the plugin's own words, secrets already read from their files (as ``password``);
    ``password_from`` is the word that said where the password is, and what it said.
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
    password_from: tuple[str, str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """One other node and the addresses it is reached at, over any number of networks."""

    node: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peers:
    """The ``peers`` block: the authenticated channel between the nodes. ``key`` is the shared secret.

    ``failsafe`` off: the nodes talk, but promise each other nothing; the arbiter alone renews leases. ``nodes`` are the
    others; ``lists_this_node``: the block named this one as well.
    """

    nodes: tuple[Peer, ...]
    port: int
    key: bytes = field(repr=False)
    listen: tuple[str, ...] = ()
    failsafe: bool = True
    lists_this_node: bool = field(default=True, compare=False)
    place: Place = field(default=NOWHERE, compare=False)


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
    log_format: Literal["auto", "human", "json"] = "auto"
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
