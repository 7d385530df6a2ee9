"""A perfect little world for unit tests of the core: no faults of its own, every delay fixed, every action logged.

Faults are injected by the tests (``cut``, ``kill``, ``arbiter_down``); the fault-ridden world is tests/simulation.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from ipaddress import ip_address
from itertools import count

from haagent.core.actions import (
    Action,
    AnnounceAddresses,
    AskVeto,
    CloseGate,
    InstallAddresses,
    OpenGate,
    ReadRegister,
    RemoveAddresses,
    SendAdvertisement,
    SendToPeer,
    SwapRegister,
    Tell,
)
from haagent.core.events import (
    AddressesInstalled,
    AddressesRemoved,
    AdvertisementReceived,
    DeadlineReached,
    Event,
    LinkChanged,
    PeerHeard,
    PrimaryAddressChanged,
    RegisterChanged,
    RegisterConflicted,
    RegisterRead,
    RegisterSwapped,
    RegisterUnavailable,
    Startup,
    VetoAnswered,
)
from haagent.core.group import GroupParameters
from haagent.core.instance import InstanceParameters
from haagent.core.node import Node
from haagent.core.parameters import NodeParameters
from haagent.core.records import ClaimRecord
from haagent.core.register import Record
from haagent.core.reports import Report, StateChanged
from haagent.core.session import SessionParameters
from haagent.core.tracking import TrackerParameters, TrackUse
from haagent.core.units import MILLISECOND, SECOND, Now
from haagent.core.virtual_router import RouterParameters

ORIGIN = 1_000 * SECOND
LAN, ROUND_TRIP, HOST = MILLISECOND // 2, 2 * MILLISECOND, MILLISECOND // 4


class World:
    """Nodes, one LAN, one arbiter. Times are seconds since the beginning."""

    def __init__(self) -> None:
        self.time = 0
        self.nodes: dict[str, Node] = {}
        self.registers: dict[str, Record] = {}
        self.log: list[tuple[float, str, Action]] = []
        self.cut: set[frozenset[str]] = set()
        self.cut_peers: set[frozenset[str]] = set()
        self.cut_off: set[str] = set()  # from the arbiter
        self.arbiter_down = False
        self.deaf: set[str] = set()  # to the arbiter's hints
        self.vetoes: dict[str, str | None] = {}  # what a node's veto script says; None: it hangs
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._ticket = count()
        self._versions = count(1)

    # -- set-up

    def add(
        self,
        name: str,
        priority: int,
        *,
        incarnation: str = "1",
        preempt: bool = True,
        arbitrated: bool = True,
        electors: tuple[str, ...] = (),
        instances: tuple[str, ...] = ("VI_1",),
        sync: str | None = None,
        uses: tuple[TrackUse, ...] = (),
        advert: int = SECOND,
        resume: tuple[tuple[str, int], ...] = (),
        veto_pause: int | None = None,
        host: str = "",
    ) -> Node:
        session = SessionParameters(
            name,
            incarnation,
            host or f"host-{name}",
            2 * SECOND,
            SECOND // 2,
            20 * MILLISECOND,
            electors,
            bool(resume),
        )
        router = RouterParameters(3, 51, priority, advert, preempt_mode=preempt, preempt_lowered=True)
        groups = (
            (GroupParameters(sync, instances, sync=True),)
            if sync
            else tuple(GroupParameters(instance, (instance,)) for instance in instances)
        )
        node = Node(
            NodeParameters(
                session,
                tuple(
                    InstanceParameters(instance, router, ("eth0",), uses, veto_pause=veto_pause)
                    for instance in instances
                ),
                groups,
                tuple(TrackerParameters(use.tracker) for use in uses),
                arbitrated=arbitrated,
                resume=resume,
            )
        )
        self.nodes[name] = node
        self.do(name, LinkChanged("eth0", up=True))
        for instance in instances:
            self.do(name, PrimaryAddressChanged(instance, ip_address(f"192.0.2.{priority}")))
        self.do(name, Startup())
        return node

    def kill(self, name: str) -> None:
        del self.nodes[name]

    # -- time

    @property
    def now(self) -> Now:
        return Now(ORIGIN + self.time, ORIGIN + self.time)

    def run(self, seconds: float) -> None:
        end = self.time + round(seconds * SECOND)
        for _ in range(200_000):
            if not self._queue or self._queue[0][0] > end:
                self.time = end
                return
            at, _, happen = heapq.heappop(self._queue)
            self.time = max(self.time, at)
            happen()
        raise AssertionError("an event storm: some deadline lies in the past for ever")

    def do(self, name: str, event: Event) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        for action in node.handle(event, self.now):
            self.log.append((self.time / SECOND, name, action))
            self._perform(name, node, action)
        deadline = node.next_deadline()
        if deadline is not None:
            self._push(max(deadline - ORIGIN, self.time), lambda: self._wake(name, node))

    def _wake(self, name: str, node: Node) -> None:
        deadline = node.next_deadline()
        if self.nodes.get(name) is node and deadline is not None and deadline - ORIGIN <= self.time:
            self.do(name, DeadlineReached())

    def _push(self, at: int, happen: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at, next(self._ticket), happen))

    def _later(self, delay: int, name: str, node: Node, event: Event) -> None:
        def deliver() -> None:
            if self.nodes.get(name) is node:
                self.do(name, event)

        self._push(self.time + delay, deliver)

    # -- what actions do

    def _perform(self, name: str, node: Node, action: Action) -> None:
        match action:
            case SendAdvertisement(instance, priority):
                self._advertise(name, node, instance, priority)
            case InstallAddresses(instance):
                self._later(HOST, name, node, AddressesInstalled(instance))
            case RemoveAddresses(instance):
                self._later(HOST, name, node, AddressesRemoved(instance))
            case ReadRegister(register):
                self._push(self.time + ROUND_TRIP // 2, lambda: self._read(name, node, register))
            case SwapRegister():
                self._push(self.time + ROUND_TRIP // 2, lambda: self._swap(name, node, action))
            case AskVeto(claim):
                answer = self.vetoes.get(name, "")
                if answer is not None:
                    self._later(HOST, name, node, VetoAnswered(claim, answer))
            case SendToPeer(peer, body):
                other = self.nodes.get(peer)
                if other is not None and frozenset((name, peer)) not in self.cut_peers:
                    self._later(LAN, peer, other, PeerHeard(name, body))

    def _advertise(self, name: str, node: Node, instance: str, priority: int) -> None:
        source = node.addresses[instance]
        assert source is not None
        interval = node.parameters.instances[0].router.advertisement_interval
        for other, machine in self.nodes.items():
            if other != name and frozenset((name, other)) not in self.cut:
                self._later(
                    LAN, other, machine, AdvertisementReceived(instance, source, priority, interval, ())
                )

    def _silent(self, name: str) -> bool:
        return self.arbiter_down or name in self.cut_off

    def _read(self, name: str, node: Node, register: str) -> None:
        if self._silent(name):
            self._later(SECOND // 2, name, node, RegisterUnavailable(register, swap=False, error="no answer"))
        else:
            self._later(ROUND_TRIP // 2, name, node, RegisterRead(register, self.registers.get(register)))

    def _swap(self, name: str, node: Node, swap: SwapRegister) -> None:
        if self._silent(name):
            self._later(SECOND // 2, name, node, RegisterUnavailable(swap.name, swap=True, error="no answer"))
            return
        if self.registers.get(swap.name) != swap.expected:
            self._later(ROUND_TRIP // 2, name, node, RegisterConflicted(swap.name))
            return
        record = Record(swap.value, str(next(self._versions)))
        self.registers[swap.name] = record
        self._later(ROUND_TRIP // 2, name, node, RegisterSwapped(swap.name, record))
        for other, machine in self.nodes.items():
            if not self._silent(other) and other not in self.deaf:
                self._later(ROUND_TRIP, other, machine, RegisterChanged(swap.name, record))

    # -- what tests ask

    def masters(self, instance: str = "VI_1") -> list[str]:
        """Return the nodes whose instance says MASTER."""
        return [name for name, node in self.nodes.items() if node._members[instance][1].state == "MASTER"]

    def claim(self, name: str = "VI_1") -> ClaimRecord:
        return ClaimRecord.decode(self.registers[f"claims/{name}"].value)

    def actions(self, name: str, since: float = 0.0, until: float = 1e9) -> list[Action]:
        """Return what a node did, without reads and reports."""
        wanted = (
            AnnounceAddresses,
            CloseGate,
            InstallAddresses,
            OpenGate,
            RemoveAddresses,
            SendAdvertisement,
        )
        return [
            a for at, who, a in self.log if who == name and since <= at <= until and isinstance(a, wanted)
        ]

    def reports(self, name: str, since: float = 0.0) -> list[Report]:
        return [a.report for at, who, a in self.log if who == name and at >= since and isinstance(a, Tell)]

    def states(self, name: str, since: float = 0.0) -> list[str]:
        """Return the states of VI_1 in order."""
        return [
            report.new.value
            for report in self.reports(name, since)
            if isinstance(report, StateChanged) and report.instance == "VI_1"
        ]

    def when(self, name: str, kind: type[Action], since: float = 0.0) -> float | None:
        return next(
            (at for at, who, a in self.log if who == name and at >= since and isinstance(a, kind)), None
        )
