"""What each host's core is told: the simulated counterpart of haagent/agent/parameters.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from haagent.core.group import GroupParameters
from haagent.core.instance import InstanceParameters
from haagent.core.parameters import NodeParameters
from haagent.core.session import SessionParameters
from haagent.core.tracking import TrackerParameters, TrackUse
from haagent.core.units import SECOND, Duration
from haagent.core.virtual_router import RouterParameters
from tests.simulation.plan import NODES, Cluster


@dataclass(frozen=True, slots=True)
class ClaimConfig:
    name: str
    members: tuple[str, ...]
    priority: int
    sync: bool


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One host's configuration, as a file would say it."""

    name: str
    lease: Duration
    renew: Duration
    guard: Duration
    claims: tuple[ClaimConfig, ...]
    electors: tuple[str, ...]
    version: int
    advert: Duration
    preempt: bool
    preempt_delay: Duration

    def instances(self) -> tuple[str, ...]:
        return tuple(member for claim in self.claims for member in claim.members)

    def claim_of(self, instance: str) -> str:
        """Return the claim an instance lives under, empty if it is not configured."""
        for claim in self.claims:
            if instance in claim.members:
                return claim.name
        return ""

    @property
    def lifetime(self) -> Duration:
        """How long addresses live unless renewed: whole seconds, more than the lease."""
        return (-(-self.lease // SECOND) + 1) * SECOND

    def with_priority(self, priority: int) -> HostConfig:
        return replace(self, claims=tuple(replace(claim, priority=priority) for claim in self.claims))

    def with_lease(self, lease: Duration) -> HostConfig:
        return replace(self, lease=lease, renew=lease // 4, guard=lease // 10)

    def without(self, number: int) -> HostConfig:
        kept = tuple(claim for place, claim in enumerate(self.claims) if place != number)
        return replace(self, claims=kept)


def host_config(cluster: Cluster, index: int) -> HostConfig:
    claims = tuple(
        ClaimConfig(claim.name, claim.members, claim.priorities[index], claim.sync)
        for claim in cluster.claims
    )
    return HostConfig(
        name=NODES[index],
        lease=cluster.lease,
        renew=cluster.renew,
        guard=cluster.guard,
        claims=claims,
        electors=tuple(NODES[: cluster.nodes]) if cluster.electors else (),
        version=cluster.version,
        advert=cluster.advert,
        preempt=cluster.preempt,
        preempt_delay=cluster.preempt_delay,
    )


def node_parameters(
    config: HostConfig, incarnation: str, *, resumed: bool, resume: dict[str, int]
) -> NodeParameters:
    """Return what the core is told at a start or reload."""
    session = SessionParameters(
        node=config.name,
        incarnation=f"{config.name}{incarnation}",
        host=f"host-{config.name}",
        lease=config.lease,
        renew=config.renew,
        guard=config.guard,
        electors=config.electors,
        resumed=resumed,
    )
    return NodeParameters(
        session=session,
        instances=tuple(
            _instance(config, name, claim.priority, number)
            for number, claim in enumerate(config.claims)
            for name in claim.members
        ),
        groups=tuple(GroupParameters(claim.name, claim.members, claim.sync) for claim in config.claims),
        trackers=(TrackerParameters("script", rise=1, fall=2),),
        resume=tuple(resume.items()),
    )


def _instance(config: HostConfig, name: str, priority: int, number: int) -> InstanceParameters:
    router = RouterParameters(
        version=3 if config.version == 3 else 2,
        vrid=number + 1,
        priority=priority,
        advertisement_interval=config.advert,
        preempt_mode=config.preempt,
        preempt_delay=config.preempt_delay,
        preempt_lowered=True,
    )
    weight = -30 if number else 0  # the first claim's instances go to FAULT, others lose priority
    return InstanceParameters(name, router, ("eth0",), (TrackUse("script", weight),))
