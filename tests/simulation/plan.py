"""From a seed to a cluster and an explicit list of faults, so that faults can be dropped one by one.

Decides what is configured and what goes wrong; performs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant

NODES = "abcde"
HOLDER = -1  # in a fault: whoever passes traffic of the first claim at that moment


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at ``at`` (true time) for ``lasts``; what the other fields mean is the kind's business."""

    at: Instant
    kind: str
    lasts: Duration = 0
    node: int = 0
    other: int = 0
    amount: int = 0
    word: str = ""

    def __str__(self) -> str:
        extra = " ".join(
            f"{name}={value}"
            for name in ("other", "amount", "word")
            if (value := getattr(self, name)) not in (0, "")
        )
        node = "holder" if self.node == HOLDER else NODES[self.node]
        return (
            f"{self.at / SECOND:9.4f} s {self.kind} {node} for {self.lasts / SECOND:.4f} s {extra}".rstrip()
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to be cruel. ``kinds`` are fault kinds with weights, ``rate`` faults per simulated second."""

    name: str
    kinds: dict[str, int]
    rate: float = 0.6
    electors: float = 0.5  # the chance that failsafe is configured
    noise: float = 0.5  # the chance that the arbiter and the networks are bad all the time
    pause_allowed: bool = False  # EXCL may be broken for R + a round trip after a pause of a virtual machine
    judged: bool = True  # False: informative, breaks of EXCL are expected
    nodes: tuple[int, int] = (2, 5)
    leases: tuple[int, ...] = (200, 300, 500, 1000, 1000, 2000, 3000)
    calm: bool = False  # one crash and nothing else
    regroups: bool = (
        False  # which claim guards what changes, so virtual routers are known by numbers of their own
    )
    sharp: bool = (
        False  # quick advertisements and mostly the holder hit: everything happens close to a deadline
    )


NODE = {"crash": 8, "shutdown": 2, "freeze": 5, "stall": 4, "suspend": 2, "slew": 3, "effects": 1}
NETWORK = {"cut_lan": 4, "split_lan": 2, "cut_peer": 3, "split_peer": 2, "cut_arbiter": 6, "mute": 3}
ARBITER = {"outage": 4, "election": 4, "bad_arbiter": 4, "wipe": 1, "vanish": 2, "restore": 1}
HOST = {"link": 2, "primary": 1, "vanished": 1, "tracker": 3, "foreign": 1}
OPERATOR = {"switchover": 3, "pause": 1, "priority": 2, "lease": 1, "instances": 1}

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("default", NODE | NETWORK | ARBITER | HOST | OPERATOR),
        Profile("storm", NODE | NETWORK | ARBITER | HOST | OPERATOR, rate=2.0, noise=0.8),
        Profile(
            "restarts",
            {
                "crash": 10,
                "stall": 2,
                "cut_arbiter": 2,
                "bad_arbiter": 3,
                "mute": 3,
                "link": 2,
                "tracker": 2,
                "wipe": 1,
            },
            rate=1.2,
        ),
        Profile(
            "failsafe",
            {"crash": 4, "freeze": 3, "stall": 3, "cut_arbiter": 6, "cut_peer": 3, "outage": 5, "election": 3}
            | {"wipe": 3, "vanish": 3, "mute": 4, "slew": 1, "restore": 1},
            rate=0.9,
            electors=1.0,
        ),
        Profile(
            "data loss",
            {"wipe": 4, "vanish": 4, "restore": 3, "crash": 3, "cut_arbiter": 3, "mute": 4},
            rate=0.8,
        ),
        Profile(
            "lost claims",
            {"deleted": 8, "deafen": 5, "bad_arbiter": 4, "cut_arbiter": 3, "mute": 4, "freeze": 3}
            | {"crash": 3, "wipe": 1, "vanish": 1, "instances": 1},
            rate=0.8,
            noise=0.7,
            electors=1.0,  # a node that nobody lists and no hint tells of is not asked: docs/safety, "What is left"
        ),
        Profile("operators", OPERATOR | {"crash": 3, "tracker": 3, "freeze": 2, "bad_arbiter": 2}, rate=1.0),
        Profile(
            "edges",
            {"lagging": 8, "freeze": 6, "deafen": 6, "crash": 3, "slew": 1},
            rate=0.8,
            electors=0.0,
            noise=0.0,
            leases=(1000, 2000),
            sharp=True,
        ),
        Profile(
            "promises",
            {"isolate": 8, "wipe": 8, "mute": 6, "crash": 6, "cut_peer": 2, "stall": 2},
            rate=1.2,
            electors=1.0,
            noise=0.0,
            leases=(500, 1000),
            sharp=True,
        ),
        Profile(
            "regrouped",
            {"regroup": 6, "thin": 4, "crash": 6, "freeze": 4, "stall": 5, "cut_arbiter": 3, "mute": 4}
            | {"bad_arbiter": 2, "effects": 1, "switchover": 2, "suspend": 1, "election": 1, "cut_lan": 2}
            | {"priority": 1, "lease": 1, "outage": 1, "vanish": 1, "wipe": 1, "cut_peer": 1},
            rate=0.9,
            regroups=True,
        ),
        Profile("crash", {}, calm=True, noise=0.0),
        Profile("pauses", {"vm_pause": 6, "cut_lan": 2, "mute": 2}, pause_allowed=True),
        Profile(
            "pauses alone",
            {"vm_pause": 6, "crash": 2, "cut_arbiter": 3},
            pause_allowed=True,
            judged=False,
        ),
        Profile(
            "instant restore", {"instant_restore": 4, "crash": 3, "cut_arbiter": 2, "mute": 3}, judged=False
        ),
        Profile(
            "mixed leases", {"lease_one": 4, "wipe": 3, "crash": 3, "freeze": 3, "mute": 3}, judged=False
        ),
        Profile(
            "rolling regroup",
            {"roll": 6, "crash": 3, "freeze": 3, "mute": 3, "switchover": 1},
            regroups=True,
            judged=False,
        ),
        Profile("slew of 10 %", {"slew10": 5, "freeze": 5, "stall": 3, "crash": 1}, judged=False),
    )
}


@dataclass(frozen=True, slots=True)
class Claimed:
    """One claim and its instances; ``priorities`` per node, ``vrids`` per instance (by the claim's place if none)."""

    name: str
    members: tuple[str, ...]
    priorities: tuple[int, ...]
    sync: bool
    vrids: tuple[int, ...] = ()

    def describe(self) -> str:
        """Return the claim and what it guards."""
        return f"{self.name}({' '.join(self.members)})"


@dataclass(frozen=True, slots=True)
class Network:
    """How a network behaves when nothing is cut: delays in ns, chances per message."""

    least: Duration
    most: Duration
    loss: float = 0.0
    double: float = 0.0
    late: float = 0.0  # up to half a second late, and so out of order


@dataclass(frozen=True, slots=True)
class Store:
    """How requests to the arbiter fare: chances per request."""

    least: Duration
    most: Duration
    lost: float = 0.0  # before it is applied
    unanswered: float = 0.0  # applied, and the reply lost
    late: float = 0.0  # applied after the client has given up
    double: float = 0.0  # sent twice by the client
    stale: float = 0.0  # a read shows an old state
    deaf: float = 0.0  # a hint is lost


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a seed configures."""

    nodes: int
    version: int
    advert: Duration
    lease: Duration
    renew: Duration
    guard: Duration
    claims: tuple[Claimed, ...]
    electors: bool
    preempt: bool
    preempt_delay: Duration
    lan: Network
    peers: Network
    store: Store
    boot_ppm: tuple[int, ...]
    raw_ppm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run is made from. ``heal`` is when faults end, ``settled`` when the cluster must have converged.

    ``patient``: the run is played up to then in any case, not only until the cluster has converged for a while.
    """

    seed: int
    profile: Profile
    cluster: Cluster
    faults: tuple[Fault, ...]
    heal: Instant
    settled: Instant
    patient: bool

    def keeping(self, kept: tuple[int, ...]) -> Plan:
        """Return the plan with only the faults of these numbers."""
        return replace(self, faults=tuple(self.faults[number] for number in kept))


def make_plan(seed: int, profile: Profile) -> Plan:
    """Return what this seed means."""
    random = Random(f"plan {profile.name} {seed}")
    cluster = _cluster(random, profile)
    heal = (15 if profile.calm else random.choice((10, 15, 25))) * SECOND
    faults = _calm_faults(random) if profile.calm else _faults(random, profile, cluster, heal)
    # a lost claim's last witness may have to show two records more, each up to a PRESENCE apart (core.witnesses)
    patience = 32 * SECOND + 12 * cluster.lease + cluster.preempt_delay + 20 * cluster.advert
    return Plan(seed, profile, cluster, faults, heal, heal + patience, patient=profile.calm or seed % 4 == 0)


def _cluster(random: Random, profile: Profile) -> Cluster:
    nodes = random.choice((2, 2, 3, 3, 4, 5))
    nodes = min(max(nodes, profile.nodes[0]), profile.nodes[1])
    lease = random.choice(profile.leases) * MILLISECOND
    renew = lease // random.choice((4, 4, 4, 5, 3))
    guard = random.choice((min(20 * MILLISECOND, lease // 10), lease // 10, lease // 20))
    adverts = (100, 200) if profile.sharp else (100, 200, 500, 1000, 1000, 2000)
    advert = random.choice(adverts) * MILLISECOND
    noisy = random.random() < profile.noise
    quick = min(renew // 4, 20 * MILLISECOND)
    return Cluster(
        nodes=nodes,
        version=random.choice((2, 3)),
        advert=advert,
        lease=lease,
        renew=renew,
        guard=guard,
        claims=_numbered(_claims(random, nodes)) if profile.regroups else _claims(random, nodes),
        electors=random.random() < profile.electors,
        preempt=random.random() < 0.6,
        preempt_delay=random.choice((0, 0, 0, 1, 3)) * SECOND,
        lan=_network(random, noisy=noisy),
        peers=_network(random, noisy=noisy),
        store=_store(random, quick, noisy=noisy),
        boot_ppm=tuple(1_000_000 + random.choice((0, 0, random.randint(-500, 500))) for _ in range(nodes)),
        raw_ppm=tuple(1_000_000 + random.randint(-200, 200) for _ in range(nodes)),
    )


def _claims(random: Random, nodes: int) -> tuple[Claimed, ...]:
    claims = []
    for number in range(random.choice((1, 1, 1, 2, 2, 3))):
        sync = random.random() < 0.3
        members = (f"i{number}", f"j{number}") if sync else (f"i{number}",)
        equal = random.random() < 0.25
        priorities = [100] * nodes if equal else random.sample(range(50, 251, 20), nodes)
        claims.append(Claimed(f"g{number}" if sync else members[0], members, tuple(priorities), sync))
    return tuple(claims)


def _numbered(claims: tuple[Claimed, ...]) -> tuple[Claimed, ...]:
    """Give every instance a VRID that it keeps in whatever group."""
    numbers = iter(range(1, 256))
    return tuple(replace(claim, vrids=tuple(next(numbers) for _ in claim.members)) for claim in claims)


def _network(random: Random, *, noisy: bool) -> Network:
    least = random.randint(50_000, 500_000)
    most = least + random.choice((100_000, 1_000_000, 5_000_000))
    if not noisy:
        return Network(least, most)
    return Network(least, most, random.choice((0.0, 0.01, 0.1)), 0.02, random.choice((0.0, 0.02)))


def _store(random: Random, quick: Duration, *, noisy: bool) -> Store:
    least = random.randint(100_000, max(quick // 4, 200_000))
    most = least + random.randint(quick // 8, quick)
    if not noisy:
        return Store(least, most)
    few = (0.0, 0.01, 0.05)
    return Store(
        least, most, random.choice(few), random.choice(few), random.choice(few), 0.05, random.choice((0.0, 0.05, 0.3)),
        random.choice((0.0, 0.1, 1.0)),
    )  # fmt: skip


def _calm_faults(random: Random) -> tuple[Fault, ...]:
    return (Fault(10 * SECOND + random.randrange(SECOND), "kill_holder", node=HOLDER),)


def _faults(random: Random, profile: Profile, cluster: Cluster, heal: Instant) -> tuple[Fault, ...]:
    count = max(1, round(profile.rate * heal / SECOND * random.uniform(0.4, 1.4)))
    kinds, weights = list(profile.kinds), list(profile.kinds.values())
    begin = random.choice((0, 3 * SECOND, 6 * SECOND))
    times = sorted(random.randrange(begin, heal - SECOND) for _ in range(count))
    if random.random() < 0.4:  # troubles seldom come alone
        times = sorted(
            time if random.random() < 0.5 else random.choice(times) + random.randrange(cluster.lease)
            for time in times
        )
    aim = 0.8 if profile.sharp else 0.4
    return tuple(_fault(random, at, random.choices(kinds, weights)[0], cluster, heal, aim) for at in times)


def _fault(random: Random, at: Instant, kind: str, cluster: Cluster, heal: Instant, aim: float) -> Fault:
    lease = cluster.lease
    lasts = round(lease * random.choice((0.1, 0.3, 0.7, 0.95, 1.05, 1.2, 2, 4)) * random.uniform(0.8, 1.2))
    if kind == "restore":
        lasts = lease * 13 // 10 + random.randrange(lease)
    elif kind == "deafen":
        lasts = round(lease * random.uniform(0.9, 1.15))
    elif kind in ("lagging", "isolate"):
        lasts = lease * random.randint(2, 6)
    elif kind in ("regroup", "thin", "roll"):
        lasts = random.randint(500, 6000) * MILLISECOND
    elif kind == "crash":
        lasts = random.choice((MILLISECOND, 20 * MILLISECOND, lease // 2, lasts))
    lasts = min(lasts, max(heal - at - MILLISECOND, 0))
    node = HOLDER if random.random() < aim else random.randrange(cluster.nodes)
    other = (node + random.randrange(1, cluster.nodes)) % cluster.nodes
    amount, word = 0, ""
    if kind in ("crash", "stall"):
        amount = random.choice((0, 0, 1, 2, 3, 5, 8))
        word = random.choice(("resumed", "resumed", "new")) if kind == "crash" else ""
    elif kind in ("split_lan", "split_peer"):
        amount = random.randrange(1, 1 << cluster.nodes)
    elif kind in ("slew", "slew10"):
        amount = random.choice(
            (-83_000, 83_000, 0, random.randint(-500, 500), random.randint(-83_000, 83_000))
        )
        amount = random.choice((-100_000, 100_000)) if kind == "slew10" else amount
    elif kind in ("cut_arbiter", "outage"):
        word = (
            random.choice(("both", "up", "down"))
            if kind == "cut_arbiter"
            else random.choice(("drop", "refuse"))
        )
    elif kind in ("priority", "foreign"):
        amount = random.randint(1, 254)
    elif kind in ("lease", "lease_one"):
        amount = random.choice((lease // 2, lease * 2, lease * 3 // 2))
    elif kind in ("regroup", "roll"):
        amount = random.choice((0, random.randrange(1, 1 << 16)))  # every other one goes back to how it was
    elif kind == "thin":
        amount = random.randrange(1, 1 << 6)
    elif kind in ("restore", "instant_restore"):
        amount = random.randrange(max(at, 1))
    elif kind in ("switchover", "deleted", "instances", "link", "vanished", "primary", "foreign"):
        amount = random.randrange(len(cluster.claims))
    return Fault(at, kind, lasts, node, other, amount, word)
