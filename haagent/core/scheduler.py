"""Letting groups look again: because of an event, or because their deadline is reached.

Promises that after every look what the group needs from now on is noted, its deadline in the ``agenda`` and all else in
the ``roster``, and that a group which has left makes room at once.
"""

from __future__ import annotations

from collections.abc import Callable

from haagent.core.actions import Action, Actions
from haagent.core.agenda import Agenda
from haagent.core.directory import Directory
from haagent.core.group import Group
from haagent.core.roster import Roster
from haagent.core.units import Now


class Scheduler:
    """Steps the groups of ``directory``; ``agenda`` and ``roster`` are kept by nobody else."""

    def __init__(self, directory: Directory, agenda: Agenda, roster: Roster) -> None:
        self.directory = directory
        self.agenda = agenda
        self.roster = roster

    def step(self, group: Group, now: Now, before: Actions = ()) -> Actions:
        """Let one group look again; what it was led to ``before`` comes first."""
        return before + group.step(now) + self.settle(group, now)

    def step_all(self, now: Now) -> Actions:
        """Let every group look again."""
        return self.each(lambda group: group.step(now), now)

    def each(self, step: Callable[[Group], Actions], now: Now) -> Actions:
        """Do something with every group that there is now."""
        actions: list[Action] = []
        for group in tuple(self.directory.groups.values()):
            actions += step(group)
            actions += self.settle(group, now)
        return tuple(actions)

    def tick_due(self, now: Now) -> Actions:
        """Tick the groups whose deadline has been reached."""
        actions: list[Action] = []
        while (group := self.agenda.next_due(now)) is not None:
            actions += group.tick(now)
            actions += self.settle(group, now)
        return tuple(actions)

    def settle(self, group: Group, now: Now) -> Actions:
        """Note what the group needs from now on; to be called whenever it may have changed."""
        self.agenda.note(group, now)
        self.roster.note(group)
        if group.leaving and group.gone and self.directory.groups.get(group.name) is group:
            return self._replace(group, now)
        return ()

    def _replace(self, group: Group, now: Now) -> Actions:
        self.agenda.drop(group)
        self.roster.drop(group.name)
        actions: Actions = ()
        for successor in self.directory.remove(group):
            actions += self.step(successor, now)
        return actions
