"""What is drawn beside the owners and never judged: each node's gate as its kernel has it, and the arbiter's answers.

The gate is read from the kernel (what ``haagent gate`` reads), the arbiter is asked as its clients ask. Neither takes a
daemon's word. Slower than the judges: a few times a second.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from dataclasses import dataclass, field

from haagent.core.units import MILLISECOND, Duration, Instant
from haagent.effects.gate import boot_now, inspect
from haagent.errors import HaagentError
from haagent.lab.arbiter import QuorumArbiter, ServerArbiter
from haagent.lab.faults import ArbiterServers
from haagent.lab.namespaces import inside
from haagent.lab.observers import Source
from haagent.lab.topology import Node, Topology
from haagent.lab.verdict import Interval

GATE_PERIOD: Duration = 200 * MILLISECOND
ARBITER_PERIOD: Duration = 250 * MILLISECOND
UNANSWERED: Duration = 1000 * MILLISECOND
ASKS = {
    "etcd": (b"GET /health HTTP/1.0\r\n\r\n", b'"health":"true"'),
    "zookeeper": (b"srvr", b"Mode: "),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: ``good`` is an open gate, or a member that answered."""

    at: Instant
    good: bool


@dataclass
class Lanes:
    """Samples by node (gate) and by member (arbiter)."""

    gates: dict[str, list[Sample]] = field(default_factory=dict)
    members: dict[str, list[Sample]] = field(default_factory=dict)

    def gate(self, node: str, begin: Instant, end: Instant) -> tuple[Interval, ...]:
        """Return when a node's gate was open."""
        return _good(self.gates.get(node, []), begin, end, 2 * GATE_PERIOD)

    def arbiter(self, begin: Instant, end: Instant) -> tuple[Interval, ...]:
        """Return when a majority of the members answered."""
        spans = [_good(samples, begin, end, 2 * ARBITER_PERIOD) for samples in self.members.values()]
        edges = sorted(
            [(i.begin, 1) for span in spans for i in span] + [(i.end, -1) for span in spans for i in span]
        )
        found, count, since = [], 0, None
        for at, step in edges:
            count += step
            if since is None and 2 * count > len(spans):
                since = at
            elif since is not None and 2 * count <= len(spans):
                found.append(Interval(since, at))
                since = None
        return tuple(found)


def _good(samples: list[Sample], begin: Instant, end: Instant, longest: Duration) -> tuple[Interval, ...]:
    """Return the good stretches; a look stands for the time until the next one, ``longest`` at most."""
    found: list[Interval] = []
    window = [one for one in samples if begin - longest <= one.at < end]
    limits = [*(one.at for one in window[1:]), end]
    for one, limit in zip(window, limits, strict=True):
        if not one.good:
            continue
        piece = Interval(max(begin, one.at), min(limit, one.at + longest, end))
        if found and piece.begin <= found[-1].end:
            found[-1] = Interval(found[-1].begin, piece.end)
        elif piece.length > 0:
            found.append(piece)
    return tuple(found)


class GateProbe:
    """Looks at one node's gate."""

    period: Duration = GATE_PERIOD

    def __init__(self, node: Node, lanes: Lanes) -> None:
        self._namespace = node.namespace
        self._samples = lanes.gates.setdefault(node.name, [])

    def attach(self, selector: selectors.BaseSelector) -> None:
        """Nothing to wait for."""

    def readable(self, ready: socket.socket, now: Instant) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def tick(self, now: Instant) -> None:
        opened = False
        with contextlib.suppress(HaagentError, OSError), inside(self._namespace):
            opened = any(state.epochs and state.deadline > boot_now() for _, state in inspect().states)
        self._samples.append(Sample(now, opened))


class ArbiterProbe:
    """Asks one member of the arbiter, inside its own namespace, over and over."""

    period: Duration = ARBITER_PERIOD

    def __init__(self, namespace: str, endpoint: str, ask: tuple[bytes, bytes], lanes: Lanes) -> None:
        host, _, port = endpoint.rpartition(":")
        self._namespace, self._place, (self._question, self._expected) = namespace, (host, int(port)), ask
        self._samples = lanes.members.setdefault(endpoint, [])
        self._selector: selectors.BaseSelector | None = None
        self._socket: socket.socket | None = None
        self._sent: Instant = 0
        self._asked, self._reply = False, b""

    @classmethod
    def of(cls, servers: ArbiterServers | None, topology: Topology, lanes: Lanes) -> list[Source]:
        """Return a probe for every member of a kind whose question is known; the others have no lane."""
        parts = servers.parts if isinstance(servers, QuorumArbiter) else (servers,)
        places = {str(arbiter.mgmt): arbiter.namespace for arbiter in topology.arbiters}
        return [
            cls(places[endpoint.rpartition(":")[0]], endpoint, ASKS[part.kind], lanes)
            for part in parts
            if isinstance(part, ServerArbiter) and part.kind in ASKS
            for endpoint in part.endpoints
        ]

    def attach(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector

    def tick(self, now: Instant) -> None:
        if self._socket is not None:
            if now - self._sent < UNANSWERED:
                return
            self._finish(good=False)
        with inside(self._namespace):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._sent, self._asked, self._reply = time.monotonic_ns(), False, b""
        if self._socket.connect_ex(self._place) not in (0, errno.EINPROGRESS):
            self._finish(good=False)
        elif self._selector is not None:
            self._selector.register(self._socket, selectors.EVENT_WRITE, self)

    def readable(self, ready: socket.socket, now: Instant) -> None:
        try:
            if not self._asked:
                ready.send(self._question)
                self._asked = True
                if self._selector is not None:
                    self._selector.modify(ready, selectors.EVENT_READ, self)
                return
            data = ready.recv(4096)
        except OSError:
            self._finish(good=False)
            return
        self._reply += data
        if self._expected in self._reply:
            self._finish(good=True)
        elif not data:
            self._finish(good=False)

    def _finish(self, *, good: bool) -> None:
        self._samples.append(Sample(self._sent, good))
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            if self._selector is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
