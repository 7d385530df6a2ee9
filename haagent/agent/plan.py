"""How long things take with a configuration: pure arithmetic, with the core's own timers where it has them.

Promises upper bounds for a healthy network and an arbiter that answers within the assumed round trip, for a takeover
by a node with this very file from another one with the same timing. Simulated crashes of the real core stay below
them (tests/unit/agent/test_plan.py). Reads no clock, asks nobody.

Theory. Let the MASTER die at 0, its last renewal sent at -x (0 <= x <= R) and its last advert at -a (0 <= a <= A). The
contender saw that renewal at most one round trip later and may end the session W after that; its router wants to be
Master by then or a little later (``Instance.wanting_at``). It then ends the session and renews its own (one round trip,
both at once), takes the claim (another), and installs the addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from haagent.agent.parameters import Run, Timing, arbitrated, failsafe, groups, node_parameters, timing
from haagent.config.model import Configuration
from haagent.core.events import AdvertisementReceived
from haagent.core.instance import Instance, InstanceParameters
from haagent.core.observation import patience
from haagent.core.units import MICROSECOND, MILLISECOND, SECOND, Duration, Instant
from haagent.core.virtual_router import master_down_interval, skew_time
from haagent.effects.gate import Tier

PPM = 1_000_000
SLEW_PPM = 83_333  # chrony's default limit for slewing; the kernel's own is 10 %
LATENESS = {Tier.BPF: 300 * MICROSECOND, Tier.NFTABLES: 6 * MILLISECOND}
RECONNECT: Duration = SECOND  # an unanswered connection is asked for again (RFC 6298, and grpc)
KERNEL_LIFETIME: Duration = SECOND // 2  # how late the kernel collects an address whose lifetime is over


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the arithmetic takes for granted: to the arbiter and back; to install or remove the addresses."""

    round_trip: Duration = 5 * MILLISECOND
    host: Duration = MILLISECOND


@dataclass(frozen=True, slots=True)
class Span:
    """A time in the middle of the range, and the longest."""

    typical: Duration
    worst: Duration


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that may happen: for how long nobody answers. ``keepalived`` None: see ``remark``."""

    what: str
    span: Span | None
    keepalived: Span | None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Margin:
    """What is left between the holder's last packet and a contender's first: W - (L - g), and less.

    ``slewed``: while the holder's CLOCK_BOOTTIME is slewed slow by SLEW_PPM. ``left``: and the tier is as late as it gets.
    """

    tier: Tier
    lateness: Duration
    slewed: Duration
    left: Duration


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """One instance; in a sync group all members wait for the slowest."""

    name: str
    version: int
    priority: int
    advert: Duration
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything ``haagent plan`` says. ``margin`` and ``slack_ppm`` are 0 without an arbiter."""

    arbiter: str
    failsafe: bool
    timing: Timing
    wait: Duration
    margin: Duration
    slack_ppm: int
    margins: tuple[Margin, ...]
    assumptions: Assumptions
    instances: tuple[InstancePlan, ...]


def plan(configuration: Configuration, assumptions: Assumptions | None = None) -> Plan:
    """Return the plan. Raises ConfigError for timing that is not safe, with the arithmetic."""
    assumed = assumptions or Assumptions()
    times = timing(configuration)
    guarded = arbitrated(configuration)
    wait = patience(times.lease)
    margin = wait - (times.lease - times.guard) if guarded else 0
    return Plan(
        arbiter=configuration.arbiter.kind if configuration.arbiter and guarded else "none",
        failsafe=failsafe(configuration),
        timing=times,
        wait=wait,
        margin=margin,
        slack_ppm=margin * PPM // wait,
        margins=margins(times) if guarded else (),
        assumptions=assumed,
        instances=tuple(_instances(configuration, times, assumed)),
    )


def margins(times: Timing) -> tuple[Margin, ...]:
    """Return what is left per tier of the gate."""
    slewed = patience(times.lease) - (times.lease - times.guard) * PPM // (PPM - SLEW_PPM)
    lifetime = times.address_lifetime * SECOND + KERNEL_LIFETIME
    # An address was given its lifetime just before the agent died, and the gate would have closed this early:
    late = {**LATENESS, Tier.LIFETIME: lifetime - (times.lease - times.guard - times.renew)}
    return tuple(Margin(tier, lateness, slewed, slewed - lateness) for tier, lateness in late.items())


def _instances(configuration: Configuration, times: Timing, assumed: Assumptions) -> Iterable[InstancePlan]:
    parameters = node_parameters(configuration, Run("plan", "plan", "plan"), ())
    by_name = {instance.name: instance for instance in parameters.instances}
    group_of = {member: group.members for group in groups(configuration) for member in group.members}
    for instance in configuration.instances:
        members = tuple(by_name[name] for name in group_of[instance.name])
        clock = _Contender(members, times, assumed, arbitrated(configuration), failsafe(configuration))
        own = by_name[instance.name].router
        yield InstancePlan(
            instance.name, own.version, own.priority, own.advertisement_interval, tuple(_lines(clock))
        )


@dataclass(frozen=True, slots=True)
class _Contender:
    """The node that takes over: the members of one claim, and how it may."""

    members: tuple[InstanceParameters, ...]
    times: Timing
    assumed: Assumptions
    guarded: bool
    promises: bool

    def down(self) -> Duration:
        """Return plain VRRP's Master_Down_Interval, of the slowest member."""
        return max(
            master_down_interval(
                p.router.version,
                p.router.priority,
                p.router.advertisement_interval,
                p.router.down_timer_adverts,
            )
            for p in self.members
        )

    def skew(self) -> Duration:
        return max(
            skew_time(p.router.version, p.router.priority, p.router.advertisement_interval)
            for p in self.members
        )

    def advert(self) -> Duration:
        return max(p.router.advertisement_interval for p in self.members)

    def crash(self, renewal_age: Duration, advert_age: Duration) -> Duration:
        """Return how long after the MASTER's death the addresses are here."""
        if not self.guarded:
            return self.down() - advert_age + self.assumed.host
        expired = self.assumed.round_trip - renewal_age + patience(self.times.lease)
        wanted = self.wanting(heard=-advert_age, freed=None, expired=expired)
        return max(wanted, expired) + 2 * self.assumed.round_trip + self.assumed.host

    def wanting(self, heard: Instant, freed: Instant | None, expired: Instant | None) -> Instant:
        """Ask the core when its routers want to be Master, the last advert having been heard at ``heard``."""
        times = []
        for parameters in self.members:
            router = parameters.router
            member = Instance(parameters, {}, {})
            member.start(heard)
            better = min(254, router.priority + 1)
            source = ip_address("192.0.2.1")
            member.heard(
                AdvertisementReceived(member.name, source, better, router.advertisement_interval, ()), heard
            )
            at = member.wanting_at(freed, expired)
            assert at is not None
            times.append(at)
        return max(times)

    def released(self, *, ready: bool, alone: bool) -> Duration:
        """Return the gap of a handover: remove, release, (renew the own session), take, install.

        ``ready``: the session is live by then, for the node has bid or heard the resignation. ``alone``: nobody else can
        be meant, so the order of priorities need not be waited for.
        """
        halves = 5 if ready else 7  # release, its news (half a trip), renew, take
        order = 0 if alone else self.wanting(heard=-self.advert() // 2, freed=0, expired=None)
        return 2 * self.assumed.host + halves * self.assumed.round_trip // 2 + order


def _lines(one: _Contender) -> Iterable[Line]:
    plain = Span(one.down() - one.advert() // 2, one.down())
    resign = Span(one.skew(), one.skew())
    if not one.guarded:
        yield Line("host of the MASTER dies", _same(one, plain), plain)
        yield Line("agent stopped in order", _same(one, resign), resign)
        yield Line("network split between the nodes", None, None, "BOTH are MASTER, here as with keepalived")
        return
    yield Line("host of the MASTER dies", _died(one), plain)
    yield Line(
        "agent killed or hung, host alive",
        _killed(one),
        None,
        "keepalived: the address stays on the dead node, both answer",
    )
    yield Line("agent stopped in order", _handed(one, bids=False, named=False), resign)
    yield Line("switchover", _handed(one, bids=False, named=True), None, "keepalived has none")
    yield Line(
        "a better node takes over",
        _handed(one, bids=True, named=True),
        None,
        "keepalived: both answer for a moment",
    )
    yield _arbiter_lost(one)
    yield Line(
        "network split between the nodes", Span(0, 0), None, "keepalived: both are MASTER until it heals"
    )


def _same(one: _Contender, span: Span) -> Span:
    return Span(span.typical + one.assumed.host, span.worst + one.assumed.host)


def _died(one: _Contender) -> Span:
    return Span(one.crash(one.times.renew // 2, one.advert() // 2), one.crash(0, 0))


def _killed(one: _Contender) -> Span:
    """The gate serves until its deadline; the renewal before the last may be the last one it was told of."""
    served = one.times.lease - one.times.guard
    typical = one.crash(one.times.renew // 2, one.advert() // 2) - (served - one.times.renew // 2)
    return Span(max(0, typical), max(0, one.crash(0, 0) - (served - one.times.renew)))


def _handed(one: _Contender, *, bids: bool, named: bool) -> Span:
    """Return what a handover takes: at most, if the resignation is not heard and several nodes might be next."""
    return Span(one.released(ready=True, alone=True), one.released(ready=bids, alone=named))


def _arbiter_lost(one: _Contender) -> Line:
    times = one.times
    what = "the arbiter is gone"
    if one.promises:
        return Line(what, Span(0, 0), None, "failsafe: while every elector answers; else as without peers")
    served = times.lease - times.guard
    return Line(
        what,
        None,
        None,
        f"nobody answers from {(served - times.renew) / SECOND:.2f} to {served / SECOND:.2f} s after the loss "
        f"until {back(one.assumed, times) / SECOND:.2f} s after its return at most; keepalived asks no arbiter",
    )


def back(assumed: Assumptions, times: Timing) -> Duration:
    """Return how long after the arbiter's return the address is back.

    A call that hangs, or a connection that is tried again, whichever takes longer; the pause after it; four calls.
    """
    return max(times.renew, RECONNECT) + times.renew // 2 + 4 * assumed.round_trip + assumed.host
