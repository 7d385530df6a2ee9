"""Paces announcements: vrrp_garp_interval, vrrp_gna_interval and garp_group.

Promises: between two messages of one kind that leave by one interface, or by the interfaces of one group, lies its
interval; what has to wait leaves later, in rounds over all addresses. Without an interval everything leaves at once.
What waits is bounded (each address waits once, with the number of its rounds), and is forgotten when its instance lets
go or its gate is found closed. When and how often to announce is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from haagent.config.model import AnnouncePace, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.units import Duration, to_seconds
from haagent.errors import EffectError

Announce: TypeAlias = Callable[[Sequence[VirtualAddress]], EffectError | None]
_Kind: TypeAlias = tuple[object, int]  # an interface or a group, and the IP version


@dataclass(slots=True)
class _Lane:
    """Messages of one kind: who still has how many rounds, and when the next one may leave (the loop's clock)."""

    interval: float
    waiting: dict[tuple[str, VirtualAddress], int] = field(default_factory=dict)
    open_at: float = 0.0
    timer: asyncio.TimerHandle | None = None


class PacedAnnouncer:
    """Stands between those who announce and ``announce``, which sends one round and says whether it was refused.

    All methods belong to the event loop's thread.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, announce: Announce, paces: Iterable[AnnouncePace]
    ) -> None:
        self._loop, self._announce = loop, announce
        self._paces: tuple[AnnouncePace, ...] = ()
        self._lanes: dict[_Kind, _Lane] = {}
        self.reconfigure(paces)

    def reconfigure(self, paces: Iterable[AnnouncePace]) -> None:
        """Use these intervals; what waits for others is forgotten."""
        paces = tuple(paces)
        if paces != self._paces:
            self._clear()
        self._paces = paces

    def announce(self, instance: VrrpInstance, rounds: int) -> None:
        """Announce every address of the instance ``rounds`` times. A round that is refused is the last one."""
        everything = (*instance.addresses, *instance.excluded)
        lanes = {virtual: self._lane(instance, virtual) for virtual in everything} if self._paces else {}
        for virtual, lane in lanes.items():
            if lane is not None:
                key = (instance.name, virtual)
                lane.waiting[key] = max(rounds, lane.waiting.get(key, 0))
        at_once = [virtual for virtual in everything if lanes.get(virtual) is None]
        for _ in range(rounds if at_once else 0):
            if self._announce(at_once) is not None:
                break  # the gate is closed, or the interface is gone; repetitions are planned
        for lane in lanes.values():
            if lane is not None and lane.timer is None:
                self._work(lane)

    def forget(self, instance: str) -> None:
        """Announce nothing more that waits for an instance."""
        for lane in self._lanes.values():
            self._drop(lane, instance)

    def close(self) -> None:
        """Forget what waits. Idempotent."""
        self._clear()

    def _lane(self, instance: VrrpInstance, virtual: VirtualAddress) -> _Lane | None:
        """Return where an address waits, None if it need not wait."""
        device = instance.carrier(virtual.device)
        pace = next((one for one in self._paces if not one.interfaces or device in one.interfaces), None)
        interval: Duration = 0
        if pace is not None:
            interval = pace.garp if virtual.address.version == 4 else pace.gna
        if pace is None or not interval:
            return None
        kind = (pace.interfaces or device, virtual.address.version)
        return self._lanes.setdefault(kind, _Lane(to_seconds(interval)))

    def _work(self, lane: _Lane) -> None:
        """Send the first one that waits if it is time, and come back for the next."""
        lane.timer = None
        now = self._loop.time()
        if lane.waiting and now >= lane.open_at:
            key = next(iter(lane.waiting))
            left = lane.waiting.pop(key) - 1
            lane.open_at = now + lane.interval
            if self._announce([key[1]]) is not None:
                self._drop(lane, key[0])
            elif left:
                lane.waiting[key] = left  # behind the others: the next round
        if lane.waiting:
            lane.timer = self._loop.call_at(lane.open_at, self._work, lane)

    @staticmethod
    def _drop(lane: _Lane, instance: str) -> None:
        for key in [key for key in lane.waiting if key[0] == instance]:
            del lane.waiting[key]

    def _clear(self) -> None:
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        self._lanes.clear()
