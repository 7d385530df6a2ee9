"""The named points at which an agent is frozen or killed, what brings it there, and what is seen from outside.

A test gives one agent the order to stop at a point (failpoint_agent.py), makes it pass there, leaves it frozen until the
other node has had the address for longer than W, and lets it go on. The verdict is the observers': who answers ARP and
echo, every 2 ms, and who sends advertisements and announcements, every one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import failpoint_agent
from agent_lab import Agent, Lab, arbiter_block, eventually

from haagent.control.client import request
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, to_seconds
from haagent.errors import ControlError
from haagent.lab.daemons import ClusterSpec, keepalived_conf, peers_block
from haagent.lab.namespaces import inside
from haagent.lab.observations import Record
from haagent.lab.observers import ETH_P_ALL, Observer, Pace
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import VIP4, Topology
from haagent.lab.verdict import Interval, judge
from haagent.lab.windows import cut

ETH_P_ARP = 0x0806
ADVERT = 100 * MILLISECOND
LEASE = 400 * MILLISECOND
WAIT = LEASE * 11 // 10
LONGER = 150 * MILLISECOND  # than W
PACE = Pace(round=2 * MILLISECOND, udp=3600 * SECOND, http=3600 * SECOND)
SPEC = ClusterSpec(advert=ADVERT, vip6=None)
ANSWERED = ("arrived", "timed", "decided")
DONE = ("before", "after")
ASKED = (*DONE, "sent", *ANSWERED)  # of a swap: all its moments in the order in which they come
EFFECT = (*DONE, *ANSWERED)


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of one thing an agent does. ``scene`` brings it there: hold, move, stop, seize or grant."""

    scene: str
    name: str
    moment: str
    act: str = "stop"
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.scene}: {self.act} {self.moment} {self.name}"


def _points(scene: str, *named: tuple[str, tuple[str, ...]]) -> tuple[Point, ...]:
    return tuple(Point(scene, name, moment) for name, moments in named for moment in moments)


_RISE = (
    ("claim", ASKED),
    ("gate opened", DONE),
    ("address added", EFFECT),
    ("first advertisement", DONE),
    ("announcement", DONE),
)
_FALL = (
    ("gate closed", DONE),
    ("address removed", EFFECT),
    ("resignation", DONE),
    ("release", ASKED),
)
# hold: a MASTER in peace. move: a switchover away, and back by preemption. stop: SIGTERM. seize: the BACKUP takes over
# from a frozen MASTER, is frozen itself, and the MASTER goes on before it does.
ARBITER_POINTS = (
    *_points("hold", ("renewal", ASKED), ("deadline", DONE), ("advertisement", DONE)),
    *_points("move", *_FALL, ("bid", ASKED), *_RISE),
    *_points("stop", *_FALL, ("session's end", ASKED)),
    *_points("seize", ("other's end", ASKED), *_RISE),
)
# With promises: the fast renewals are the peers'. grant: the BACKUP is frozen around its own promise.
PEER_POINTS = (
    *_points("hold", ("promise", EFFECT), ("deadline", DONE), ("renewal", ASKED)),
    *_points("move", *_FALL, ("bid", ASKED), *_RISE),
    *_points("seize", ("other's end", ASKED), *_RISE),
    *_points("grant", ("grant", (*DONE, "timed", "decided"))),
)


def dying(points: tuple[Point, ...], act: str) -> tuple[Point, ...]:
    """Return the points of an agent that dies there: those before, between and after its actions."""
    moments = ("before", "after", "sent")
    scenes = ("hold", "move") if act == "kill" else ("hold", "move", "seize")
    return tuple(
        Point(p.scene, p.name, p.moment, act) for p in points if p.moment in moments and p.scene in scenes
    )


class Announcements:
    """Hears gratuitous ARP for the address at the client: requests and replies in which it names itself."""

    period: Duration = 0

    def __init__(self, topology: Topology, address: IPv4Address) -> None:
        self._names, self._packed = topology.by_mac(), address.packed
        self.heard: list[tuple[Instant, str]] = []
        with inside(topology.client.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind(("lan", ETH_P_ARP))
        self._socket.setblocking(False)

    def attach(self, selector: Any) -> None:
        selector.register(self._socket, 1, self)

    def close(self) -> None:
        self._socket.close()

    def tick(self, now: Instant) -> None:
        """Nothing: it only listens."""

    def readable(self, ready: socket.socket, now: Instant) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, at = ready.recv(256), time.monotonic_ns()
                node = self._names.get(frame[6:12])
                if node is not None and frame[28:32] == self._packed == frame[38:42]:
                    self.heard.append((at, node))


class FailpointAgent(Agent):
    """An agent that takes orders."""

    @property
    def order(self) -> Path:
        """Where the order goes."""
        return self.directory / "failpoint.json"

    def argv(self) -> tuple[str, ...]:
        python, _, _, *rest = super().argv()
        return (python, failpoint_agent.__file__, *rest)

    def start(self) -> None:
        self.variables = {failpoint_agent.ORDER: str(self.order)}
        super().start()

    def arm(self, point: Point) -> None:
        """Order it to stop or die at ``point``, the next time it comes there."""
        hit, order = self.order.with_suffix(".hit"), self.order.with_suffix(".new")
        hit.unlink(missing_ok=True)
        fields = {"point": point.name, "moment": point.moment, "act": point.act, "nth": point.nth}
        fields["given"] = time.monotonic_ns()  # no two orders are equal
        order.write_text(json.dumps(fields))
        order.rename(self.order)

    def disarm(self) -> None:
        """Take an order back, and let whoever was stopped go on."""
        self.order.unlink(missing_ok=True)
        if self.hit is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.hit["pid"], signal.SIGCONT)

    @property
    def hit(self) -> dict[str, int] | None:
        """Say which process stopped or died, and when; None while it has not come there."""
        try:
            found: dict[str, int] = json.loads(self.order.with_suffix(".hit").read_text())
        except FileNotFoundError:
            return None
        return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one point. ``spoke`` are advertisements and announcements of a node while the other one answered."""

    dual: Duration
    spoke: tuple[tuple[Instant, str], ...]
    lanes: dict[str, tuple[Interval, ...]] = field(repr=False)


class FailpointLab(Lab):
    """Two nodes whose agents take orders; node1 is the better one. ``gate`` is a word of the configuration."""

    def __init__(self, stack: ExitStack, *, peers: bool = False, gate: str = "bpf") -> None:
        super().__init__(stack, 1, prefix="hfp", pace=PACE)
        self.announcements = Announcements(self.topology, VIP4)
        listener = Observer(Record(nodes=("node1", "node2"), begin=time.monotonic_ns()), [self.announcements])
        listener.start()
        stack.callback(listener.stop)
        self.addition = self._addition(peers=peers) + f"haagent {{\n    gate {gate}\n}}\n"
        for node in self.topology.nodes:
            one = FailpointAgent(
                node, self.topology.workdir / node.name, keepalived_conf(SPEC, node.name), self.addition
            )
            self._start(node.name, one)

    def _addition(self, *, peers: bool) -> str:
        assert self.etcd is not None
        block = arbiter_block(self.etcd.endpoints, lease=LEASE)
        if not peers:
            return block
        key = self.topology.workdir / "peers.key"
        key.write_text("the secret of this lab alone\n")
        key.chmod(0o600)
        return block + peers_block(self.topology.nodes, key)

    def taking_orders(self, name: str) -> FailpointAgent:
        """Return the agent of a node."""
        agent = self.daemons[name]
        assert isinstance(agent, FailpointAgent)
        return agent

    # -- one point

    def pass_through(self, point: Point) -> Seen:
        """Bring an agent to ``point``, freeze or kill it there, let it recover, and say what was seen."""
        for daemon in self.daemons.values():
            daemon.start()
        # a worker that died young comes back after a pause; its gate may stay open meanwhile
        eventually(lambda: all(_answers(self.taking_orders(name)) for name in self.daemons), patience=15)
        self.wait_owner("node1", patience=15)
        cut(self.observer.record, time.monotonic_ns() - SECOND)  # what came before is judged
        victim = self.taking_orders("node2" if point.scene in ("seize", "grant") else "node1")
        began = time.monotonic_ns()
        victim.arm(point)
        try:
            self._play(point, victim)
        finally:
            victim.disarm()
        if point.scene == "stop":
            process = victim.process
            assert process is not None
            eventually(lambda: not process.alive, patience=10, what="ending after SIGTERM")
        for daemon in self.daemons.values():
            daemon.start()
        self.wait_owner("node1", patience=15)
        return self._seen(began)

    def _play(self, point: Point, victim: FailpointAgent) -> None:
        master = self.taking_orders("node1").process
        assert master is not None
        with ExitStack() as stack:
            if point.scene == "seize":
                master.freeze()
                stack.callback(master.thaw)
            self._stir(point, victim)
            eventually(lambda: victim.hit, patience=10, what=f"coming to {point}")
            if point.act == "kill":
                return  # its supervisor starts another at once; there may be nothing to take over
            self._outlast(point, victim, master)
        if point.act == "crash":
            process = victim.process
            assert process is not None
            process.kill()  # scripts it may have left, none here; reaps it

    def _stir(self, point: Point, victim: FailpointAgent) -> None:
        """Make the agent pass there, where peace is not enough."""
        if point.scene == "move":
            eventually(lambda: _asked_to_switch_over(victim), what="the switchover")
        elif point.scene == "stop":
            os.kill(victim.supervisor, signal.SIGTERM)

    def _outlast(self, point: Point, victim: FailpointAgent, master: NodeProcess) -> None:
        """Wait until the other node has the address and W is over for certain."""
        if point.scene == "seize":
            time.sleep(to_seconds(LONGER))
            master.thaw()
        other = "node1" if victim.name == "node2" else "node2"
        self.wait_owner(other)
        hit = victim.hit
        assert hit is not None
        time.sleep(max(0.0, to_seconds(hit["at"] + WAIT + LONGER - time.monotonic_ns())))
        self.wait_owner(other)

    def _seen(self, began: Instant) -> Seen:
        time.sleep(0.02)
        piece = cut(self.observer.record, time.monotonic_ns())
        piece.begin = began
        verdict = judge(piece)
        spoken = [(a.at, a.node) for a in piece.adverts if a.priority and a.at >= began]
        spoken += [(at, node) for at, node in self.announcements.heard if at >= began]
        return Seen(verdict.dual_total, tuple(_out_of_turn(spoken, verdict.lanes)), verdict.lanes)


def _answers(agent: FailpointAgent) -> bool:
    try:
        return bool(request(str(agent.socket), "status", timeout=1.0))
    except ControlError:
        return False


def _asked_to_switch_over(victim: FailpointAgent) -> bool:
    """Ask; it may stop or die before it answers. One that was just restarted has not seen the other yet, hence the force."""
    try:
        request(str(victim.socket), "switchover", claim="VI_1", force=True, timeout=0.2)
    except ControlError:
        return victim.hit is not None
    return True


def _out_of_turn(
    spoken: list[tuple[Instant, str]], lanes: dict[str, tuple[Interval, ...]]
) -> list[tuple[Instant, str]]:
    """Return what a node said while another one answered: between two of its answers, so beyond doubt."""
    return [
        (at, node)
        for at, node in spoken
        for other, lane in lanes.items()
        if other != node and any(i.begin < at < i.end - 2 * PACE.round for i in lane)
    ]
