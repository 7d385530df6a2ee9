"""What each host's core is told: the simulated counterpart of haagent/agent/parameters.py."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from haagent.agent.succession import Layout
from haagent.core.group import GroupParameters
from haagent.core.instance import InstanceParameters
from haagent.core.parameters import NodeParameters
from haagent.core.session import SessionParameters
from haagent.core.tracking import TrackerParameters, TrackUse
from haagent.core.units import SECOND, Duration
from haagent.core.virtual_router import RouterParameters
from tests.simulation.layouts import layout_of
from tests.simulation.plan import NODES, Claimed, Cluster


@dataclass(frozen=True, slots=True)
class ClaimConfig:
    name: str
    members: tuple[str, ...]
    priority: int
    sync: bool
    vrids: tuple[int, ...] = ()

    def without(self, names: Collection[str]) -> ClaimConfig:
        kept = [place for place, member in enumerate(self.members) if member not in names]
        vrids = tuple(self.vrids[place] for place in kept) if self.vrids else ()
        return replace(self, members=tuple(self.members[place] for place in kept), vrids=vrids)


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

    def layout(self) -> Layout:
        return layout_of((claim.name, claim.members) for claim in self.claims)

    def lacking(self, names: Collection[str]) -> HostConfig:
        """Return the configuration without some instances, and without the claims that are left with none."""
        fewer = (claim.without(names) for claim in self.claims)
        return replace(self, claims=tuple(claim for claim in fewer if claim.members))

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


def laid_out(config: HostConfig, claims: tuple[Claimed, ...], index: int) -> HostConfig:
    """Return the configuration of the node of this number with these claims."""
    return replace(
        config,
        claims=tuple(
            ClaimConfig(claim.name, claim.members, claim.priorities[index], claim.sync, claim.vrids)
            for claim in claims
        ),
    )


def host_config(cluster: Cluster, index: int) -> HostConfig:
    config = HostConfig(
        name=NODES[index],
        lease=cluster.lease,
        renew=cluster.renew,
        guard=cluster.guard,
        claims=(),
        electors=tuple(NODES[: cluster.nodes]) if cluster.electors else (),
        version=cluster.version,
        advert=cluster.advert,
        preempt=cluster.preempt,
        preempt_delay=cluster.preempt_delay,
    )
    return laid_out(config, cluster.claims, index)


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
            _instance(config, name, claim.priority, number, claim.vrids[place] if claim.vrids else number + 1)
            for number, claim in enumerate(config.claims)
            for place, name in enumerate(claim.members)
        ),
        groups=tuple(GroupParameters(claim.name, claim.members, claim.sync) for claim in config.claims),
        trackers=(TrackerParameters("script", rise=1, fall=2),),
        resume=tuple(resume.items()),
    )


def _instance(config: HostConfig, name: str, priority: int, number: int, vrid: int) -> InstanceParameters:
    router = RouterParameters(
        version=3 if config.version == 3 else 2,
        vrid=vrid,
        priority=priority,
        advertisement_interval=config.advert,
        preempt_mode=config.preempt,
        preempt_delay=config.preempt_delay,
        preempt_lowered=True,
    )
    weight = -30 if number else 0  # the first claim's instances go to FAULT, others lose priority
    return InstanceParameters(name, router, ("eth0",), (TrackUse("script", weight),))
