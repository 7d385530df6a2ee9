"""What the groups need from the node they share: a live session, claims named in its record, proof, promises.

Noted group by group, whenever one has changed, so that an event costs nothing for the groups it does not concern.
"""

from __future__ import annotations

from haagent.core.group import Group, Use


class Roster:
    """The names of the groups that need something; see the module."""

    def __init__(self) -> None:
        self.hungry: set[str] = set()  # need the session to be renewed at R
        self.holding: set[str] = set()  # hold their claim
        self.doubting: set[str] = set()  # wait for proof newer than their doubt
        self._uses: dict[str, Use | None] = {}
        self._summary: tuple[dict[str, int], frozenset[str]] | None = None

    def note(self, group: Group) -> None:
        """Take note of what the group needs from now on."""
        name = group.name
        (self.hungry.add if group.needs_session else self.hungry.discard)(name)
        (self.holding.add if group.claim.held else self.holding.discard)(name)
        (self.doubting.add if group.doubt is not None else self.doubting.discard)(name)
        use = group.in_use
        if use != self._uses.get(name):
            self._uses[name] = use
            self._summary = None

    def drop(self, name: str) -> None:
        """Forget a group that has left."""
        for names in (self.hungry, self.holding, self.doubting):
            names.discard(name)
        self._uses.pop(name, None)
        self._summary = None

    def in_use(self) -> tuple[dict[str, int], frozenset[str]]:
        """Return the claims that are held and up, with their epochs, and the electors that their records name."""
        if self._summary is None:
            uses = {name: use for name, use in sorted(self._uses.items()) if use is not None}
            listed = frozenset(elector for use in uses.values() for elector in use.electors)
            self._summary = {name: use.epoch for name, use in uses.items()}, listed
        return self._summary
