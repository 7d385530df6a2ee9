"""How people change which claim guards what, by the rule (docs/safety, "One thing, one claim").

Promises what the rule asks for: every node but one is stopped, and seen to be stopped, before that one is reloaded; the
others start with the new file when it has taken that over. Whoever does not stop in time is killed and swept, as a
service's stop has its patience, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.units import MILLISECOND, Duration
from tests.simulation.configuration import laid_out
from tests.simulation.plan import Claimed

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World

LOOK: Duration = 50 * MILLISECOND


def conform(world: World, host: Host) -> None:
    """Give a node the file that the cluster has today."""
    host.reconfigure(laid_out(host.config, world.claims, host.index))


class Changeover:
    """One change of the whole cluster to other ``claims``; ``last`` is the node that is not stopped."""

    def __init__(self, world: World, last: Host, claims: tuple[Claimed, ...]) -> None:
        self.over = False
        self._world, self._last, self._claims = world, last, claims
        self._others = tuple(host for host in world.hosts if host is not last)
        self._told: set[tuple[str, int]] = set()
        self._changed = False

    def look(self, _: None = None) -> None:
        """Do the next step if it may be done, and look again soon."""
        if self.over:
            return
        for host in () if self._changed else self._others:
            self._stop(host)
        if not self._changed and all(host.stopped for host in self._others):
            self._change()
        if self._changed and (self._last.up_to_date or self._last.powerless):
            self._start()
        else:
            self._world.after(LOOK, self.look, None)

    def hurry(self) -> None:
        """End it now: kill whoever is in the way."""
        if self.over:
            return
        in_the_way = [host for host in self._others if not host.stopped]
        if not self._last.up_to_date:
            in_the_way.append(self._last)
        for host in in_the_way:
            host.finish()
        self._change()
        self._start()

    def _stop(self, host: Host) -> None:
        if host.node is None:
            if not host.stopped and host.powerless:
                host.finish()
        elif (host.name, host.run) not in self._told:
            self._told.add((host.name, host.run))
            host.shut_down()

    def _change(self) -> None:
        self._changed = True
        self._world.claims = self._claims
        self._world.remark(f"now claimed as {', '.join(claim.describe() for claim in self._claims)}")
        for host in self._world.hosts:
            conform(self._world, host)

    def _start(self) -> None:
        self.over = True
        for host in self._others:
            if host.node is None:
                host.start(resumed=False)
