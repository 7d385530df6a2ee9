"""Planted defects: variants of the core that must be caught, each by name, within a bounded number of runs.

A test of the tests. Every mutation patches the real core in place while it is applied; it names the profile whose
seeds are meant to catch it, or the situation that the core is led into (``directed``), and the checks that may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from haagent.core import claim, failsafe, known_claim, node, observation, session
from haagent.core.actions import Actions
from haagent.core.claim import Claim
from haagent.core.failsafe import Elector, PromiseRequest
from haagent.core.group import Group
from haagent.core.inheritance import Inheritance
from haagent.core.node import Node
from haagent.core.records import ClaimRecord
from haagent.core.session import Session, SessionParameters
from haagent.core.units import SECOND, Duration, Instant, Now
from tests.simulation import host
from tests.simulation.directed import (
    deleted_claim,
    late_promise,
    shortened_lease,
    stopped_holder,
    wiped_arbiter,
)
from tests.simulation.plan import PROFILES, make_plan
from tests.simulation.runner import run_plan
from tests.simulation.world import Outcome

MOST_SEEDS = 40
Patches = list[Any]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A defect: how to plant it, the profile or situation that must catch it, and the checks that may."""

    name: str
    plant: Callable[[], Patches]
    profile: str = ""
    checks: tuple[str, ...] = ("EXCL",)
    first: int = 0  # the seed to begin with: one that is known to catch it saves time
    situation: Callable[[], Iterable[Outcome]] | None = None

    def runs(self) -> Iterator[Outcome]:
        """Play the situation, or seed after seed of the profile."""
        if self.situation is not None:
            yield from self.situation()
            return
        for seed in range(self.first, self.first + MOST_SEEDS):
            plan = make_plan(seed, PROFILES[self.profile])
            # Defects show while things go wrong; convergence is not asked.
            yield run_plan(replace(plan, settled=plan.heal + 2 * plan.cluster.lease))


def _impatient() -> Patches:
    """W < L."""

    def patience(lease: Duration) -> Duration:
        return lease * 7 // 10

    return [
        patch.object(module, "patience", patience)
        for module in (observation, session, known_claim, failsafe, node)
    ]


def _deadline_from_reply() -> Patches:
    """The deadline is counted from the answer, not from the sending."""
    original = Session.extend

    def extend(self: Session, t0: Instant, lease: Duration, now: Now, by: str) -> Actions:
        return original(self, now.fast, lease, now, by)

    return [patch.object(Session, "extend", extend)]


def _late_success() -> Patches:
    """An answer that comes after the whole lease counts as if it had come in time."""
    original = Session.extend

    def extend(self: Session, t0: Instant, lease: Duration, now: Now, by: str) -> Actions:
        late = now.fast >= t0 + lease - self.parameters.guard
        return original(self, now.fast if late else t0, lease, now, by)

    return [patch.object(Session, "extend", extend), patch.object(Session, "_counts", lambda *_: True)]


def _grants_the_ended() -> Patches:
    """An elector does not ask itself whether the session it is asked about has ended: that rule stands before others."""
    original = Elector._refusal

    def refusal(
        self: Elector, peer: str, request: PromiseRequest, holding: frozenset[str], now: Now, *, over: bool
    ) -> str:
        return original(self, peer, request, holding, now, over=False)

    return [patch.object(Elector, "_refusal", refusal)]


def _late_promise() -> Patches:
    """A renewal that is complete after the deadline counts, from the time it was asked for."""
    return [*_grants_the_ended(), patch.object(Session, "_counts", lambda self, *_: self._established)]


def _says_the_new_lease() -> Patches:
    """A worker whose lease a reload makes shorter before its first record does not say in it what it began with."""
    original = Session.__init__

    def init(self: Session, parameters: SessionParameters) -> None:
        original(self, parameters)
        self._left_lease = 0

    return [patch.object(Session, "__init__", init)]


def _does_not_wait() -> Patches:
    """A renamed instance comes before the one that was there before has let go."""
    return [patch.object(host, "waiting", lambda _before, _fresh: frozenset())]


def _forgetful_promise() -> Patches:
    """A promise only restarts the observation of the holder's session."""

    def peer_heard(self: Node, peer: str, body: object, now: Now) -> Actions:
        if isinstance(body, PromiseRequest):
            self.neighbours.observe(peer).since = now.slow
        return original(self, peer, body, now)

    original = Node._peer_heard

    def unbound(self: Elector, *_: object) -> Instant:
        return 0

    return [patch.object(Node, "_peer_heard", peer_heard), patch.object(Elector, "bound_until", unbound)]


def _refuses_only_when_open() -> Patches:
    """A promise is refused only while this node's own gate is open."""
    return [*_grants_the_ended(), patch.object(Group, "holds_or_may", property(lambda self: self.gate_open))]


def _missing_is_free() -> Patches:
    """A claim without a record may be taken at once."""

    def free_at(self: Claim) -> Instant:
        return self.since

    return [patch.object(Claim, "free_at", free_at), patch.object(Claim, "awaited", lambda _self: [])]


def _named_is_taken() -> Patches:
    """A missing claim is taken after W although a living session names it."""
    return [patch.object(Claim, "awaited", lambda _self: [])]


def _released_before_closed() -> Patches:
    """The claim is given back first, then the gate is closed."""
    original = Group._lower

    def lower(self: Group, reason: str, now: Now, reserved: str | None = None) -> Actions:
        if self.claim.held and self.claim.pending is None and self.claim.known:
            self.claim.release_for = reserved or ""
            return self.claim.step(now) + original(self, reason, now, reserved)
        return original(self, reason, now, reserved)

    return [patch.object(Group, "_lower", lower)]


def _same_epoch() -> Patches:
    """Whoever takes the claim keeps its epoch."""
    original = Claim._swap

    def swap(self: Claim, purpose: claim.Purpose, record: ClaimRecord, now: Now) -> Actions:
        if purpose is claim.Purpose.TAKE and self.claim is not None:
            record = replace(record, epoch=self.claim.epoch)
        return original(self, purpose, record, now)

    return [patch.object(Claim, "_swap", swap)]


def _raises_while_releasing() -> Patches:
    """The gate may open although the claim is on its way back."""

    def step_idle(self: Group, now: Now) -> Actions:
        if self.claim.held and self.context.session.live(now) and self.candidacy.willing(now):
            return self._raise(now)
        return original(self, now)

    original = Group._step_idle
    return [
        patch.object(Claim, "usable", property(lambda self: self.held)),
        patch.object(Group, "_step_idle", step_idle),
    ]


def _no_first_refusal() -> Patches:
    """A restarted node promises and claims at once, whatever it may have promised before."""
    original = Node._startup

    def startup(self: Node, now: Now) -> Actions:
        actions = original(self, now)
        self.elector.started = -(1 << 62)
        self.context.earliest_claim = 0
        return actions

    return [patch.object(Node, "_startup", startup)]


def _old_news_is_proof() -> Patches:
    """A session seen with another incarnation proves that the holder's is over, even if it is the older one."""

    def over(self: observation.SessionObservation, incarnation: str) -> bool:
        seen = self.session
        return seen is not None and (seen.ended or seen.holder.incarnation != incarnation)

    return [patch.object(observation.SessionObservation, "over", over)]


def _inherits_blindly() -> Patches:
    """A restarted worker leaves gates alone that the one before it left open."""
    return [
        patch.object(Inheritance, "_disclaim", lambda self, now: ()),
        patch.object(Inheritance, "close_unconfirmed", lambda self: ()),
    ]


RELEASE = ("released too early", "EXCL", "gate without claim")
MUTATIONS = (
    Mutation("W is shorter than L", _impatient, "edges", first=1),
    Mutation("deadline counted from the reply", _deadline_from_reply, "edges", first=85),
    Mutation("late success accepted", _late_success, "edges", first=3),
    Mutation("late promise accepted", _late_promise, checks=("fence",), situation=late_promise),
    Mutation("a missing record is free", _missing_is_free, situation=wiped_arbiter),
    Mutation(
        "a missing claim is taken although a living session names it",
        _named_is_taken,
        situation=partial(deleted_claim, blind=60 * SECOND),
    ),
    Mutation("released before the gate is closed", _released_before_closed, "operators", RELEASE),
    Mutation("the epoch is not increased", _same_epoch, "default", ("epoch", "gate without claim"), first=2),
    Mutation("raised while a release is pending", _raises_while_releasing, "operators", RELEASE),
    Mutation("a reload does not wait", _does_not_wait, "regrouped", ("two claims",)),
    Mutation(
        "a first record says the new lease",
        _says_the_new_lease,
        situation=partial(shortened_lease, reloaded="next"),
    ),
    Mutation("old news is proof", _old_news_is_proof, "restarts", first=11),
    Mutation("gates inherited blindly", _inherits_blindly, "restarts", first=7),
    Mutation(
        "refusal only while the gate is open",
        _refuses_only_when_open,
        situation=partial(stopped_holder, "take"),
    ),
    Mutation(
        "a promise only resets the observation (the holder's clock stood still)",
        _forgetful_promise,
        situation=partial(stopped_holder, "end"),
    ),
    Mutation(
        "no refusal in the first W",
        _no_first_refusal,
        situation=partial(stopped_holder, "end", restarts=True),
    ),
)


@contextmanager
def planted(mutation: Mutation) -> Iterator[None]:
    """Run with the defect in the core."""
    with ExitStack() as stack:
        for each in mutation.plant():
            stack.enter_context(each)
        yield


def hunt(mutation: Mutation) -> Outcome | None:
    """Return the first run that catches the defect, None if none does."""
    with planted(mutation):
        for outcome in mutation.runs():
            if outcome.check in mutation.checks:
                return outcome
            assert outcome.check != "raised", outcome.text  # badly planted: the core has moved on
    return None
