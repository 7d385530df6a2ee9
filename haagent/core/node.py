"""The whole node as one deterministic machine: ``handle(event, now) -> actions``, ``next_deadline()``.

The node owns what its groups share: the session, the observations of other nodes' sessions, links, trackers, and
one queue of deadlines. It routes each event to whom it concerns and lets every machine that may be affected look
again. It decides nothing that a smaller module can decide.

An event costs what the groups it concerns cost, not what there are: what the groups need is noted as they change
(``roster``), and a deadline that moved later is found out when the old one is reached (``agenda``). So an advertisement
heard by a BACKUP is a look-up and a new timer value, whatever the number of instances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from haagent.core.actions import Action, Actions, ExtendGate, Tell
from haagent.core.agenda import Agenda
from haagent.core.claim import Claim
from haagent.core.context import Context
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
from haagent.core.group import Group, GroupParameters
from haagent.core.instance import Instance, InstanceParameters
from haagent.core.neighbours import Neighbours, RegisterEvent
from haagent.core.observation import SessionObservation, patience
from haagent.core.records import CLAIMS, SESSIONS
from haagent.core.reports import Noticed, Stopped, TrackerChanged
from haagent.core.roster import Roster
from haagent.core.session import Session, SessionParameters
from haagent.core.tracking import Tracker, TrackerParameters
from haagent.core.unarbitrated import UnarbitratedClaim, UnarbitratedSession
from haagent.core.units import Duration, Instant, Now, sooner
from haagent.core.witnesses import Witnesses

AddressEvent: TypeAlias = AddressesInstalled | AddressesRemoved | AddressVanished
Standing: TypeAlias = tuple[bool, bool, str, int]  # of the session: live, suspended, incarnation, breaks


def interface_tracker(interface: str) -> str:
    """Return the name under which an interface is tracked."""
    return f"interface {interface}"


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """Everything the core is told at start and on reload. ``arbitrated`` False is plain VRRP.

    ``tenure`` is how long a holder keeps a claim before it considers a better node's bid; faults do not wait for it.
    ``resume`` maps claims to the epochs for which the local gate was found open and within its deadline when a
    worker is restarted under the incarnation of the one before.
    """

    session: SessionParameters
    instances: tuple[InstanceParameters, ...]
    groups: tuple[GroupParameters, ...]
    trackers: tuple[TrackerParameters, ...] = ()
    arbitrated: bool = True
    startup_delay: Duration = 0
    tenure: Duration = 0
    resume: tuple[tuple[str, int], ...] = ()


def _same_routers(group: Group, wanted: GroupParameters, by_name: dict[str, InstanceParameters]) -> bool:
    if wanted != group.parameters:
        return False
    for member in group.members:
        old, new = member.parameters, by_name[member.name]
        if (old.router.version, old.router.vrid, old.interfaces[0]) != (
            new.router.version,
            new.router.vrid,
            new.interfaces[0],
        ):
            return False
    return True


class Node:
    """The machine. Events in, actions out; the caller performs them in order and comes back in time."""

    def __init__(self, parameters: NodeParameters) -> None:
        self.parameters = parameters
        self.session = (Session if parameters.arbitrated else UnarbitratedSession)(parameters.session)
        self.links: dict[str, bool] = {}
        self.addresses: dict[str, IPAddress | None] = {}
        self.trackers: dict[str, Tracker] = {}
        self.groups: dict[str, Group] = {}
        self.petitioner = Petitioner(self.session)
        self.elector = Elector(parameters.session.lease)
        self.neighbours = Neighbours(self.session, self._neighbour_seen, self._incarnations)
        self.witnesses = Witnesses(self.neighbours)
        self.context = Context(
            self.session,
            self.neighbours.observe,
            self.neighbours.end,
            self.elector.bound_until,
            self.neighbours.only_candidate,
        )
        self.context.tenure = parameters.tenure
        self.started = False
        self.stopped = False
        self._started_at: Instant = 0
        self._found: dict[str, tuple[Group, Instance]] = {}
        self._by_register: dict[str, Group] = {}
        self._arriving: dict[str, GroupParameters] = {}
        self._agenda = Agenda()
        self._roster = Roster()
        self.neighbours.lost = self._roster.lost
        self._standing: Standing = (False, False, self.session.incarnation, 0)
        self._proof: Instant = 0
        self._add_all(parameters)

    # -- structure

    def _add_all(self, parameters: NodeParameters) -> None:
        for tracker in parameters.trackers:
            self.trackers.setdefault(tracker.name, Tracker(tracker))
        by_name = {instance.name: instance for instance in parameters.instances}
        for group in parameters.groups:
            if group.name not in self.groups:
                self._add(group, tuple(by_name[name] for name in group.members))

    def _add(self, parameters: GroupParameters, members: tuple[InstanceParameters, ...]) -> None:
        instances = tuple(Instance(member, self.links, self.trackers) for member in members)
        claim = (Claim if self.parameters.arbitrated else UnarbitratedClaim)(
            parameters.name, self.session, self.neighbours.observe, self.witnesses
        )
        claim.adoptable = dict(self.parameters.resume).get(parameters.name)
        group = Group(parameters, instances, claim, self.context)
        for instance in instances:
            instance.trust_trackers(trusting=claim.adoptable is not None)
            instance.router.primary_address = self.addresses.get(instance.name)
            instance.refresh_priority("configuration", 0)
            self._found[instance.name] = (group, instance)
        self.groups[group.name] = group
        self._by_register[claim.register] = group

    def reconfigure(self, parameters: NodeParameters, now: Now) -> Actions:
        """Take over a new configuration; what did not change is not touched, and a MASTER that stays stays MASTER.

        A group that is gone lets go in order first. One whose virtual router is another one now (VRID, version,
        interface, members) does the same and comes back new. Node, host and incarnation cannot change.
        """
        self.parameters = parameters
        self.session.parameters = parameters.session
        self._learn_lease(parameters.session.lease)
        self.context.tenure = parameters.tenure
        self._arriving = {group.name: group for group in parameters.groups}
        for tracker in parameters.trackers:
            self.trackers.setdefault(tracker.name, Tracker(tracker)).parameters = tracker
        by_name = {instance.name: instance for instance in parameters.instances}
        actions: Actions = ()
        for group in tuple(self.groups.values()):
            wanted = self._arriving.get(group.name)
            if wanted is not None and _same_routers(group, wanted, by_name):
                for member in group.members:
                    actions += member.reconfigure(by_name[member.name], now.fast)
            else:
                group.leaving = True
        actions += self._step_all(now)
        self._add_all(parameters)
        return actions + self._step_all(now) + self._follow_session(now)

    def _remove(self, group: Group, now: Now) -> Actions:
        del self.groups[group.name]
        self._by_register.pop(group.claim.register, None)
        for member in group.members:
            self._found.pop(member.name, None)
        self._agenda.drop(group)
        self._roster.drop(group.name)
        if group.name not in self._arriving:
            return ()
        self._add_all(self.parameters)
        return self._step(self.groups[group.name], now)

    @property
    def observations(self) -> dict[str, SessionObservation]:
        """Return what is known of other nodes' sessions, by node."""
        return self.neighbours.observations

    # -- the one entrance

    def handle(self, event: Event, now: Now) -> Actions:
        """Take in one event and return what to do, in order."""
        if type(event) is AdvertisementReceived:  # the hot path first
            return self._advertised(event, now)
        return self._dispatch(event, now) + self._follow_session(now)

    def next_deadline(self) -> Instant | None:
        """Return when DeadlineReached is due, on the ``fast`` clock."""
        if not self.started or self.stopped:
            return None
        due = sooner(self._agenda.first(), self.session.next_deadline())
        return sooner(sooner(due, self.neighbours.watch_at), self.petitioner.next_deadline())

    def _advertised(self, event: AdvertisementReceived, now: Now) -> Actions:
        found = self._found.get(event.instance)
        if found is None or not self.started:
            return ()
        group, member = found
        actions = group.heard(member, event, now)
        if not actions and event.priority and group.name not in self._roster.hungry:
            return ()  # a BACKUP's timer moved later; the queue finds out by itself
        return actions + self._settle(group, now) + self._follow_session(now)

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
                return self._step_all(now)
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
                return self._each(lambda group: group.doubt_if_raised(evidence, now), now)
            case SwitchoverRequested(claim, to):
                return self._each(
                    lambda group: group.switch_over(to, now) if group.name == claim else (), now
                )
            case PauseRequested() | ResumeRequested():
                self.context.paused = isinstance(event, PauseRequested)
                return self._step_all(now)
            case VetoAnswered(claim, veto):
                group = self.groups.get(claim)
                return () if group is None else self._step(group, now, group.veto.answered(veto, now.fast))
            case NodeDeclaredDown(node):
                self.context.declared_down.add(node)
                return self._step_all(now)
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
        return self._step_all(now)

    def _deadline(self, now: Now) -> Actions:
        actions: list[Action] = []
        while (group := self._agenda.next_due(now)) is not None:
            actions += group.tick(now)
            actions += self._settle(group, now)
        named = (node for group in self.groups.values() for node in group.named())
        actions += self.neighbours.watch(named, now)
        actions += self._step_stirred(now)
        return tuple(actions)

    def _settle(self, group: Group, now: Now) -> Actions:
        """Note what the group needs from now on: its next deadline, a live session, proof after a doubt."""
        self._agenda.note(group, now)
        self._roster.note(group)
        if group.leaving and group.gone and self.groups.get(group.name) is group:
            return self._remove(group, now)
        return ()

    def _step_all(self, now: Now) -> Actions:
        return self._each(lambda group: group.step(now), now)

    def _each(self, step: Callable[[Group], Actions], now: Now) -> Actions:
        actions: list[Action] = []
        for group in tuple(self.groups.values()):
            actions += step(group)
            actions += self._settle(group, now)
        return tuple(actions)

    def _step(self, group: Group, now: Now, before: Actions = ()) -> Actions:
        return before + group.step(now) + self._settle(group, now)

    # -- the session, and what follows from it

    def _follow_session(self, now: Now) -> Actions:
        """Renew what is due, and let every group look again when the session's standing changed."""
        if not self.started:
            return ()
        session = self.session
        session.activate(now, active=bool(self._roster.hungry))
        self._name_claims(now)
        actions = session.step(now) + self._petition(now)
        standing = (session.live(now), session.suspended, session.incarnation, session.breaks)
        if standing != self._standing:
            actions += self._standing_changed(standing, now)
        for name in sorted(self._roster.deferred):
            if not session.overlooks(name):
                self.groups[name].claim.deferred = False
                actions += self._step(self.groups[name], now)
                self._name_claims(now)
        if self._roster.doubting and session.confirmed_t0 != self._proof:
            self._proof = session.confirmed_t0
            doubting = [self.groups[name] for name in sorted(self._roster.doubting)]
            for group in doubting:
                actions += self._step(group, now)
        if self.context.stopping and not self.stopped:
            actions += self._stop_if_done(now)
        return actions

    def _name_claims(self, now: Now) -> None:
        """Have the session's record name what is or may be held, and mark what was lost; at once when that has grown."""
        naming, named, marked = self._roster.naming, self.session.naming, self.session.marks
        marks = self._roster.marks()
        if len(naming) == len(named) and naming.issuperset(named) and marks == marked:
            return
        grown = not naming.issubset(named) or not set(marks).issubset(marked)
        self.session.naming, self.session.marks = tuple(sorted(naming)), marks
        if grown and self.parameters.arbitrated:
            self.session.revalidate(now)

    def _petition(self, now: Now) -> Actions:
        """Ask the electors to renew the session, for the claims that are in use.

        Not for one that is on its way back to an arbiter that does not answer: then the session must be able to
        expire, or nobody could take the claim over.
        """
        if not (self.parameters.session.electors or self.session.electors or self.petitioner.asking):
            return ()
        claims, listed = self._roster.in_use()
        return self.petitioner.step(claims, listed, now)

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

    def _standing_changed(self, standing: Standing, now: Now) -> Actions:
        before, self._standing = self._standing, standing
        for group in self.groups.values():
            if standing[2] != before[2]:
                group.claim.lose()
            if standing[3] != before[3] and group.claim.held:
                group.claim.forget()
        actions = self._step_all(now)
        self.session.activate(now, active=bool(self._roster.hungry))
        self._name_claims(now)  # one may have been taken just now
        return actions + self.session.step(now)

    def _stop_if_done(self, now: Now) -> Actions:
        if not all(group.gone for group in self.groups.values()):
            return ()
        actions: Actions = ()
        if not self.session.stopping:
            self.session.stop(now)
            actions = self.session.step(now)
        if not self.session.closed:
            return actions
        self.stopped = True
        return (*actions, Tell(Stopped()))

    # -- registers

    def _register(self, event: RegisterEvent, now: Now) -> Actions:
        name = event.name
        self.neighbours.hinted = self.neighbours.hinted or isinstance(event, RegisterChanged)
        if isinstance(event, RegisterUnavailable):
            self.neighbours.arbiter_away(now)
        if name == self.session.name:
            return self._own_session(event, now)
        group = self._by_register.get(name)
        if group is not None:
            return self._claim_answered(group, event, now)
        if name.startswith(SESSIONS):
            actions = self.neighbours.answered(name.removeprefix(SESSIONS), event, now)
            return actions + self._step_stirred(now)
        if name.startswith(CLAIMS) and isinstance(event, RegisterChanged):
            self._roster.note_elsewhere(name, event.record)
        return ()

    def _step_stirred(self, now: Now) -> Actions:
        """Let the claims of nodes whose sessions changed look again."""
        if not self.neighbours.stirred:
            return ()
        stirred = set(self.neighbours.stirred)
        self.neighbours.stirred.clear()
        return self._each(lambda group: group.step(now) if stirred.intersection(group.named()) else (), now)

    def _incarnations(self, node: str) -> frozenset[str]:
        holders = (group.claim.holder for group in self.groups.values())
        return frozenset(
            holder.incarnation for holder in holders if holder is not None and holder.node == node
        )

    def _neighbour_seen(self, observation: SessionObservation) -> None:
        self._learn_lease(observation.lease)
        if observation.session is not None and not observation.session.ended:
            self.context.declared_down.discard(
                observation.node
            )  # it is not: the operator's word was for then

    def _learn_lease(self, lease: Duration) -> None:
        """Wait as long as the longest lease demands, also for what an earlier run of this node may have promised."""
        if lease > self.session.longest_lease:
            self.session.longest_lease = lease
            earliest = self._started_at + patience(lease)
            self.context.earliest_claim = max(self.context.earliest_claim, earliest)

    def _own_session(self, event: RegisterEvent, now: Now) -> Actions:
        match event:
            case RegisterRead(_, record):
                asked, lived = self._ask_for_adopted(now), self.session.live(now)
                return asked + self._confirmed_first(self.session.read(record, now), lived=lived)
            case RegisterSwapped(_, record):
                lived = self.session.live(now)
                return self._confirmed_first(self.session.swapped(record, now), lived=lived)
            case RegisterConflicted():
                return self.session.conflicted(now)
            case RegisterUnavailable(_, _, error):
                return self.session.unavailable(error, now)
            case RegisterChanged(_, record):
                self.session.hinted(record, now)
                return ()

    def _ask_for_adopted(self, now: Now) -> Actions:
        """Read the claims that an earlier worker held, before the session is renewed and closes what is not confirmed."""
        if not self.parameters.session.resumed or self.session.live(now):
            return ()
        adopted = [group for group in self.groups.values() if group.claim.adopting]
        for group in adopted:
            group.claim.ask_again(now)
        return tuple(action for group in adopted for action in self._step(group, now))

    def _confirmed_first(self, actions: Actions, *, lived: bool) -> Actions:
        """Close what an earlier worker left open and the arbiter has not confirmed, before the first new deadline."""
        first = not lived and any(isinstance(action, ExtendGate) for action in actions)
        if not first or not self.parameters.session.resumed:
            return actions
        closing = tuple(action for group in self.groups.values() for action in group.close_unconfirmed())
        return closing + actions

    def _claim_answered(self, group: Group, event: RegisterEvent, now: Now) -> Actions:
        claim = group.claim
        actions: Actions = ()
        match event:
            case RegisterRead(_, record):
                actions = claim.read(record, now)
            case RegisterSwapped(_, record):
                actions = claim.swapped(record, now)
            case RegisterConflicted():
                actions = claim.conflicted()
            case RegisterUnavailable():
                claim.unavailable(now)
            case RegisterChanged(_, record):
                actions = claim.hinted(record, now)
        self.neighbours.begin(group.named(), now)
        return self._step(group, now, actions)

    # -- the host

    def _addresses_changed(self, event: AddressEvent, instance: str, now: Now) -> Actions:
        found = self._found.get(instance)
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
        return actions + self._settle(group, now)

    def _link_changed(self, interface: str, now: Now, *, up: bool) -> Actions:
        if self.links.get(interface) is up:
            return ()
        self.links[interface] = up
        actions = self._tracked(interface_tracker(interface), now, passed=up)
        concerned = {
            group.name: group
            for group, member in self._found.values()
            if interface in member.parameters.interfaces
        }
        if self.started:
            for group in concerned.values():
                actions += self._step(group, now)
        return actions

    def _primary_changed(self, instance: str, address: IPAddress | None, now: Now) -> Actions:
        self.addresses[instance] = address
        found = self._found.get(instance)
        if found is None:
            return ()
        group, member = found
        member.router.primary_address = address
        return self._step(group, now) if self.started else ()

    def _tracked(self, name: str, now: Now, *, passed: bool, value: int | None = None) -> Actions:
        tracker = self.trackers.get(name)
        before = None if tracker is None else tracker.up
        if tracker is None or not tracker.result(now.fast, passed=passed, value=value):
            return ()
        actions: Actions = () if tracker.up is before else (Tell(TrackerChanged(name, up=passed)),)
        for group, member in tuple(self._found.values()):
            if any(use.tracker == name for use in member.parameters.uses):
                actions += member.refresh_priority(name, now.fast)
                actions += self._step(group, now) if self.started else ()
        return actions

    def _foreign(self, instance: str, detail: str, now: Now) -> Actions:
        found = self._found.get(instance)
        if found is None:
            return ()
        group, member = found
        actions = group.foreign_announcement(member, detail, now)
        return self._step(group, now, actions) if actions else ()

    def _effect_failed(self, event: EffectFailed, now: Now) -> Actions:
        told: Actions = (Tell(Noticed(event.instance, f"{event.action} failed", event.error)),)
        found = self._found.get(event.instance)
        if found is None or event.action not in ("InstallAddresses", "RemoveAddresses"):
            return told
        group, member = found
        member.address_work_failed(now.fast)
        return told + self._settle(group, now)
