"""What the groups need from the node they share: a live session, claims named in its record, proof, promises.

Noted group by group, whenever one has changed, so that an event costs nothing for the groups it does not concern.
"""

from __future__ import annotations

from haagent.core.group import Group, Use
from haagent.core.known_claim import vacancy_mark
from haagent.core.register import Record


class Roster:
    """The names of the groups that need something; see the module."""

    def __init__(self) -> None:
        self.hungry: set[str] = set()  # need the session to be renewed at R
        self.holding: set[str] = set()  # hold their claim
        self.naming: set[str] = set()  # hold it or may hold it
        # The marks of the records found where a claim's was lost, empty if none.
        self.lost: dict[str, str] = {}
        self.deferred: set[str] = set()  # take their claim as soon as the session's record can name it
        self.doubting: set[str] = set()  # wait for proof newer than their doubt
        self._elsewhere: dict[str, str] = {}  # marks of claims that are none of this node's, by register
        self._uses: dict[str, Use | None] = {}
        self._summary: tuple[dict[str, int], frozenset[str]] | None = None

    def note(self, group: Group) -> None:
        """Take note of what the group needs from now on."""
        name = group.name
        (self.hungry.add if group.needs_session else self.hungry.discard)(name)
        (self.holding.add if group.claim.held else self.holding.discard)(name)
        (self.naming.add if group.holds_or_may else self.naming.discard)(name)
        (self.deferred.add if group.claim.deferred else self.deferred.discard)(name)
        if group.claim.lost:
            self.lost[name] = group.claim.mark
        else:
            self.lost.pop(name, None)
        (self.doubting.add if group.doubt.since is not None else self.doubting.discard)(name)
        use = group.in_use
        if use != self._uses.get(name):
            self._uses[name] = use
            self._summary = None

    def drop(self, name: str) -> None:
        """Forget a group that has left."""
        for names in (self.hungry, self.holding, self.naming, self.deferred, self.doubting):
            names.discard(name)
        self.lost.pop(name, None)
        self._uses.pop(name, None)
        self._summary = None

    def note_elsewhere(self, register: str, record: Record | None) -> None:
        """Take note of a claim that this node has no group for: if it is vacant, others may want to know it is not ours."""
        marked = vacancy_mark(register, record)
        if marked:
            self._elsewhere[register] = marked
        else:
            self._elsewhere.pop(register, None)

    def marks(self) -> tuple[str, ...]:
        """Return the marks that this node's session should carry: not of a claim that it holds or may hold."""
        if not self.lost and not self._elsewhere:
            return ()
        ours = (marked for name, marked in sorted(self.lost.items()) if marked and name not in self.naming)
        return (*ours, *(marked for _, marked in sorted(self._elsewhere.items())))

    def in_use(self) -> tuple[dict[str, int], frozenset[str]]:
        """Return the claims that are held and up, with their epochs, and the electors that their records name."""
        if self._summary is None:
            uses = {name: use for name, use in sorted(self._uses.items()) if use is not None}
            listed = frozenset(elector for use in uses.values() for elector in use.electors)
            self._summary = {name: use.epoch for name, use in uses.items()}, listed
        return self._summary
