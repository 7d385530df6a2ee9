"""When each group wants to be called next: one queue of deadlines for all of them.

It is lazy: a deadline that moved later is found out when the old one is reached, and one that moved nearer leaves its
old entry behind, to be dropped when it comes up. So an advertisement heard by a BACKUP costs nothing here, whatever the
number of instances.
"""

from __future__ import annotations

import heapq
from itertools import count

from haagent.core.group import Group
from haagent.core.units import Instant, Now


class Agenda:
    """The queue. A group's ``due`` is the one entry that counts for it; None if it has none."""

    def __init__(self) -> None:
        self._queue: list[tuple[Instant, int, Group]] = []
        self._ticket = count()

    def first(self) -> Instant | None:
        """Return when to look again (``fast``)."""
        return self._queue[0][0] if self._queue else None

    def note(self, group: Group, now: Now) -> None:
        """Take note of the group's next deadline, if it is nearer than the one that is known."""
        deadline = group.next_deadline(now)
        if deadline is not None and (group.due is None or deadline < group.due):
            self._enter(group, max(deadline, now.fast + 1))

    def next_due(self, now: Now) -> Group | None:
        """Take the next group off the queue whose deadline has been reached, None if there is none."""
        queue = self._queue
        while queue and queue[0][0] <= now.fast:
            due, _, group = heapq.heappop(queue)
            if due != group.due:
                continue  # an earlier one took its place, or the group has left
            group.due = None
            deadline = group.next_deadline(now)
            if deadline is None or deadline <= now.fast:
                return group
            self._enter(group, deadline)  # it has moved on, as a BACKUP's does all the time
        return None

    def drop(self, group: Group) -> None:
        """Forget a group that has left."""
        group.due = None

    def _enter(self, group: Group, due: Instant) -> None:
        group.due = due
        heapq.heappush(self._queue, (due, next(self._ticket), group))
