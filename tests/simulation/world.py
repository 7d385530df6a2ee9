"""The simulated world: one true time, a queue of what is due, hosts, networks and the arbiter.

``run`` plays a plan to its end, or to the first broken promise. No asyncio and no logging: a trace is kept only on request.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from haagent.core.actions import Actions
from haagent.core.units import SECOND, Duration, Instant, to_seconds
from tests.simulation.chance import Chance
from tests.simulation.checks import Broken, Checks
from tests.simulation.clocks import HostClocks
from tests.simulation.configuration import host_config
from tests.simulation.faults import Troublemaker
from tests.simulation.host import Host
from tests.simulation.networks import Lan, Peers
from tests.simulation.plan import Plan
from tests.simulation.store import Arbiter

BOOTED: Instant = 1_000 * SECOND  # what BOOTTIME reads when the world begins
START_SPREAD: Duration = SECOND
CALM: Duration = 8 * SECOND  # and two leases: how long a cluster has been converged when a run may end
STABLE: Duration = 4 * SECOND  # what has converged is watched for so long


_line = struct.Struct(
    "<QHHL"
).pack  # what the digest is made of: time, host, number of actions, kind of event


@cache
def _kind(name: str) -> int:
    return zlib.crc32(name.encode())


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``check`` and ``text`` are empty for a clean one; ``digest`` is the trace's hash."""

    seed: int
    check: str
    text: str
    at: Instant
    digest: int
    events: int
    trace: tuple[str, ...] = ()
    takeover: Duration | None = None

    @property
    def clean(self) -> bool:
        return not self.check


class World:
    """Everything there is in one run."""

    def __init__(self, plan: Plan, *, tracing: bool = False) -> None:
        self.plan, self.now = plan, 0
        self._queue: list[tuple[Instant, int, Callable[[Any], None], Any]] = []
        self._ticket = 0
        self._digest, self.events = 0, 0
        self._trace: list[str] | None = [] if tracing else None
        cluster = plan.cluster
        self.claims = cluster.claims  # as they are today
        self.checks = Checks(self)
        self.lan = Lan(self, cluster.lan, self.chance("lan"))
        self.peers = Peers(self, cluster.peers, self.chance("peers"))
        self.arbiter = Arbiter(self, cluster.store, self.chance("store"))
        self.hosts = tuple(
            Host(
                self,
                index,
                host_config(cluster, index),
                HostClocks(BOOTED * (index + 1), cluster.boot_ppm[index], cluster.raw_ppm[index]),
            )
            for index in range(cluster.nodes)
        )
        self.trouble = Troublemaker(self)

    def chance(self, purpose: str) -> Chance:
        """Return dice for one purpose, so that one part does not disturb another."""
        return Chance(f"{self.plan.profile.name} {self.plan.seed} {purpose}")

    # -- time

    def at(self, when: Instant, do: Callable[[Any], None], what: Any) -> None:
        """Call ``do(what)`` at a true time."""
        self._ticket += 1
        heapq.heappush(self._queue, (max(when, self.now), self._ticket, do, what))

    def after(self, delay: Duration, do: Callable[[Any], None], what: Any) -> None:
        self._ticket += 1
        heapq.heappush(self._queue, (self.now + delay, self._ticket, do, what))

    def play(self, until: Instant) -> None:
        """Let everything happen that is due until then."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, do, what = heapq.heappop(queue)
            do(what)
        self.now = until

    def run(self) -> Outcome:
        """Play the whole plan."""
        check = text = ""
        try:
            self._run()
        except Broken as broken:
            check, text = broken.check, str(broken)
        except Exception as error:
            import traceback

            check, text = "raised", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        trace = tuple(self._trace or ())
        return Outcome(
            self.plan.seed, check, text, self.now, self._digest, self.events, trace, self.trouble.takeover
        )

    def _run(self) -> None:
        plan = self.plan
        chance = self.chance("starts")
        for host in self.hosts:
            self.at(chance.below(START_SPREAD), self._start, host)
        for fault in plan.faults:
            self.at(fault.at, self.trouble.begin, fault)
        self.play(plan.heal)
        self.trouble.heal_all()
        if self._settle():
            return
        self.checks.converged()
        holders = self._holders()
        for _ in range(8):
            self.play(self.now + STABLE // 8)
            self.checks.stable(holders)
        self.trouble.judge()

    def _settle(self) -> bool:
        """Play until the cluster must have converged; unless the plan is patient, until it long has: then True.

        Time in which nothing happens finds little. What faults have left under way (a request that is applied late,
        a promise, an abstention) may still upset what has converged: that only begins the waiting anew.
        """
        plan, since, before = self.plan, self.now, self._holders()
        earliest = plan.heal + 4 * plan.cluster.lease + 2 * SECOND
        while self.now < plan.settled:
            self.play(min(self.now + SECOND, plan.settled))
            now = self._holders()
            if now != before or not self.checks.has_converged():
                since, before = self.now, now
            if not plan.patient and self.now >= max(earliest, since + CALM + 2 * plan.cluster.lease):
                return True
        return False

    def _holders(self) -> dict[str, str]:
        passing = ((claim.name, self.checks.passing(claim.name)) for claim in self.claims)
        return {name: " and ".join(host.name for host in hosts) for name, hosts in passing}

    def _start(self, host: Host) -> None:
        if host.node is None and not host.stopped:
            host.start(resumed=False)

    # -- the trace

    def note(self, host: Host, event: object, actions: Actions) -> None:
        """Take note of one step of a host: for the digest, the storm check, and the trace if one is kept."""
        self.events += 1
        amount = len(actions)
        line = _line(self.now, host.index, amount, _kind(type(event).__name__))
        self._digest = zlib.crc32(line, self._digest)
        self.checks.worked(host, amount)
        if self._trace is not None:
            self._trace.append(f"{to_seconds(self.now):12.6f} {host.name}  {event}")
            self._trace += [f"{'':15}  -> {action}" for action in actions]

    def remark(self, text: str) -> None:
        """Add a line of the world's own to the trace."""
        if self._trace is not None:
            self._trace.append(f"{to_seconds(self.now):12.6f} *  {text}")
