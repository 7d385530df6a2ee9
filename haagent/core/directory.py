"""Which groups and trackers this node has, and where to find what an event is about.

Promises that a new configuration leaves alone what did not change: a MASTER that stays stays MASTER. It removes no group
by itself: one that has to go is ``leaving``, lets go in its own order, and only then makes room.
"""

from __future__ import annotations

from haagent.core.actions import Actions
from haagent.core.claim import Claim
from haagent.core.context import Context
from haagent.core.events import IPAddress
from haagent.core.group import Group, GroupParameters
from haagent.core.instance import Instance, InstanceParameters
from haagent.core.left_claims import LeftClaims
from haagent.core.parameters import NodeParameters
from haagent.core.records import claim_register
from haagent.core.tracking import Tracker
from haagent.core.unarbitrated import UnarbitratedClaim
from haagent.core.units import Now
from haagent.core.witnesses import Witnesses


class Directory:
    """The groups by their names, ``members`` by the instances', and what the host has said of links and addresses.

    ``addresses`` are the instances' primary ones, None where there is none; ``links`` says which interfaces are up.
    """

    def __init__(
        self, parameters: NodeParameters, context: Context, witnesses: Witnesses, left: LeftClaims
    ) -> None:
        self.parameters = parameters
        self.context = context
        self.witnesses = witnesses
        self.left = left
        self.links: dict[str, bool] = {}
        self.addresses: dict[str, IPAddress | None] = {}
        self.trackers: dict[str, Tracker] = {}
        self.groups: dict[str, Group] = {}
        self.members: dict[str, tuple[Group, Instance]] = {}
        self.by_register: dict[str, Group] = {}
        for tracker in parameters.trackers:
            self.trackers.setdefault(tracker.name, Tracker(tracker))
        self.add_missing()

    # -- whom something concerns

    def at_interface(self, interface: str) -> list[Group]:
        """Return the groups that need ``interface``."""
        found = {
            group.name: group
            for group, member in self.members.values()
            if interface in member.parameters.interfaces
        }
        return list(found.values())

    def tracking(self, tracker: str) -> list[tuple[Group, Instance]]:
        """Return the members that use ``tracker``, with their groups."""
        return [
            (group, member)
            for group, member in self.members.values()
            if any(use.tracker == tracker for use in member.parameters.uses)
        ]

    # -- coming and going

    def reconfigure(self, parameters: NodeParameters, now: Now) -> Actions:
        """Take over what changed in groups that stay; those that are gone or another virtual router now are ``leaving``.

        The new ones come with ``add_missing``, after those that leave have been stepped.
        """
        self.parameters = parameters
        for tracker in parameters.trackers:
            self.trackers.setdefault(tracker.name, Tracker(tracker)).parameters = tracker
        wanted = {group.name: group for group in parameters.groups}
        by_name = {instance.name: instance for instance in parameters.instances}
        actions: Actions = ()
        for group in self.groups.values():
            if _stays(group, wanted.get(group.name), by_name):
                for member in group.members:
                    actions += member.reconfigure(by_name[member.name], now.fast)
            else:
                group.leaving = True
        return actions

    def add_missing(self) -> list[Group]:
        """Add the groups that are configured and not there, and return them.

        One with a member that has not left another group yet comes when it has.
        """
        by_name = {instance.name: instance for instance in self.parameters.instances}
        return [
            self._add(group, tuple(by_name[name] for name in group.members))
            for group in self.parameters.groups
            if group.name not in self.groups and self.members.keys().isdisjoint(group.members)
        ]

    def remove(self, group: Group) -> list[Group]:
        """Forget a group that has left; return those that could come now that it has."""
        del self.groups[group.name]
        self.by_register.pop(group.claim.register, None)
        for member in group.members:
            del self.members[member.name]
        return self.add_missing()

    def _add(self, parameters: GroupParameters, members: tuple[InstanceParameters, ...]) -> Group:
        instances = tuple(Instance(member, self.links, self.trackers) for member in members)
        claim = self.left.take_over(claim_register(parameters.name)) or (
            Claim if self.parameters.arbitrated else UnarbitratedClaim
        )(parameters.name, self.context.session, self.context.observe, self.witnesses)
        claim.adoptable = dict(self.parameters.resume).get(parameters.name)
        group = Group(parameters, instances, claim, self.context)
        for instance in instances:
            instance.trust_trackers(trusting=claim.adoptable is not None)
            instance.router.primary_address = self.addresses.get(instance.name)
            instance.refresh_priority("configuration", 0)
            self.members[instance.name] = (group, instance)
        self.groups[group.name] = group
        self.by_register[claim.register] = group
        return group


def _stays(group: Group, wanted: GroupParameters | None, instances: dict[str, InstanceParameters]) -> bool:
    """Tell whether the group has the same members, and they are the same virtual routers, by what is ``wanted``."""
    if wanted != group.parameters:
        return False
    return all(_identity(member.parameters) == _identity(instances[member.name]) for member in group.members)


def _identity(parameters: InstanceParameters) -> tuple[int, int, str]:
    """Return what makes an instance the virtual router that it is to others."""
    return parameters.router.version, parameters.router.vrid, parameters.interfaces[0]
