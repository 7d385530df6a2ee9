"""Carries out a plan's faults: each has a beginning and an end, and all end when the world heals."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from haagent.core.events import PauseRequested, ResumeRequested, SwitchoverRequested
from haagent.core.records import SESSIONS, claim_register
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from tests.simulation.changeover import Changeover, conform
from tests.simulation.checks import Broken
from tests.simulation.configuration import laid_out
from tests.simulation.layouts import regrouped
from tests.simulation.plan import HOLDER, NODES, Claimed, Fault

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World

Undo = Callable[[], None]


class Troublemaker:
    """Begins and ends faults. Every fault kind is a method that returns how to undo it, or None."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.takeover: Duration | None = None
        self._undo: dict[int, Undo] = {}
        self._ticket = 0
        self._killed: tuple[Instant, str] | None = None
        self._changeover: Changeover | None = None

    def begin(self, fault: Fault) -> None:
        """Let one fault begin, and plan its end."""
        host = self._holder() if fault.node == HOLDER else self.world.hosts[fault.node]
        self.world.remark(f"fault: {fault} [{host.name}]")
        undo = getattr(self, f"_{fault.kind}")(host, fault)
        if undo is not None:
            self._ticket += 1
            self._undo[self._ticket] = undo
            self.world.after(fault.lasts, self._end, self._ticket)

    def _end(self, ticket: int) -> None:
        undo = self._undo.pop(ticket, None)
        if undo is not None:
            self.world.remark(f"over: {undo.__qualname__.split('.')[1]}")
            undo()

    def heal_all(self) -> None:
        """End every fault, start every agent, and make networks and the arbiter good ones."""
        world = self.world
        world.remark("everything heals")
        if self._killed is not None:
            return  # the one that was killed stays so
        for host in world.hosts:
            host.fuse = None
        for ticket in sorted(self._undo):
            self._end(ticket)
        quiet = world.plan.cluster
        for wire in (world.lan, world.peers):
            wire.manner = type(wire.manner)(wire.manner.least, min(wire.manner.most, 2 * MILLISECOND))
        store = quiet.store
        world.arbiter.manner = type(store)(store.least, store.most)
        for host in world.hosts:
            if host.node is None:
                host.start(resumed=False)

    def _holder(self) -> Host:
        first = self.world.claims[0].name
        passing = self.world.checks.passing(first)
        return passing[0] if passing else self.world.hosts[0]

    def _claim(self, fault: Fault) -> Claimed:
        """Return the claim that a fault is about."""
        return self.world.claims[fault.amount % len(self.world.claims)]

    # -- agents

    def _crash(self, host: Host, fault: Fault) -> Undo:
        if host.node is not None:
            if fault.amount and not host.held_up:
                host.fuse, host.fuse_stalls = fault.amount, None
            else:
                host.die()

        def restart() -> None:
            host.fuse = None
            if host.node is None and not host.stopped:
                host.start(resumed=fault.word == "resumed")

        return restart

    def _shutdown(self, host: Host, _fault: Fault) -> Undo:
        host.shut_down()

        def start_again() -> None:
            if host.node is not None:
                host.finish()  # a stop has its patience, too
            host.start(resumed=False)

        return start_again

    def _freeze(self, host: Host, _fault: Fault) -> Undo:
        host.hold()
        return host.let_go

    def _stall(self, host: Host, fault: Fault) -> None:
        host.fuse, host.fuse_stalls = fault.amount, fault.lasts

    def _suspend(self, host: Host, _fault: Fault) -> Undo | None:
        return self._halt(host, boot_runs=True)

    def _vm_pause(self, host: Host, _fault: Fault) -> Undo | None:
        return self._halt(host, boot_runs=False)

    def _halt(self, host: Host, *, boot_runs: bool) -> Undo | None:
        if host.halted:
            return None
        boot_ppm, raw_ppm = host.clocks.boot_ppm, host.clocks.raw_ppm
        host.halt(boot_runs=boot_runs)

        def resume() -> None:
            if not boot_runs:
                host.paused_until = self.world.now
            host.go_on(boot_ppm, raw_ppm)

        return resume

    def _slew(self, host: Host, fault: Fault) -> Undo | None:
        if host.halted:
            return None
        host.slew(1_000_000 + fault.amount)
        return None

    _slew10 = _slew

    def _effects(self, host: Host, _fault: Fault) -> Undo:
        host.refuses_addresses += 1

        def accept() -> None:
            host.refuses_addresses -= 1

        return accept

    # -- networks

    def _cut_lan(self, host: Host, fault: Fault) -> Undo:
        return self._cut("lan", [(host.name, NODES[fault.other])])

    def _cut_peer(self, host: Host, fault: Fault) -> Undo:
        return self._cut("peers", [(host.name, NODES[fault.other])])

    def _split_lan(self, _host: Host, fault: Fault) -> Undo:
        return self._cut("lan", self._across(fault.amount))

    def _split_peer(self, _host: Host, fault: Fault) -> Undo:
        return self._cut("peers", self._across(fault.amount))

    def _across(self, mask: int) -> list[tuple[str, str]]:
        side = {host.name: mask >> host.index & 1 for host in self.world.hosts}
        return [(one, other) for one in side for other in side if side[one] != side[other]]

    def _cut(self, network: str, pairs: list[tuple[str, str]]) -> Undo:
        wire = self.world.lan if network == "lan" else self.world.peers
        for sender, receiver in pairs:
            wire.cut(sender, receiver, 1)

        def mend() -> None:
            for sender, receiver in pairs:
                wire.cut(sender, receiver, -1)

        return mend

    def _mute(self, host: Host, _fault: Fault) -> Undo:
        """Nobody hears a host's advertisements: the others want to be MASTER."""
        return self._cut("lan", [(host.name, other.name) for other in self.world.hosts if other is not host])

    def _cut_arbiter(self, host: Host, fault: Fault) -> Undo:
        arbiter = self.world.arbiter
        ways = [arbiter.cut_up] * (fault.word != "down") + [arbiter.cut_down] * (fault.word != "up")
        for way in ways:
            way[host.name] = way.get(host.name, 0) + 1

        def mend() -> None:
            for way in ways:
                way[host.name] -= 1

        return mend

    def _isolate(self, host: Host, fault: Fault) -> Undo:
        """A host loses the arbiter and is not heard by the others, but the peers' channel works."""
        arbiter, mute = self._cut_arbiter(host, fault), self._mute(host, fault)

        def mend() -> None:
            arbiter()
            mute()

        return mend

    def _deafen(self, host: Host, _fault: Fault) -> Undo:
        """A host's requests arrive, the answers do not."""
        way = self.world.arbiter.cut_down
        way[host.name] = way.get(host.name, 0) + 1

        def mend() -> None:
            way[host.name] -= 1

        return mend

    def _lagging(self, host: Host, _fault: Fault) -> Undo:
        lagging = self.world.arbiter.lagging
        lagging[host.name] = lagging.get(host.name, 0) + 1

        def hurry() -> None:
            lagging[host.name] -= 1

        return hurry

    # -- the arbiter

    def _outage(self, _host: Host, fault: Fault) -> Undo:
        arbiter = self.world.arbiter
        arbiter.down += 1
        arbiter.refuses = fault.word == "refuse"

        def recover() -> None:
            arbiter.down -= 1

        return recover

    def _election(self, _host: Host, fault: Fault) -> None:
        self.world.arbiter.electing_until = self.world.now + fault.lasts

    def _bad_arbiter(self, _host: Host, _fault: Fault) -> Undo:
        arbiter = self.world.arbiter
        arbiter.bad += 1

        def recover() -> None:
            arbiter.bad -= 1

        return recover

    def _wipe(self, _host: Host, _fault: Fault) -> None:
        registers = self.world.arbiter.registers
        for name in sorted(registers.now):
            registers.put(name, None, self.world.now, "wipe")

    def _deleted(self, _host: Host, fault: Fault) -> None:
        """Somebody deletes the record of one claim, and nothing else."""
        registers = self.world.arbiter.registers
        name = claim_register(self._claim(fault).name)
        if name in registers.now:
            registers.put(name, None, self.world.now, "wipe")

    def _vanish(self, host: Host, _fault: Fault) -> None:
        registers = self.world.arbiter.registers
        if SESSIONS + host.name in registers.now:
            registers.put(SESSIONS + host.name, None, self.world.now, "expiry")

    def _restore(self, host: Host, fault: Fault) -> Undo:
        """Bring back an old snapshot, after the arbiter was away for more than W."""
        recover = self._outage(host, fault)

        def restore() -> None:
            self.world.arbiter.registers.restore(self.world.now, fault.amount)
            recover()

        return restore

    def _instant_restore(self, _host: Host, fault: Fault) -> None:
        self.world.arbiter.registers.restore(self.world.now, fault.amount)

    # -- the host

    def _link(self, host: Host, _fault: Fault) -> Undo:
        host.set_link(up=False)
        return lambda: host.set_link(up=True)

    def _primary(self, host: Host, fault: Fault) -> Undo:
        host.change_primary(None if fault.amount % 2 else IPv4Address(f"10.0.0.{100 + host.index}"))
        return lambda: host.change_primary(IPv4Address(f"10.0.0.{10 + host.index}"))

    def _vanished(self, host: Host, fault: Fault) -> None:
        host.vanish(self._claim(fault).members[0])

    def _tracker(self, host: Host, _fault: Fault) -> Undo:
        host.passes_tracker = False

        def passes() -> None:
            host.passes_tracker = True

        return passes

    def _foreign(self, _host: Host, fault: Fault) -> None:
        instance = self._claim(fault).members[0]
        priority = 1 + fault.at % 254
        until = self.world.now + fault.lasts

        def advertise(_: None) -> None:
            if self.world.now < min(until, self.world.plan.heal):
                self.world.lan.intrude(instance, priority)
                self.world.after(SECOND, advertise, None)

        advertise(None)

    # -- operators

    def _switchover(self, host: Host, fault: Fault) -> None:
        claim = self._claim(fault).name
        to = None if fault.at % 2 else NODES[fault.other]
        for each in self.world.checks.passing(claim) or [host]:
            each.deliver(SwitchoverRequested(claim, to))

    def _pause(self, host: Host, _fault: Fault) -> Undo:
        host.deliver(PauseRequested())
        return lambda: host.deliver(ResumeRequested())

    def _priority(self, host: Host, fault: Fault) -> None:
        host.reconfigure(host.config.with_priority(fault.amount))

    def _lease(self, _host: Host, fault: Fault) -> None:
        """Every node is reloaded with another lease, one after the other."""
        for place, host in enumerate(self.world.hosts):
            when = min(self.world.now + place * fault.lasts // 4, self.world.plan.heal)
            self.world.at(when, self._lease_of, (host, fault.amount))

    def _lease_one(self, host: Host, fault: Fault) -> None:
        self._lease_of((host, fault.amount))

    def _lease_of(self, change: tuple[Host, Duration]) -> None:
        host, lease = change
        host.reconfigure(host.config.with_lease(lease))

    def _instances(self, host: Host, fault: Fault) -> Undo:
        before = host.config.claims
        host.reconfigure(host.config.without(fault.amount))

        def bring_back() -> None:
            from dataclasses import replace

            missing = tuple(claim for claim in before if claim not in host.config.claims)
            names = {claim.name for claim in host.config.claims}
            back = tuple(claim for claim in missing if claim.name not in names)
            host.reconfigure(replace(host.config, claims=(*host.config.claims, *back)))

        return bring_back

    # -- which claim guards what

    def _regroup(self, host: Host, fault: Fault) -> Undo | None:
        """The whole cluster changes, by the rule."""
        if self._changeover is not None and not self._changeover.over:
            return None
        self._changeover = Changeover(self.world, host, self._regrouped(fault))
        self._changeover.look()
        return self._changeover.hurry

    def _roll(self, host: Host, fault: Fault) -> Undo:
        """One node is reloaded alone, against the rule."""
        host.reconfigure(laid_out(host.config, self._regrouped(fault), host.index))
        return lambda: conform(self.world, host)

    def _thin(self, host: Host, fault: Fault) -> Undo:
        """One node lacks some instances for a while, also single ones of a group: no claim guards anything else for that."""
        names = host.config.instances()
        lacking = {name for place, name in enumerate(names) if fault.amount >> place & 1}
        host.reconfigure(host.config.lacking(lacking))
        return lambda: conform(self.world, host)

    def _regrouped(self, fault: Fault) -> tuple[Claimed, ...]:
        return regrouped(self.world.plan.cluster.claims, fault.amount)

    # -- the calm profile

    def _kill_holder(self, host: Host, _fault: Fault) -> None:
        self._killed = (self.world.now, host.name)
        host.die()

    def judge(self) -> None:
        """After a plain crash of the holder: the takeover came within the plan."""
        if self._killed is None:
            return
        at, name = self._killed
        cluster = self.world.plan.cluster
        first = cluster.claims[0].name
        after = [when for when, who in self.world.checks.takeovers[first] if when > at and who != name]
        if not after:
            raise Broken("takeover", f"nobody has taken {first} from {name}")
        self.takeover = after[0] - at
        skew = SECOND if cluster.version == 2 else cluster.advert
        waiting = max(cluster.lease * 11 // 10 + 2 * cluster.renew, cluster.advert)
        planned = waiting + cluster.advert + skew // 2 + 10 * cluster.store.most
        if self.takeover > planned + 50 * MILLISECOND:
            raise Broken(
                "takeover",
                f"{first} was taken after {self.takeover / SECOND:.3f} s, planned {planned / SECOND:.3f}",
            )
