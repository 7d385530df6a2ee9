"""Routes and rules that follow an instance's addresses, and what is configured once for the life of the agent.

Promises: an instance's routes, then its rules, are there after ``install`` and are gone before its addresses go
(call ``remove`` first); ``check``, once a second, puts back what somebody else took away, or what the kernel took
away with an address, and leaves alone what is there; ``sweep`` removes what an earlier run left. Requests are complete
when the call returns.

A route that the kernel refuses costs that route and is told once; it is tried again at every ``check``. It is no
reason to let go of the addresses: a route alone never makes two masters.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TypeAlias

from haagent.config.model import Configuration
from haagent.config.network_model import Route, Rule, VirtualAddress
from haagent.core.reports import Noticed, Report
from haagent.effects.interfaces import index_of
from haagent.effects.netlink import Request, RequestSocket, add_address, delete_address, explain
from haagent.effects.route_messages import add_route, add_rule, delete_route, delete_rule
from haagent.errors import EffectError

Entry: TypeAlias = VirtualAddress | Route | Rule

STATIC = "static"
FOREVER = 2**32 - 1
_THERE = frozenset((0, errno.EEXIST))
_GONE = frozenset((0, errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL))


class Routes:
    """The routes and rules of one node, and its static entries. All methods belong to the event loop's thread."""

    def __init__(self, configuration: Configuration, tell: Callable[[Report], None]) -> None:
        """Raises EffectError if the kernel refuses a netlink socket."""
        self._tell = tell
        self._requests = RequestSocket()
        self._entries = _entries(configuration)
        self._raised: set[str] = set()
        self._refused: set[Entry] = set()

    def start(self) -> None:
        """Configure what is static."""
        self.install(STATIC)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration: take away what is no longer in it; what is new comes with the next ``check``."""
        before, self._entries = self._entries, _entries(configuration)
        for owner, entries in before.items():
            kept = self._entries.get(owner, ())
            self._delete(owner, [entry for entry in entries if entry not in kept])
        self._raised &= self._entries.keys()
        self.check()

    def install(self, owner: str) -> None:
        """Add the entries of an instance."""
        self._raised.add(owner)
        self._add(owner)

    def remove(self, owner: str) -> None:
        """Take the entries of an instance away, rules first."""
        self._raised.discard(owner)
        self._delete(owner, self._entries.get(owner, ()))

    def check(self) -> None:
        """Put back whatever is missing of what should be there."""
        for owner in self._raised:
            self._add(owner)

    def sweep(self, keep: Iterable[str] = ()) -> None:
        """Remove the entries of all instances but ``keep``, which an earlier run may have left."""
        for owner in self._entries.keys() - {STATIC, *keep}:
            self._delete(owner, self._entries[owner])
        self._raised |= self._entries.keys() & set(keep)

    def close(self) -> None:
        """Remove everything, and close. Idempotent."""
        for owner in sorted(self._raised, key=lambda one: one == STATIC):
            self.remove(owner)
        self._requests.close()

    def _add(self, owner: str) -> None:
        entries = self._entries.get(owner, ())
        if not entries:
            return
        for entry, problem in self._perform(entries, _addition, _THERE):
            if problem and entry not in self._refused:
                self._tell(Noticed(owner, "route, rule or address not set", problem))
            (self._refused.add if problem else self._refused.discard)(entry)

    def _delete(self, owner: str, entries: Iterable[Entry]) -> None:
        for _, problem in self._perform(tuple(entries)[::-1], _deletion, _GONE):
            if problem:
                self._tell(Noticed(owner, "route, rule or address not removed", problem))

    def _perform(
        self, entries: tuple[Entry, ...], build: Callable[[Entry], Request | None], good: frozenset[int]
    ) -> list[tuple[Entry, str]]:
        """Return each entry with what is wrong with it, "" for nothing."""
        problems: dict[int, str] = {}
        requests: list[tuple[int, Request]] = []
        for at, entry in enumerate(entries):
            try:
                request = build(entry)
            except EffectError as error:
                problems[at] = str(error)
            else:
                requests += [(at, request)] if request is not None else []
        codes = self._requests.execute([request for _, request in requests])
        for (at, _), code in zip(requests, codes, strict=True):
            if code not in good:
                problems[at] = f"{_text(entries[at])}: {explain(code)}"
        return [(entry, problems.get(at, "")) for at, entry in enumerate(entries)]


def _entries(configuration: Configuration) -> dict[str, tuple[Entry, ...]]:
    found: dict[str, tuple[Entry, ...]] = {
        instance.name: (*instance.routes, *instance.rules) for instance in configuration.instances
    }
    found[STATIC] = (
        *configuration.static_addresses,
        *configuration.static_routes,
        *configuration.static_rules,
    )
    return {owner: entries for owner, entries in found.items() if entries}


def _addition(entry: Entry) -> Request:
    match entry:
        case Route():
            return add_route(entry)
        case Rule():
            return add_rule(entry)
        case _:
            ifindex = index_of(entry.device)
            if not ifindex:
                raise EffectError(f"{entry}: interface {entry.device} does not exist")
            # what is renewed every second would be preferred for ever
            return add_address(ifindex, entry, FOREVER, ours=False, renew=False)


def _deletion(entry: Entry) -> Request | None:
    """Return the request; None where there is nothing left to remove it from."""
    match entry:
        case Route():
            devices = [entry.device, *(hop.device for hop in entry.next_hops)]
            return delete_route(entry) if all(index_of(one) for one in devices if one) else None
        case Rule():
            return delete_rule(entry)
        case _:
            ifindex = index_of(entry.device)
            return delete_address(ifindex, entry) if ifindex else None


def _text(entry: Entry) -> str:
    return str(entry) if isinstance(entry, VirtualAddress) else entry.text
