"""Scenarios: wait until one node owns the address, break something, hold, heal, wait, look on.

A step picks its victim when it comes to its turn, from what the observer sees. Promises to heal whatever it
injected, also when interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab import faults
from haagent.lab.cluster import Cluster
from haagent.lab.faults import ArbiterServers, Fault
from haagent.lab.namespaces import LabError
from haagent.lab.observations import FaultSpan, Record

Tell: TypeAlias = Callable[[Instant, str], None]
MakeFault: TypeAlias = Callable[[Cluster, str], Fault]


@dataclass(frozen=True, slots=True)
class Step:
    """One fault on the owner of the moment, for ``hold``; then ``rest`` to look on after healing."""

    make: MakeFault
    hold: Duration
    rest: Duration


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps one after the other, and a sentence for the list."""

    name: str
    summary: str
    makes: tuple[MakeFault, ...]

    def steps(self, advert: Duration, scale: int = 1) -> tuple[Step, ...]:
        """Return the steps for an advert interval: held over 6 intervals, so that a takeover has time."""
        hold = max(6 * advert, 2 * SECOND) * scale
        return tuple(Step(make, hold, max(4 * advert, 1500 * MILLISECOND)) for make in self.makes)


def _kill(cluster: Cluster, owner: str) -> Fault:
    return faults.Kill(cluster.daemons[owner])


def _freeze(cluster: Cluster, owner: str) -> Fault:
    return faults.Freeze(cluster.daemons[owner])


def _stop(cluster: Cluster, owner: str) -> Fault:
    return faults.Stop(cluster.daemons[owner])


def _cut_vrrp(cluster: Cluster, owner: str) -> Fault:
    return faults.cut_vrrp(cluster.topology, cluster.topology.node(owner))


def _mute(cluster: Cluster, owner: str) -> Fault:
    return faults.cut_vrrp(cluster.topology, cluster.topology.node(owner), ("from",))


def _deaf(cluster: Cluster, owner: str) -> Fault:
    return faults.cut_vrrp(cluster.topology, cluster.topology.node(owner), ("to",))


def _partition(cluster: Cluster, owner: str) -> Fault:
    return faults.partition(cluster.topology, cluster.topology.node(owner))


def _isolate(cluster: Cluster, owner: str) -> Fault:
    return faults.isolate(cluster.topology, cluster.topology.node(owner))


def _cut_arbiter(cluster: Cluster, owner: str) -> Fault:
    return faults.cut_arbiter(cluster.topology, cluster.topology.node(owner))


def _link_down(cluster: Cluster, owner: str) -> Fault:
    return faults.LinkDown(cluster.topology, cluster.topology.node(owner))


def _delete_address(cluster: Cluster, owner: str) -> Fault:
    return faults.DeleteAddress(cluster.topology.node(owner), f"{cluster.spec.vip4}/32")


def _servers(cluster: Cluster) -> ArbiterServers:
    if cluster.servers is None or not cluster.servers.size:
        raise LabError(
            "this scenario breaks the arbiter's servers, and there are none (keepalived knows no arbiter)"
        )
    return cluster.servers


def _freeze_arbiter(cluster: Cluster, _owner: str) -> Fault:
    return faults.FreezeArbiter(_servers(cluster), _servers(cluster).size)


def _kill_arbiter_member(cluster: Cluster, _owner: str) -> Fault:
    return faults.KillArbiter(_servers(cluster), 1)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("demo", "kill, freeze and partition the MASTER in turn", (_kill, _freeze, _partition)),
        Scenario("kill", "kill -9 of the MASTER's daemon", (_kill,)),
        Scenario("freeze", "SIGSTOP of the MASTER's daemon", (_freeze,)),
        Scenario("stop", "graceful stop of the MASTER's daemon", (_stop,)),
        Scenario("cut-vrrp", "only VRRP lost between the nodes: the classic split brain", (_cut_vrrp,)),
        Scenario("mute", "the MASTER's adverts lost, its peers' heard: a one-way split", (_mute,)),
        Scenario("deaf", "the peers' adverts do not reach the MASTER: the other way", (_deaf,)),
        Scenario("partition", "the MASTER cut from peers and arbiter, clients still reach it", (_partition,)),
        Scenario("isolate", "the MASTER cut from everybody", (_isolate,)),
        Scenario("cut-arbiter", "the MASTER cut from the arbiter only", (_cut_arbiter,)),
        Scenario("link-down", "the MASTER's lan cable pulled", (_link_down,)),
        Scenario("delete-address", "somebody removes the virtual address by hand", (_delete_address,)),
        Scenario("freeze-arbiter", "all members of the arbiter stopped", (_freeze_arbiter,)),
        Scenario("kill-arbiter-member", "kill -9 of one member of the arbiter", (_kill_arbiter_member,)),
    )
}


def scenario(name: str) -> Scenario:
    """Return a scenario by name; LabError lists the accepted ones."""
    try:
        return SCENARIOS[name]
    except KeyError:
        raise LabError(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}") from None


def _silent(at: Instant, text: str) -> None:
    """Tell nobody."""


def play(cluster: Cluster, steps: tuple[Step, ...], tell: Tell = _silent) -> Record:
    """Run ``steps`` on a running cluster and return its record, still open.

    ``tell`` hears of faults and of every change of ownership as it happens.
    """
    narrator = Narrator(cluster, tell)
    advert = cluster.spec.advert
    steady, patience = max(2 * advert, 500 * MILLISECOND), max(15 * advert, 20 * SECOND)
    cluster.wait_until_up(steady, patience)
    for step in steps:
        owner = cluster.wait_for_owner(steady, patience)
        narrator.look()
        _play_step(cluster, step, owner, narrator)
    return cluster.record


def _play_step(cluster: Cluster, step: Step, owner: str, narrator: Narrator) -> None:
    fault = step.make(cluster, owner)
    begin = time.monotonic_ns()
    narrator.say(begin, f"{fault.name} {fault.target}: {fault.description}")
    try:
        fault.inject()
        narrator.watch(step.hold)
    finally:
        end = time.monotonic_ns()
        fault.heal()
        cluster.add_fault(FaultSpan(fault.name, fault.target, begin, end, fault.description))
    narrator.say(end, f"{fault.name} {fault.target}: healed")
    narrator.watch(step.rest)


class Narrator:
    """Tells changes of ownership while a scenario runs."""

    def __init__(self, cluster: Cluster, tell: Tell) -> None:
        self._cluster, self._tell = cluster, tell
        self._known: frozenset[str] | None = None

    def say(self, at: Instant, text: str) -> None:
        """Pass one line on."""
        self._tell(at - self._cluster.record.begin, text)

    def look(self) -> None:
        """Say who owns the address, if that changed."""
        owners = self._cluster.observer.owners()
        if owners != self._known:
            self._known = owners
            self.say(time.monotonic_ns(), _owners_in_words(owners))

    def watch(self, duration: Duration) -> None:
        """Look on for ``duration``."""
        until = time.monotonic_ns() + duration
        while time.monotonic_ns() < until:
            self.look()
            time.sleep(0.02)


def _owners_in_words(owners: frozenset[str]) -> str:
    names = sorted(owners)
    if not names:
        return "  nobody answers"
    return f"  {names[0]} answers" if len(names) == 1 else f"  DUAL: {' and '.join(names)} answer"
