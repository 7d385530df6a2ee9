"""Every fault a rehearsal knows: what it is, which scenarios of docs/scenarios.md it plays, what the plan allows it.

A fault is aimed when its turn comes. ``needs`` says in words why a fault cannot be played on a stage, or nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from haagent.core.units import SECOND
from haagent.lab import budget as allow
from haagent.lab.arbiter import breakable
from haagent.lab.budget import Rule
from haagent.lab.namespaces import LabError
from haagent.lab.rehearsal import aiming
from haagent.lab.rehearsal.aiming import Make, after_arbiter, at, foreign, scripts, staged
from haagent.lab.rehearsal.stage import SCRIPTLESS, Stage

Needs = Callable[[Stage], str]


def _always(_stage: Stage) -> str:
    return ""


def _haagent(stage: Stage) -> str:
    return "" if stage.play.kind == "haagent" else f"{stage.play.kind} has no such command"


def _reloads(stage: Stage) -> str:
    return f"SIGHUP means something else to {stage.play.kind}" if stage.play.kind in SCRIPTLESS else ""


def _limits(stage: Stage) -> str:
    return "" if stage.play.kind == "haagent" else f"the limit's signal would end {stage.play.kind}"


def _arbiter(stage: Stage) -> str:
    if stage.servers is None:
        return "there is no arbiter"
    return "" if stage.servers.size else "voting files cannot be taken away from a node of the same machine"


def _members(stage: Stage) -> str:
    few = stage.servers is not None and stage.servers.size < 2
    return _arbiter(stage) or ("the arbiter has one server" if few else "")


def _leader(stage: Stage) -> str:
    return _arbiter(stage) or ("" if breakable(stage.servers) else "a quorum of arbiters has no leader")


def _script(stage: Stage) -> str:
    if stage.play.kind in SCRIPTLESS:
        return f"{stage.play.kind} tracks no scripts"
    if stage.play.real_scripts:
        return "the scripts are real"
    return "" if aiming.tracked_scripts(stage) else "nothing tracks a script"


def _three_nodes(stage: Stage) -> str:
    return "" if len(stage.machines) >= 3 else "takes three nodes"


def _multicast(stage: Stage) -> str:
    first = stage.watched[0]
    instances = next(iter(stage.machines.values())).source.configuration.instances
    if any(one.unicast is not None for one in instances if one.name == first.instance):
        return "adverts are unicast: a foreign router is not listened to"
    return "" if isinstance(first.watch.addresses[0], IPv4Address) else "played over IPv4 only"


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault of the list. ``hold`` scales the usual time it lasts; ``scenarios`` number docs/scenarios.md."""

    name: str
    says: str
    scenarios: tuple[int, ...]
    make: Make
    allow: Rule = allow.nothing
    needs: Needs = _always
    quick: bool = False
    hold: float = 1.0


PROCESSES = (
    Entry("kill", "kill -9 of everything on the MASTER", (13,), at("owner", "kill"), allow.given_up, quick=True),
    Entry("freeze", "SIGSTOP of the MASTER, then SIGCONT", (14,), at("owner", "freeze"), allow.given_up, quick=True),
    Entry("stop", "graceful stop of the MASTER", (28,), at("owner", "stop"), allow.stopped, quick=True),
    Entry("kill-worker", "kill -9 of the MASTER's worker", (13, 30), at("owner", "kill-worker"), allow.given_up),
    Entry("kill-supervisor", "kill -9 of its supervisor", (13,), at("owner", "kill-supervisor"), allow.given_up),
    Entry("restart-at-once", "killed and started again", (30,), at("owner", "restart-at-once"), allow.given_up),
    Entry("kill-other", "kill -9 of a BACKUP", (13,), at("other", "kill")),
    Entry("freeze-short", "SIGSTOP for less than a renewal", (14,), at("owner", "freeze"), allow.given_up, hold=0.03),
    Entry("freeze-lease", "SIGSTOP for about a lease", (14,), at("owner", "freeze"), allow.given_up, hold=0.35),
    Entry("freeze-long", "SIGSTOP for long", (14,), at("owner", "freeze"), allow.given_up, hold=2.5),
    Entry("freeze-other", "SIGSTOP of a BACKUP", (14,), at("other", "freeze")),
    Entry("no-descriptors", "no file or socket can be opened", (16,), at("owner", "no-descriptors"), allow.unplanned, _limits),
    Entry("no-writes", "no file can grow: a full disk", (16,), at("owner", "no-writes"), allow.unplanned, _limits),
    Entry("reload", "SIGHUP of the MASTER", (31,), at("owner", "reload"), needs=_reloads),
    Entry("cold-start", "all nodes started in the same instant", (29,), aiming.cold_start, allow.unplanned),
)  # fmt: skip
NETWORK = (
    Entry("partition", "the MASTER cut from peers and arbiter; clients still reach it", (1, 4), at("owner", "partition"), allow.parted, quick=True),
    Entry("cut-vrrp", "only VRRP lost: the classic split", (1,), at("owner", "cut-vrrp"), quick=True),
    Entry("link-down", "the MASTER's cable pulled", (34,), at("owner", "link-down"), allow.died, quick=True),
    Entry("mute", "the MASTER's adverts lost, its peers' heard", (9,), at("owner", "mute")),
    Entry("deaf", "the peers' adverts do not reach the MASTER", (9,), at("owner", "deaf")),
    Entry("deaf-other", "a BACKUP does not hear the MASTER", (9,), at("other", "deaf")),
    Entry("ring", "every node hears one other only", (11,), aiming.ring, needs=_three_nodes),
    Entry("isolate", "the MASTER cut from everybody, then healed", (4,), at("owner", "isolate"), allow.isolated),
    Entry("cut-lan", "the MASTER's networks dead, carrier up", (4, 9), at("owner", "cut-lan"), allow.unreachable),
    Entry("cut-lan-out", "what the MASTER sends is lost", (9,), at("owner", "cut-lan-out"), allow.unreachable),
    Entry("cut-lan-in", "what the MASTER should get is lost", (9,), at("owner", "cut-lan-in"), allow.unreachable),
    Entry("lose-30", "30 % of packets lost each way", (12,), at("owner", "lose-30"), allow.unplanned),
    Entry("lose-50", "50 % of packets lost each way", (12,), at("owner", "lose-50"), allow.unplanned),
    Entry("corrupt-adverts", "half of the adverts damaged", (12, 35), at("owner", "corrupt-adverts")),
    Entry("duplicate", "everything the MASTER sends arrives twice", (12,), at("owner", "duplicate")),
    Entry("slow-link", "links squeezed to 256 kbit/s", (12,), at("owner", "slow-link"), allow.unplanned),
)  # fmt: skip
ARBITER = (
    Entry("freeze-arbiter", "every member stopped", (5,), at("arbiter", "freeze-arbiter-all"), allow.arbiter_gone, _arbiter, quick=True),
    Entry("cut-arbiter", "the MASTER cut from the arbiter", (2, 10), at("owner", "cut-arbiter"), allow.cut_off, _arbiter),
    Entry("reset-arbiter", "its connections there reset", (10,), at("owner", "reset-arbiter"), allow.cut_off, _arbiter),
    Entry("cut-arbiter-other", "a BACKUP cut from the arbiter", (3,), at("other", "cut-arbiter"), needs=_arbiter),
    Entry("kill-arbiter-member", "kill -9 of one member", (21, 37), at("arbiter", "kill-arbiter-1"), allow.arbiter_gone, _members),
    Entry("freeze-arbiter-member", "one member stopped", (21, 37), at("arbiter", "freeze-arbiter-1"), allow.arbiter_gone, _members),
    Entry("kill-arbiter-majority", "kill -9 of two members", (5, 37), at("arbiter", "kill-arbiter-2"), allow.arbiter_gone, _members),
    Entry("kill-leader-loop", "its leader killed again and again", (21,), at("arbiter", "kill-leader-loop"), allow.unplanned, _leader),
    Entry("wipe-arbiter", "every record deleted", (24,), at("arbiter", "wipe-arbiter"), allow.unplanned, _leader),
    Entry("arbiter-then-peer", "the arbiter stops, then a BACKUP dies", (6,),
          after_arbiter("arbiter-then-peer", "kill -9 of a BACKUP", at("other", "kill")), allow.unplanned, _arbiter),
    Entry("arbiter-then-restart", "the arbiter stops, then the MASTER restarts", (8,),
          after_arbiter("arbiter-then-restart", "kill and start of the MASTER", at("owner", "restart-at-once")), allow.unplanned, _arbiter),
    Entry("arbiter-then-split", "the arbiter stops, then VRRP is lost", (1, 5),
          after_arbiter("arbiter-then-split", "VRRP lost", at("owner", "cut-vrrp")), allow.arbiter_gone, _arbiter),
)  # fmt: skip
OPERATORS = (
    Entry("switchover", "handed over on command", (28,), aiming.switchover, allow.handed, _haagent),
    Entry("stop-then-kill", "a handover to a node that dies half way", (28,),
          staged("stop-then-kill", "stop of the MASTER, kill of the next one", (at("owner", "stop"), SECOND), (at("other", "kill"), 0)), allow.unplanned),
    Entry("pause-and-kill", "every node paused, then the MASTER killed", (32,),
          staged("pause-and-kill", "haagent pause everywhere, kill of the MASTER", (aiming.paused, SECOND // 2), (at("owner", "kill"), 0)), allow.unplanned, _haagent),
    Entry("delete-address", "the address removed by hand", (34,), aiming.delete_address, allow.unplanned),
    Entry("add-address", "the address added by hand on a BACKUP", (34,), aiming.add_address),
)  # fmt: skip
HEALTH = (
    Entry("script-fails", "a tracked script fails on the MASTER", (33,), scripts("script-fails", "1", "tracked scripts exit 1"), allow.stopped, _script, quick=True),
    Entry("script-hangs", "a tracked script hangs on the MASTER", (33,), scripts("script-hangs", "hang", "tracked scripts hang"), allow.unplanned, _script),
    Entry("script-fails-everywhere", "it fails on every node", (33,), scripts("script-fails-everywhere", "1", "tracked scripts exit 1", everywhere=True), allow.unplanned, _script),
    Entry("interface-down", "the MASTER's interface set down", (34,), at("owner", "interface-down"), allow.died),
    Entry("link-flap", "the MASTER's cable flaps", (34,), at("owner", "link-flap"), allow.unplanned),
)  # fmt: skip
NEIGHBOURS = (
    Entry("no-announcements", "gratuitous ARP and NA lost while the MASTER stops", (36,),
          staged("no-announcements", "announcements lost, stop of the MASTER", (aiming.no_announcements, 0), (at("owner", "stop"), 0)), allow.unplanned),
    Entry("foreign-lower", "a foreign router of the lowest priority", (35,), foreign("foreign-lower", 1), needs=_multicast),
    Entry("foreign-higher", "a foreign router of the highest priority", (35,), foreign("foreign-higher", 254), allow.unplanned, _multicast),
    Entry("duplicate-priority", "a foreign router with the MASTER's priority", (35,), foreign("duplicate-priority", None), allow.unplanned, _multicast),
    Entry("advert-flood", "500 damaged adverts a second", (35,), foreign("advert-flood", 254, flood=True), needs=_multicast),
)  # fmt: skip
CATALOGUE: tuple[Entry, ...] = (*PROCESSES, *NETWORK, *ARBITER, *OPERATORS, *HEALTH, *NEIGHBOURS)


def entry(name: str) -> Entry:
    """Return a fault by name; LabError lists the accepted ones."""
    for one in CATALOGUE:
        if one.name == name:
            return one
    raise LabError(f"no fault {name!r}; there are {', '.join(one.name for one in CATALOGUE)}")


def rounds(entries: Sequence[Entry], repeat: int, seed: int | None) -> Iterator[Entry]:
    """Yield ``entries`` ``repeat`` times; with a seed, every round in another order, the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(repeat):
        order = list(entries)
        if seed is not None:
            chance.shuffle(order)
        yield from order
