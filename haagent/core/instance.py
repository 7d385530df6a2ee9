"""One VRRP instance: joins the router, its trackers and its links, and raises or lowers its addresses.

An instance never decides to be MASTER. Its router *wants* to be (``wanting_at``), its group wins the claim, and
then the group raises it. The phases are states that wait for an event, so nothing can overtake:

    IDLE --raise_up--> RAISING --AddressesInstalled--> UP --lower--> LOWERING --AddressesRemoved--> IDLE

Going up: the group has opened the gate; the addresses are installed; only then the router becomes Master, which
sends the advertisement and the announcements (in the order of RFC 9568 6.4.2). Going down: the group has closed
the gate; the addresses are removed; only then priority 0 is sent (it passes the gate), and when every member is
down the group gives the claim back. keepalived does both the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from haagent.core.actions import (
    Action,
    Actions,
    AnnounceAddresses,
    InstallAddresses,
    RemoveAddresses,
    SendAdvertisement,
    Tell,
)
from haagent.core.events import AdvertisementReceived, IPAddress
from haagent.core.reports import LowerPriorityHeard, Noticed, PriorityChanged, State, StateChanged
from haagent.core.tracking import Tracker, TrackUse, effective_priority, faults
from haagent.core.units import SECOND, Duration, Instant
from haagent.core.virtual_router import (
    Backup,
    Initialize,
    Master,
    Output,
    Outputs,
    RouterParameters,
    VirtualRouter,
    skew_time,
)

# Announcements repeat beyond keepalived's two bursts: a client that missed them all must not wait for its cache.
AFTERGLOW: tuple[Duration, ...] = (SECOND // 5, 2 * SECOND // 5, 1 * SECOND, 2 * SECOND)
INSTALL_RETRY: Duration = SECOND
MOST_PLANNED = 16  # bursts; a worse MASTER that will not stop costs no more memory


class Phase(Enum):
    """Where the addresses are on their way to."""

    IDLE = "idle"
    RAISING = "raising"
    UP = "up"
    LOWERING = "lowering"


@dataclass(frozen=True, slots=True)
class AnnounceParameters:
    """keepalived's garp_master_*: a burst of ``repeat`` at once, again after ``delay``, one every ``refresh``.

    The same at once and later (garp_lower_prio_*) for a MASTER that heard a worse one: that one may have announced.
    """

    repeat: int = 5
    delay: Duration = 5 * SECOND
    refresh: Duration = 0
    refresh_repeat: int = 1
    lower_priority_repeat: int = 5
    lower_priority_delay: Duration = 5 * SECOND


class _Burst(NamedTuple):
    """Announcements that are planned; ``again`` is the pause to the next one of its kind, 0 for none."""

    at: Instant
    rounds: int
    again: Duration = 0


@dataclass(frozen=True, slots=True)
class InstanceParameters:
    """What the core knows of one vrrp_instance. ``interfaces`` must all be up; the first one is its own.

    ``addresses`` are words to be compared: when they change, a MASTER installs its addresses again. ``veto_pause`` is None
    if nobody may veto its claim (see core.veto).
    """

    name: str
    router: RouterParameters
    interfaces: tuple[str, ...]
    uses: tuple[TrackUse, ...] = ()
    announce: AnnounceParameters = AnnounceParameters()
    notify_lower_priority: bool = False
    addresses: tuple[str, ...] = ()
    veto_pause: Duration | None = None


class Instance:
    """The machine of one instance. ``links`` and ``trackers`` are the node's, shared by all instances."""

    def __init__(
        self, parameters: InstanceParameters, links: dict[str, bool], trackers: dict[str, Tracker]
    ) -> None:
        self.parameters = parameters
        self.name = parameters.name
        self.router = VirtualRouter(parameters.router)
        self.phase = Phase.IDLE
        self.state = State.INIT
        self.since: Instant = 0
        self.reason = "starting"
        self.master: tuple[IPAddress, int] | None = None  # whom we heard last, and its priority
        self.heard_at: Instant = 0
        self._links = links
        self._trackers = trackers
        self._announce_at: tuple[_Burst, ...] = ()
        self._over_again_at: Instant = 0
        self._install_again_at: Instant | None = None
        self._trusting = False  # after a resumed run: trackers without a result yet count as they did before

    # -- health and priority

    def trust_trackers(self, *, trusting: bool) -> None:
        """Count trackers without a first result as up: this run continues one that had them."""
        self._trusting = trusting

    def faults(self) -> tuple[str, ...]:
        """Return why this instance may not take part, empty if it may."""
        down = tuple(
            f"interface {name} is down" for name in self.parameters.interfaces if not self._links.get(name)
        )
        if self.router.primary_address is None and not down:
            down = (f"interface {self.parameters.interfaces[0]} has no address",)
        failed = faults(self.parameters.uses, self._trackers)
        if self._trusting:
            failed = tuple(name for name in failed if self._trackers[name].up is not None)
        return down + tuple(f"{name} {self._describe(name)}" for name in failed)

    def refresh_priority(self, cause: str, now: Instant) -> Actions:
        """Recompute the effective priority after a tracker changed."""
        old = self.router.priority
        new = effective_priority(self.parameters.router.priority, self.parameters.uses, self._trackers)
        if new == old:
            return ()
        self.router.set_priority(new, now)
        return (Tell(PriorityChanged(self.name, old, new, cause)),)

    def _describe(self, tracker: str) -> str:
        return "has no result yet" if self._trackers[tracker].up is None else "failed"

    def reconfigure(self, parameters: InstanceParameters, now: Instant) -> Actions:
        """Take over new parameters of the same virtual router; a MASTER stays MASTER.

        Its addresses are installed again, which adds what is new (the effect has removed what is gone).
        """
        same = parameters == self.parameters
        self.parameters = parameters
        self.router.parameters = parameters.router
        actions = self.refresh_priority("configuration", now)
        if same or self.phase is not Phase.UP:
            return actions
        return (*actions, SendAdvertisement(self.name, self.router.priority), InstallAddresses(self.name))

    # -- wanting

    def start(self, now: Instant) -> None:
        """Begin to take part (in Backup: becoming Master always goes through the group)."""
        if isinstance(self.router.state, Initialize):
            self.router.startup(now, owner_waits=True)

    def wanting_at(self, freed_at: Instant | None, expired_at: Instant | None) -> Instant | None:
        """Return when the router wants to be Master: by its own timer, or sooner by better evidence.

        ``freed_at``: the holder let the claim go, or was seen to have ended, at that time; a small part of the
        skew orders the candidates. ``expired_at``: the holder's session has expired; then one silent interval
        is enough, where VRRP alone waits for three.
        """
        state = self.router.state
        if not isinstance(state, Backup):
            return None
        skew = skew_time(self.parameters.router.version, self.router.priority, state.master_adver_interval)
        down_at = state.master_down_at
        if freed_at is not None and self.heard_at <= freed_at + state.master_adver_interval // 4:
            down_at = min(down_at, freed_at + skew // 32)
        if expired_at is not None:
            missed = (self.parameters.router.down_timer_adverts - 1) * state.master_adver_interval
            # one interval after the last advertisement that moved the timer
            silent_at = state.master_down_at - missed - skew
            # one of lower priority moves no timer, but is no silence
            if not self.heard_resignation:
                silent_at = max(silent_at, self.heard_at + state.master_adver_interval)
            down_at = min(down_at, max(expired_at, silent_at) + skew // 2)
        return down_at

    # -- up and down

    @property
    def heard_resignation(self) -> bool:
        """Tell whether the last thing this BACKUP heard is that the Master resigns (priority 0)."""
        return self.state is State.BACKUP and self.master is not None and not self.master[1]

    def raise_up(self) -> Actions:
        """Install the addresses. The claim is held and the gate is open."""
        self.phase = Phase.RAISING
        self._install_again_at = None
        return (InstallAddresses(self.name),)

    def installed(self, now: Instant, epoch: int, reason: str) -> Actions:
        """Go on after the addresses are there: become Master, or re-announce if they were re-installed."""
        self._install_again_at = None
        if self.phase is Phase.UP:
            return self.announce(now)
        if self.phase is not Phase.RAISING:
            return ()
        self.phase = Phase.UP
        beat = self._beat(now)
        self.router.expire(beat)
        actions = self._perform(self.router.deadline_reached(beat), now)
        self.master = None
        return actions + self.become(State.MASTER, now, epoch, reason)

    def _beat(self, now: Instant) -> Instant:
        """Return ``now`` or a little before, so that instances that rise together advertise in one wake-up."""
        return now - now % max(1, self.parameters.router.advertisement_interval // 16)

    def address_work_failed(self, now: Instant) -> None:
        """Try again later, in whichever direction the addresses are on their way."""
        if self.phase is not Phase.IDLE:  # what an earlier run left goes by its lifetime
            self._install_again_at = now + INSTALL_RETRY

    def vanished(self) -> Actions:
        """Put back an address that somebody else removed."""
        return (InstallAddresses(self.name),) if self.phase is Phase.UP else ()

    def lower(self) -> Actions:
        """Remove the addresses. The gate is closed."""
        if self.phase is Phase.IDLE:
            return ()
        self.phase = Phase.LOWERING
        self._announce_at = ()
        self._install_again_at = None
        return (RemoveAddresses(self.name),)

    def removed(self, now: Instant) -> Actions:
        """Resign now that nothing of ours answers any more."""
        if self.phase is not Phase.LOWERING:
            return ()
        self.phase = Phase.IDLE
        return self._perform(self.router.shutdown(now), now)

    def become(self, state: State, now: Instant, epoch: int, reason: str) -> Actions:
        """Note and tell a change of state."""
        self.reason = reason
        if state is self.state:
            return ()
        old, self.state, self.since = self.state, state, now
        return (Tell(StateChanged(self.name, old, state, self.router.priority, epoch, reason)),)

    # -- VRRP

    def beaten_by(self, advertisement: AdvertisementReceived) -> bool:
        """Tell whether a Master with these properties outranks us as Master."""
        own = self.router.primary_address
        if advertisement.priority != self.router.priority:
            return advertisement.priority > self.router.priority
        return own is None or int(advertisement.source) > int(own)

    def heard(self, advertisement: AdvertisementReceived, now: Instant) -> None:
        """Let a router that is not Master hear an advertisement."""
        if advertisement.priority:
            self.heard_at = now
        self.master = (advertisement.source, advertisement.priority)
        self.router.advertisement_received(
            advertisement.source, advertisement.priority, advertisement.interval, now
        )

    def challenged(self, advertisement: AdvertisementReceived, now: Instant) -> Actions:
        """Let the Master answer an advertisement; the outcome may be that the router is Backup now."""
        outputs = self.router.advertisement_received(
            advertisement.source, advertisement.priority, advertisement.interval, now
        )
        actions = self._perform(outputs, now)
        if not isinstance(self.router.state, Master):
            return actions
        if self.parameters.notify_lower_priority:
            source = str(advertisement.source)
            actions += (Tell(LowerPriorityHeard(self.name, source, advertisement.priority)),)
        return actions + (self._announce_over(now) if advertisement.priority else ())

    def assert_itself(self, now: Instant) -> Actions:
        """Say again who is MASTER, after a doubt: an advertisement and a round of announcements."""
        if self.phase is not Phase.UP:
            return ()
        return (SendAdvertisement(self.name, self.router.priority), *self.announce(now))

    # -- time

    def next_deadline(self) -> Instant | None:
        """Return when ``tick`` is due while the instance is raised; None while idle."""
        best = self._install_again_at
        if self.phase is not Phase.UP:
            return best
        adver_at = self.router.next_deadline()
        if adver_at is not None and (best is None or adver_at < best):
            best = adver_at
        if self._announce_at and (best is None or self._announce_at[0].at < best):
            best = self._announce_at[0].at
        return best

    def tick(self, now: Instant) -> Actions:
        """Send what is due: the advertisement, repeated announcements, another try to install."""
        if self._install_again_at is not None and now >= self._install_again_at:
            self._install_again_at = None
            work = RemoveAddresses if self.phase is Phase.LOWERING else InstallAddresses
            return (work(self.name),) if self.phase is not Phase.IDLE else ()
        if self.phase is not Phase.UP:
            return ()
        actions = self._perform(self.router.deadline_reached(now), now)
        if self._announce_at and now >= self._announce_at[0].at:
            actions += (AnnounceAddresses(self.name, self._announce_rounds(now)),)
        return actions

    def announce(self, now: Instant) -> Actions:
        """Announce now, and plan the repetitions."""
        plan = self.parameters.announce
        later = [_Burst(now + after, 1) for after in AFTERGLOW]
        if plan.delay:
            later.append(_Burst(now + plan.delay, max(1, plan.repeat)))
        if plan.refresh:
            later.append(_Burst(now + plan.refresh, max(1, plan.refresh_repeat), plan.refresh))
        self._announce_at = tuple(sorted(later))
        return (AnnounceAddresses(self.name, max(1, plan.repeat)),)

    def _announce_over(self, now: Instant) -> Actions:
        """Announce over what a worse MASTER may have announced, at most once per advertisement interval."""
        plan = self.parameters.announce
        if self.phase is not Phase.UP or now < self._over_again_at:
            return ()
        self._over_again_at = now + self.parameters.router.advertisement_interval
        rounds = max(1, plan.lower_priority_repeat)
        if plan.lower_priority_delay:
            later = _Burst(now + plan.lower_priority_delay, rounds)
            self._announce_at = tuple(sorted((*self._announce_at, later)))[:MOST_PLANNED]
        return (AnnounceAddresses(self.name, rounds),)

    def _announce_rounds(self, now: Instant) -> int:
        """Return how many rounds are due, and plan those that repeat."""
        due = [burst for burst in self._announce_at if burst.at <= now]
        again = [burst._replace(at=now + burst.again) for burst in due if burst.again]
        self._announce_at = tuple(sorted((*self._announce_at[len(due) :], *again)))
        return max(burst.rounds for burst in due)

    def _perform(self, outputs: Outputs, now: Instant) -> Actions:
        """Turn the router's outputs into actions; addresses are this module's own business."""
        actions: tuple[Action, ...] = ()
        for output in outputs:
            match output:
                case Output.SEND_ADVERTISEMENT:
                    actions += (SendAdvertisement(self.name, self.router.priority),)
                case Output.RESIGN:
                    actions += (SendAdvertisement(self.name, 0),)
                case Output.ANNOUNCE_ADDRESSES:
                    actions += self.announce(now)
                case Output.INSTALL_ADDRESSES | Output.REMOVE_ADDRESSES:
                    pass
        return actions


def noticed(instance: str, what: str, detail: str) -> Actions:
    """Return a report for the journal."""
    return (Tell(Noticed(instance, what, detail)),)
