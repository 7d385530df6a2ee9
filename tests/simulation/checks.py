"""What must never happen, one function each. A broken promise raises ``Broken`` at the very event that breaks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from haagent.agent.succession import Layout
from haagent.core.actions import SwapRegister
from haagent.core.group import Group
from haagent.core.records import CLAIMS, BadRecord, ClaimRecord, ClaimState, Holder
from haagent.core.register import Record
from haagent.core.reports import State
from haagent.core.units import MILLISECOND, SECOND, Instant

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World

BUSY = 4000  # events and actions of one host in one simulated second; a healthy one stays below a tenth


class Broken(Exception):  # noqa: N818 - it is the promise that is broken
    """A promise was broken; ``check`` names it."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(f"{check}: {text}")
        self.check = check


@dataclass(slots=True)
class Truth:
    """What really happened to one claim: its holders in order, and which epochs were given to whom."""

    holders: list[tuple[Instant, Holder | None, int]] = field(default_factory=list)
    epochs: dict[int, Holder] = field(default_factory=dict)
    highest: int = 0


class Checks:
    """All checkers of one run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.truth: dict[str, Truth] = {claim.name: Truth() for claim in world.plan.cluster.claims}
        self.lost_data_at: Instant = -1
        self.takeovers: dict[str, list[tuple[Instant, str]]] = {name: [] for name in self.truth}
        self._second = 0
        self._busy: dict[str, int] = {}  # hosts, in that second
        self.learnt: dict[str, str] = {}  # by the switch outside: thing -> host

    # -- EXCL

    def passing(self, claim: str) -> list[Host]:
        """Return the hosts that pass the claim's traffic at this instant."""
        return [
            host
            for host in self.world.hosts
            if not host.halted and claim in host.kernel.open and host.kernel.passes(claim, host.boot())
        ]

    def gate_changed(self, host: Host) -> None:
        """EXCL: no two hosts pass traffic of one thing. A gate only begins to pass where this is called."""
        kernel = host.kernel
        for thing, claim in kernel.guards.items():
            if claim in kernel.open:
                self._exclusive(host, str(thing))

    def _answering(self, thing: str) -> list[Host]:
        """Return the hosts that pass traffic of a thing at this instant, by whatever claim each of them guards it."""
        return [
            host for host in self.world.hosts if not host.halted and host.kernel.answers(thing, host.boot())
        ]

    def _exclusive(self, host: Host, thing: str) -> None:
        passing = self._answering(thing)
        if len(passing) <= 1 or host not in passing:
            return
        if self.world.plan.profile.pause_allowed and any(self._just_paused(other) for other in passing):
            return
        raise Broken("EXCL", f"{' and '.join(other.name for other in passing)} pass traffic of {thing}")

    def _just_paused(self, host: Host) -> bool:
        store, cluster = self.world.arbiter.manner, self.world.plan.cluster
        rounds = (
            2 if cluster.electors and cluster.peers.loss else 1
        )  # the refusal that would tell may be lost
        allowance = rounds * host.config.renew + 2 * store.most + 20 * MILLISECOND
        if host.paused_until < 0 or self.world.now > host.paused_until + allowance:
            return False
        self.world.at(host.paused_until + allowance + 1, self._recheck, host)
        return True

    def _recheck(self, host: Host) -> None:
        self.gate_changed(host)

    def spoke(self, host: Host, thing: str, priority: int) -> None:
        """EXCL, seen from outside: whoever adverts or announces is the only one whose gate passes."""
        if priority:
            self._exclusive(host, thing)
            self.learnt[thing] = host.name

    # -- the gate and the claim

    def guarded_once(self, host: Host, layout: Layout, leaving: Layout) -> None:
        """No two claims of one host guard one thing, not even for the moment of a reload: its gate would refuse that."""
        claims: dict[object, str] = {}
        for guarded in (*layout.values(), *leaving.values()):
            for thing in guarded.things:
                if claims.setdefault(thing, guarded.claim) != guarded.claim:
                    raise Broken(
                        "two claims", f"{host.name} guards {thing} by {claims[thing]} and {guarded.claim}"
                    )

    def gate_opened(self, host: Host, claim: str, epoch: int) -> None:
        """A gate is opened only under a claim held in the arbiter's true history, under its epoch."""
        self.gate_changed(host)
        if self.lost_data_at >= 0 or host.boot() >= host.kernel.deadline:
            return
        if self.world.plan.profile.pause_allowed and self._just_paused(host):
            return  # an answer from before the pause; EXCL is judged with the same allowance
        begin = self.world.now - 2 * host.config.lease
        for at, holder, held in reversed(self._truth(claim).holders):
            if holder is not None and holder.node == host.name and held == epoch:
                break
            if at <= begin:
                raise Broken("gate without claim", f"{host.name} opens {claim} with epoch {epoch}")
        else:
            raise Broken("gate without claim", f"{host.name} opens {claim} with epoch {epoch}")
        takeovers = self.takeovers.setdefault(claim, [])
        if self.passing(claim) and (not takeovers or takeovers[-1][1] != host.name):
            takeovers.append((self.world.now, host.name))

    def _truth(self, claim: str) -> Truth:
        return self.truth.setdefault(claim, Truth())

    def swap_sent(self, host: Host, swap: SwapRegister) -> None:
        """A claim is released only after its gate is closed and its addresses are removed."""
        claim = swap.name.removeprefix(CLAIMS)
        if claim == swap.name:
            return
        record = ClaimRecord.decode(swap.value)
        if record.state is not ClaimState.RELEASED:
            return
        if claim in host.kernel.open:
            raise Broken("released too early", f"{host.name} releases {claim} with its gate open")
        for instance in sorted(host.kernel.addresses):
            if host.claim_of(instance) == claim and host.kernel.has(instance, host.boot()):
                raise Broken(
                    "released too early", f"{host.name} releases {claim} with addresses of {instance}"
                )

    def address_lent(self, host: Host, instance: str) -> None:
        """An address gets a longer life only while its claim is held, or was a moment ago."""
        claim = host.claim_of(instance)
        holders = self._truth(claim).holders
        if claim and (self.lost_data_at >= 0 or not holders):
            return
        begin = self.world.now - 3 * host.config.lease - SECOND
        for at, holder, _ in reversed(holders):
            if holder is not None and holder.node == host.name:
                return
            if at <= begin:
                break
        raise Broken("address without claim", f"{host.name} renews the addresses of {instance}")

    # -- the arbiter's history

    def register_changed(self, name: str, record: Record | None, by: str) -> None:
        """Epochs grow by one with every change of holder and are never used by two holders."""
        if by in ("wipe", "restore"):
            self.lost_data_at = self.world.now
        claim = name.removeprefix(CLAIMS)
        if claim == name:
            return
        truth = self._truth(claim)
        try:
            parsed = None if record is None else ClaimRecord.decode(record.value)
        except BadRecord as error:
            raise Broken("bad record", f"{by} wrote {record}: {error}") from error
        holder = parsed.holder if parsed is not None else None
        epoch = parsed.epoch if parsed is not None else 0
        if by in ("wipe", "restore"):
            truth.epochs.clear()
            truth.highest = 0
        elif holder is not None:
            self._epoch(truth, claim, holder, epoch)
        truth.holders.append((self.world.now, holder, epoch))

    def _epoch(self, truth: Truth, claim: str, holder: Holder, epoch: int) -> None:
        known = truth.epochs.get(epoch)
        if known is not None and known != holder:
            raise Broken("epoch", f"{claim} gives epoch {epoch} to {holder}, which {known} had")
        if known is None and truth.highest and epoch <= truth.highest:
            raise Broken("epoch", f"{claim} gives epoch {epoch} to {holder} after {truth.highest}")
        truth.epochs[epoch] = holder
        truth.highest = max(truth.highest, epoch)

    # -- liveness

    def worked(self, host: Host, amount: int) -> None:
        """No event storm: the work of one simulated second is bounded."""
        if self.world.now >= self._second + SECOND:
            self._second = self.world.now // SECOND * SECOND
            self._busy.clear()
        busy = self._busy[host.name] = self._busy.get(host.name, 0) + 1 + amount
        if busy > BUSY:
            raise Broken("storm", f"{host.name} handled {BUSY} events and actions within a second")

    def has_converged(self) -> bool:
        """Tell whether ``converged`` would be content."""
        try:
            self.converged()
        except Broken:
            return False
        return True

    def converged(self) -> None:
        """After everything has healed exactly one node is MASTER of each claim: the best one, if it may preempt."""
        for claim in self.world.claims:
            passing = self.passing(claim.name)
            if len(passing) != 1:
                names = [host.name for host in passing]
                raise Broken("convergence", f"{claim.name} is passed by {names} {self._describe(claim.name)}")
            host = passing[0]
            if host.node is None:
                raise Broken("convergence", f"{host.name} passes {claim.name} without an agent")
            states = [member.state for member in self._group(host, claim.name).members]
            if any(state is not State.MASTER for state in states):
                raise Broken("convergence", f"{host.name} passes {claim.name} as {states}")
            for member in claim.members:
                if not host.kernel.has(member, host.boot()):
                    raise Broken("convergence", f"{host.name} is MASTER of {member} without addresses")
            self._best(host, claim.name)

    def _best(self, host: Host, claim: str) -> None:
        groups = [self._group(other, claim) for other in self.world.hosts if other.node is not None]
        best = max(group.candidacy.priority() for group in groups)
        mine = self._group(host, claim).candidacy.priority()
        if self.world.plan.cluster.preempt and mine < best:
            raise Broken(
                "convergence", f"{host.name} ({mine}) is MASTER of {claim}, a better node has {best}"
            )

    def _group(self, host: Host, claim: str) -> Group:
        group = None if host.node is None else host.node.groups.get(claim)
        if group is None:
            raise Broken("convergence", f"{host.name} does not take part in {claim}")
        return group

    def _describe(self, claim: str) -> str:
        parts = []
        for host in self.world.hosts:
            if host.node is None:
                parts.append(f"{host.name}: no agent")
                continue
            group = host.node.groups.get(claim)
            if group is not None:
                faults = ",".join(group.faults())
                parts.append(
                    f"{host.name}: {group.members[0].state} {group.claim.standing(host.now())} {faults}"
                )
        return f"({'; '.join(parts)})"

    def stable(self, before: dict[str, str]) -> None:
        """What has converged stays."""
        for claim, name in before.items():
            if [host.name for host in self.passing(claim)] != [name]:
                raise Broken("stability", f"{claim} has left {name} although nothing happened")
