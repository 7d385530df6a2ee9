"""The whole node as one deterministic machine: ``handle(event, now) -> actions``, ``next_deadline()``.

The node puts together what its groups share, and routes each event to whom it concerns. It decides nothing that a
smaller module can decide: the ``directory`` knows who is there, the ``scheduler`` lets groups look again, the ``renewal``
keeps the session for them.

An event costs what the groups it concerns cost, not what there are: what the groups need is noted as they change
(``roster``), and a deadline that moved later is found out when the old one is reached (``agenda``). So an advertisement
heard by a BACKUP is a look-up and a new timer value, whatever the number of instances.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from haagent.core.actions import Actions, Tell
from haagent.core.agenda import Agenda
from haagent.core.context import Context
from haagent.core.directory import Directory
from haagent.core.events import (
    AddressesInstalled,
    AddressesRemoved,
    AddressVanished,
    AdvertisementReceived,
    ClockDoubted,
    DeadlineReached,
    EffectFailed,
    Event,
    ForeignAnnouncement,
    GateLost,
    IPAddress,
    LinkChanged,
    NodeDeclaredDown,
    PacketDiscarded,
    PauseRequested,
    PeerHeard,
    PrimaryAddressChanged,
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
    ResumeRequested,
    Shutdown,
    Startup,
    SwitchoverRequested,
    TrackResult,
    VetoAnswered,
)
from haagent.core.failsafe import Elector, Petitioner, PromiseReply, PromiseRequest
from haagent.core.group import Group
from haagent.core.left_claims import LeftClaims
from haagent.core.neighbours import Neighbours, RegisterEvent
from haagent.core.observation import SessionObservation, patience
from haagent.core.parameters import NodeParameters
from haagent.core.records import CLAIMS, SESSIONS
from haagent.core.renewal import Renewal
from haagent.core.reports import Noticed, TrackerChanged
from haagent.core.roster import Roster
from haagent.core.scheduler import Scheduler
from haagent.core.session import Session
from haagent.core.tracking import interface_tracker
from haagent.core.unarbitrated import UnarbitratedSession
from haagent.core.units import Duration, Instant, Now, sooner
from haagent.core.witnesses import Witnesses

AddressEvent: TypeAlias = AddressesInstalled | AddressesRemoved | AddressVanished


class Node:
    """The machine. Events in, actions out; the caller performs them in order and comes back in time."""

    def __init__(self, parameters: NodeParameters) -> None:
        self.parameters = parameters
        self.session = (Session if parameters.arbitrated else UnarbitratedSession)(parameters.session)
        self.petitioner = Petitioner(self.session)
        self.elector = Elector(parameters.session.lease)
        self.neighbours = Neighbours(self.session, self._neighbour_seen, self._incarnations)
        self.context = Context(
            self.session,
            self.neighbours.observe,
            self.neighbours.end,
            self.elector.bound_until,
            self.neighbours.only_candidate,
        )
        self.context.tenure = parameters.tenure
        self.started = False
        self._started_at: Instant = 0
        witnesses = Witnesses(self.neighbours)
        self._left = LeftClaims(self.context, witnesses)
        self._directory = Directory(parameters, self.context, witnesses, self._left)
        self._agenda = Agenda()
        self._roster = Roster()
        self._scheduler = Scheduler(self._directory, self._agenda, self._roster)
        self._renewal = Renewal(
            self.context, self.petitioner, self._scheduler, arbitrated=parameters.arbitrated
        )
        self.neighbours.lost = self._roster.lost
        # The directory's, as others and the hot path know them.
        self.groups = self._directory.groups
        self.trackers = self._directory.trackers
        self.addresses = self._directory.addresses
        self._members = self._directory.members

    @property
    def stopped(self) -> bool:
        """Tell whether everything is let go of."""
        return self._renewal.stopped

    @property
    def observations(self) -> dict[str, SessionObservation]:
        """Return what is known of other nodes' sessions, by node."""
        return self.neighbours.observations

    # -- the entrances

    def reconfigure(self, parameters: NodeParameters, now: Now) -> Actions:
        """Take over a new configuration; what did not change is not touched, and a MASTER that stays stays MASTER.

        A group that is gone lets go in order first. One whose virtual router is another one now (VRID, version,
        interface, members) does the same and comes back new. Node, host and incarnation cannot change.
        """
        self.parameters = parameters
        self.session.parameters = parameters.session
        self._learn_lease(parameters.session.lease)
        self.context.tenure = parameters.tenure
        actions = self._directory.reconfigure(parameters, now)
        actions += self._scheduler.step_all(now)
        self._directory.add_missing()
        actions += self._scheduler.step_all(now)
        return actions + self._follow(now) if self.started else actions

    def handle(self, event: Event, now: Now) -> Actions:
        """Take in one event and return what to do, in order."""
        if type(event) is AdvertisementReceived:  # the hot path first
            return self._advertised(event, now)
        actions = self._dispatch(event, now)
        return actions + self._follow(now) if self.started else actions

    def next_deadline(self) -> Instant | None:
        """Return when DeadlineReached is due, on the ``fast`` clock."""
        if not self.started or self._renewal.stopped:
            return None
        due = sooner(sooner(self._agenda.first(), self.session.next_deadline()), self._left.due)
        return sooner(sooner(due, self.neighbours.watch_at), self.petitioner.next_deadline())

    def _follow(self, now: Now) -> Actions:
        return self._renewal.follow(now) + self._left.step(now)

    def _advertised(self, event: AdvertisementReceived, now: Now) -> Actions:
        found = self._members.get(event.instance)
        if found is None or not self.started:
            return ()
        group, member = found
        actions = group.heard(member, event, now)
        if not actions and event.priority and group.name not in self._roster.hungry:
            return ()  # a BACKUP's timer moved later; the queue finds out by itself
        return actions + self._scheduler.settle(group, now) + self._renewal.follow(now)

    def _dispatch(self, event: Event, now: Now) -> Actions:
        match event:
            case DeadlineReached():  # the frequent ones first
                return self._deadline(now)
            case (
                RegisterChanged()
                | RegisterSwapped()
                | RegisterRead()
                | RegisterUnavailable()
                | RegisterConflicted()
            ):
                return self._register(event, now)
            case PeerHeard(peer, body):
                return self._peer_heard(peer, body, now)
            case TrackResult(tracker, passed, value):
                return self._tracked(tracker, now, passed=passed, value=value)
            case Startup():
                return self._startup(now)
            case Shutdown():
                self.context.stopping = True
                return self._scheduler.step_all(now)
            case AdvertisementReceived():
                return self._advertised(event, now)
            case AddressesInstalled(instance) | AddressesRemoved(instance) | AddressVanished(instance):
                return self._addresses_changed(event, instance, now)
            case LinkChanged(interface, up):
                return self._link_changed(interface, now, up=up)
            case PrimaryAddressChanged(instance, address):
                return self._primary_changed(instance, address, now)
            case ForeignAnnouncement(instance, address, mac):
                return self._foreign(instance, f"{mac} announced {address}", now)
            case PacketDiscarded(instance, source, reason):
                return (Tell(Noticed(instance, "packet discarded", f"{reason} from {source}")),)
            case EffectFailed():
                return self._effect_failed(event, now)
            case ClockDoubted(evidence):
                return self._scheduler.each(lambda group: group.doubt_if_raised(evidence, now), now)
            case GateLost(evidence):
                return self._scheduler.each(lambda group: group.gate_lost(evidence, now), now)
            case SwitchoverRequested(claim, to):
                return self._scheduler.each(
                    lambda group: group.switch_over(to, now) if group.name == claim else (), now
                )
            case PauseRequested() | ResumeRequested():
                self.context.paused = isinstance(event, PauseRequested)
                return self._scheduler.step_all(now)
            case VetoAnswered(claim, veto):
                group = self.groups.get(claim)
                if group is None:
                    return ()
                return self._scheduler.step(group, now, group.candidacy.veto.answered(veto, now.fast))
            case NodeDeclaredDown(node):
                self.context.declared_down.add(node)
                return self._scheduler.step_all(now)
            case _:
                assert_never(event)

    # -- time

    def _startup(self, now: Now) -> Actions:
        self.started = True
        self._started_at = now.fast
        self.elector.started = now.slow
        wait = patience(self.session.parameters.lease) if self.parameters.arbitrated else 0
        self.context.earliest_claim = now.fast + max(self.parameters.startup_delay, wait)
        self.neighbours.watch_at = now.fast if self.parameters.arbitrated else None
        return self._scheduler.step_all(now)

    def _deadline(self, now: Now) -> Actions:
        actions = self._scheduler.tick_due(now)
        named = (node for group in self.groups.values() for node in group.claim.named())
        actions += self.neighbours.watch(named, now)
        return actions + self._step_stirred(now)

    def _step_stirred(self, now: Now) -> Actions:
        """Let the claims of nodes whose sessions changed look again."""
        if not self.neighbours.stirred:
            return ()
        stirred = set(self.neighbours.stirred)
        self.neighbours.stirred.clear()
        return self._scheduler.each(
            lambda group: group.step(now) if stirred.intersection(group.claim.named()) else (), now
        )

    # -- other nodes

    def _peer_heard(self, peer: str, body: object, now: Now) -> Actions:
        if not self.started:
            return ()  # it does not know yet what it may have done before
        match body:
            case PromiseRequest():
                busy = [group.name for group in self.groups.values() if group.holds_or_may]
                seen = self.observations.get(body.holder.node)
                over = seen is not None and seen.over(body.holder.incarnation)
                return self.elector.asked(peer, body, busy, now, over=over)
            case PromiseReply():
                return self.petitioner.replied(peer, body, self._roster.holding, now)
            case _:
                return ()

    def _incarnations(self, node: str) -> frozenset[str]:
        holders = (group.claim.holder for group in self.groups.values())
        return frozenset(
            holder.incarnation for holder in holders if holder is not None and holder.node == node
        )

    def _neighbour_seen(self, observation: SessionObservation) -> None:
        self._learn_lease(observation.lease)
        if observation.session is not None and not observation.session.ended:
            # it is not down: the operator's word was for then
            self.context.declared_down.discard(observation.node)

    def _learn_lease(self, lease: Duration) -> None:
        """Wait as long as the longest lease demands, also for what an earlier run of this node may have promised."""
        if lease > self.session.longest_lease:
            self.session.longest_lease = lease
            earliest = self._started_at + patience(lease)
            self.context.earliest_claim = max(self.context.earliest_claim, earliest)

    # -- registers

    def _register(self, event: RegisterEvent, now: Now) -> Actions:
        name = event.name
        self.neighbours.hinted = self.neighbours.hinted or isinstance(event, RegisterChanged)
        if isinstance(event, RegisterUnavailable):
            self.neighbours.arbiter_away(now)
        if name == self.session.name:
            if isinstance(event, RegisterRead):
                self._note_left(*self._left.session_read(event.record, now))
            return self._renewal.answered(event, now)
        group = self._directory.by_register.get(name)
        if group is not None:
            return self._claim_answered(group, event, now)
        if name.startswith(SESSIONS):
            actions = self.neighbours.answered(name.removeprefix(SESSIONS), event, now)
            return actions + self._step_stirred(now)
        return self._elsewhere(event, now) if name.startswith(CLAIMS) else ()

    def _elsewhere(self, event: RegisterEvent, now: Now) -> Actions:
        """Take in something about a claim that there is no group for."""
        if isinstance(event, RegisterChanged):
            self._roster.note_elsewhere(event.name, event.record)
            if self._left.shown(event.record):
                self._note_left(event.name)
        return self._left.answered(event, now) if event.name in self._left.claims else ()

    def _note_left(self, *registers: str) -> None:
        """Note the claims that this node held, or still does, and has no group for."""
        for register in registers:
            if register not in self._directory.by_register:
                self._left.add(register)

    def _claim_answered(self, group: Group, event: RegisterEvent, now: Now) -> Actions:
        actions = group.claim.answered(event, now)
        self.neighbours.begin(group.claim.named(), now)
        return self._scheduler.step(group, now, actions)

    # -- the host

    def _addresses_changed(self, event: AddressEvent, instance: str, now: Now) -> Actions:
        found = self._members.get(instance)
        if found is None:
            return ()
        group, member = found
        match event:
            case AddressesInstalled():
                actions = group.installed(member, now)
            case AddressesRemoved():
                actions = group.removed(member, now)
            case AddressVanished(_, address):
                told = Tell(Noticed(instance, "address vanished", f"{address} was removed by somebody else"))
                actions = (told, *member.vanished())
        return actions + self._scheduler.settle(group, now)

    def _link_changed(self, interface: str, now: Now, *, up: bool) -> Actions:
        links = self._directory.links
        if links.get(interface) is up:
            return ()
        links[interface] = up
        actions = self._tracked(interface_tracker(interface), now, passed=up)
        if self.started:
            for group in self._directory.at_interface(interface):
                actions += self._scheduler.step(group, now)
        return actions

    def _primary_changed(self, instance: str, address: IPAddress | None, now: Now) -> Actions:
        self.addresses[instance] = address
        found = self._members.get(instance)
        if found is None:
            return ()
        group, member = found
        member.router.primary_address = address
        return self._scheduler.step(group, now) if self.started else ()

    def _tracked(self, name: str, now: Now, *, passed: bool, value: int | None = None) -> Actions:
        tracker = self.trackers.get(name)
        before = None if tracker is None else tracker.up
        if tracker is None or not tracker.result(now.fast, passed=passed, value=value):
            return ()
        actions: Actions = () if tracker.up is before else (Tell(TrackerChanged(name, up=passed)),)
        for group, member in self._directory.tracking(name):
            actions += member.refresh_priority(name, now.fast)
            actions += self._scheduler.step(group, now) if self.started else ()
        return actions

    def _foreign(self, instance: str, detail: str, now: Now) -> Actions:
        found = self._members.get(instance)
        if found is None:
            return ()
        group, member = found
        actions = group.foreign_announcement(member, detail, now)
        return self._scheduler.step(group, now, actions) if actions else ()

    def _effect_failed(self, event: EffectFailed, now: Now) -> Actions:
        told: Actions = (Tell(Noticed(event.instance, f"{event.action} failed", event.error)),)
        found = self._members.get(event.instance)
        if found is None or event.action not in ("InstallAddresses", "RemoveAddresses"):
            return told
        group, member = found
        member.address_work_failed(now.fast)
        return told + self._scheduler.settle(group, now)
