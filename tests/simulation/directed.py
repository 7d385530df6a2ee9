"""Directed runs: the real core led into one situation, step by step, where seeds would have to be lucky.

``stopped_holder`` is the situation for the rules of failsafe: a hypervisor freezes the holder together with its
clocks, the other node waits until its promise is over, ends the holder's session and takes the claim; and just then
the holder wakes and asks for the next promise. EXCL may be broken for R and a round trip after such a pause
(docs/safety), and no longer. Every run is one moment of waking; a sweep tries them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest.mock import patch

from haagent.core.actions import ReadRegister, SwapRegister
from haagent.core.claim import LOOK_AGAIN
from haagent.core.events import PeerHeard, SwitchoverRequested
from haagent.core.failsafe import PromiseRequest
from haagent.core.records import ClaimRecord, SessionRecord
from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from tests.simulation.checks import Broken
from tests.simulation.host import Host
from tests.simulation.plan import PROFILES, Claimed, Cluster, Fault, Network, Plan, Store
from tests.simulation.store import Request
from tests.simulation.world import Outcome, World

CLAIM, HOLDER_SESSION = "web", "sessions/a"
LEASE: Duration = SECOND
RENEW: Duration = 250 * MILLISECOND
ONE_WAY: Duration = 5 * MILLISECOND  # to the arbiter
STEP: Duration = MILLISECOND
SWEEP: Duration = 2 * MILLISECOND
ASKS_AFTER: Duration = RENEW * 6 // 10  # the next round of promises, counted from the holder's waking
LONGEST_PAUSE: Duration = 10 * SECOND
WATCHED: Duration = 2 * LEASE

Drive = Callable[[World], None]


def two_nodes(*, electors: bool, profile: str) -> Plan:
    """Return a plan without faults: a is better than b, nothing is noisy, every way to the arbiter takes as long."""
    quick = Network(50_000, 100_000)
    cluster = Cluster(
        nodes=2,
        version=3,
        advert=100 * MILLISECOND,
        lease=LEASE,
        renew=RENEW,
        guard=50 * MILLISECOND,
        claims=(Claimed(CLAIM, (CLAIM,), (200, 100), sync=False),),
        electors=electors,
        preempt=False,
        preempt_delay=0,
        lan=quick,
        peers=quick,
        store=Store(ONE_WAY, ONE_WAY),
        boot_ppm=(1_000_000, 1_000_000),
        raw_ppm=(1_000_000, 1_000_000),
    )
    return Plan(0, PROFILES[profile], cluster, (), heal=3600 * SECOND, settled=3600 * SECOND, patient=True)


def direct(plan: Plan, drive: Drive) -> Outcome:
    """Let ``drive`` lead a new world; return the promise it broke, if any."""
    world = World(plan)
    check = text = ""
    try:
        drive(world)
    except Broken as broken:
        check, text = broken.check, str(broken)
    return Outcome(plan.seed, check, text, world.now, digest=0, events=world.events)


def start_all(world: World) -> None:
    """Start the agents, a first, and play until a has been MASTER for a while."""
    for host in world.hosts:
        host.start(resumed=False)
        world.play(world.now + 4 * SECOND)
    assert [host.name for host in world.checks.passing(CLAIM)] == ["a"], "a was to be MASTER"


# -- a holder whose clocks stand still


def stopped_holder(moment: str, *, restarts: bool = False) -> Iterator[Outcome]:
    """Yield one run for every time at which the holder's request may meet the other node's ``moment``.

    ``moment`` is "end" (the holder's session) or "take" (the claim). ``restarts``: the other node is killed a moment
    after it has answered, and a new run of it begins at once.
    """
    plan = two_nodes(electors=True, profile="pauses")
    dry = World(plan)
    _stop(dry, dry.now + LONGEST_PAUSE, undisturbed=True)
    applied = _applied(dry, moment)
    for asked in range(applied - 3 * ONE_WAY, applied + 2 * ONE_WAY, SWEEP):
        yield direct(plan, lambda world, asked=asked: _wake(world, asked, restarts=restarts))  # type: ignore[misc]


def _stop(world: World, wakes: Instant, *, undisturbed: bool = False) -> None:
    """Freeze the holder ``ASKS_AFTER`` before its next request, and not long after it wrote to the arbiter.

    The nodes hear no adverts of each other, and the arbiter's hints are lost: both would end the doubt sooner.
    """
    start_all(world)
    a = world.hosts[0]
    assert a.node is not None
    _next_write(world)
    world.play(world.now + 2 * ONE_WAY)
    while not -STEP < (a.node.petitioner.next_deadline() or 0) - a.now().fast - ASKS_AFTER <= 0:
        world.play(world.now + STEP)
    world.lan.cut("a", "b", 1)
    world.lan.cut("b", "a", 1)
    world.arbiter.manner = replace(world.arbiter.manner, deaf=1.0)
    wakes = world.now + LONGEST_PAUSE if undisturbed else wakes
    world.trouble.begin(Fault(world.now, "vm_pause", wakes - world.now, node=0))
    world.play(wakes - STEP if undisturbed else wakes)


def _wake(world: World, asked: Instant, *, restarts: bool) -> None:
    _stop(world, asked - ASKS_AFTER)
    if restarts:
        world.play(asked + 2 * ONE_WAY)
        world.hosts[1].die()
        world.hosts[1].start(resumed=False)
    world.play(asked + WATCHED)


def _applied(world: World, moment: str) -> Instant:
    """Return when the other node's swap took effect."""
    history = world.arbiter.registers.history
    if moment == "end":
        ended = (at for at, r in history[HOLDER_SESSION] if r and SessionRecord.decode(r.value).ended)
        return next(ended)
    claims = (
        (at, ClaimRecord.decode(record.value))
        for at, record in history[f"claims/{CLAIM}"]
        if record is not None
    )
    return next(at for at, claim in claims if claim.holder is not None and claim.holder.node == "b")


# -- a promise that comes too late


def late_promise() -> Iterator[Outcome]:
    """Yield one run: a holder's last request is under way for so long that the claim has moved on meanwhile.

    The other node has ended the session, has held the claim and released it; it may promise. The promise is whole
    while the holder is stopped, after its deadline: nothing may pass under its old epoch any more.
    """
    yield direct(two_nodes(electors=True, profile="failsafe"), _promise_late)


def _promise_late(world: World) -> None:
    _let_b_want(world)
    a, b = world.hosts
    assert a.node is not None
    _next_round(world)
    world.trouble.begin(Fault(world.now, "cut_arbiter", 4 * LEASE, node=0, word="both"))
    for pair in (("a", "b"), ("b", "a")):
        world.peers.cut(*pair, 1)
    for _ in range(3):
        _next_round(world)
    late = PromiseRequest(a.node.session.holder, a.node.petitioner._number, (CLAIM,), LEASE, (1,))
    a.hold()
    for pair in (("a", "b"), ("b", "a")):
        world.peers.cut(*pair, -1)
    _play_until(world, lambda: CLAIM in b.kernel.open)
    b.deliver(SwitchoverRequested(CLAIM, None))
    _play_until(world, lambda: CLAIM not in b.kernel.open)
    world.play(world.now + 4 * ONE_WAY)
    b.deliver(PeerHeard("a", late))
    world.play(world.now + STEP)
    a._mailbox.reverse()  # nobody promises in which order a loop takes what has piled up: the answer first
    with patch.object(world.checks, "gate_changed", _fenced):
        a.let_go()


def _fenced(host: Host) -> None:
    if host.kernel.open.get(CLAIM) == 1 and host.kernel.passes(CLAIM, host.boot()):
        raise Broken("fence", f"{host.name} passes traffic under epoch 1 after epoch 2 was held and released")


def _next_round(world: World) -> None:
    """Play until the holder has just asked for promises again."""
    node = world.hosts[0].node
    assert node is not None
    number = node.petitioner._number
    _play_until(world, lambda: node.petitioner._number > number)


def _play_until(world: World, true: Callable[[], bool], within: Duration = 5 * LEASE) -> None:
    for _ in range(within // STEP):
        if true():
            return
        world.play(world.now + STEP)
    raise AssertionError("the situation has not come about")


# -- a lease that was made shorter


def shortened_lease(*, reloaded: str) -> Iterator[Outcome]:
    """Yield one run: the holder's file says a shorter lease, its worker dies, and the next one is stopped at its first write.

    ``reloaded`` is who took the file over with a reload before that: the "first" worker, the "next" one, or "nobody". The
    other node has the short lease all along and hears no adverts; the gate was opened under the long one.
    """
    yield direct(two_nodes(electors=False, profile="restarts"), lambda world: _shorten(world, reloaded))


def _shorten(world: World, reloaded: str) -> None:
    _let_b_want(world)
    a, b = world.hosts
    long, short = a.config.with_lease(10 * LEASE), a.config
    a.reconfigure(long)
    world.play(world.now + 2 * LEASE)
    _next_write(world)
    world.play(world.now + 2 * ONE_WAY)
    if reloaded == "first":
        a.reconfigure(short)
        world.play(world.now + STEP)
    assert a.kernel.deadline - a.boot() > 8 * LEASE
    a.config = long if reloaded == "next" else short
    a.die()
    a.start(resumed=True)
    if reloaded == "next":
        a.reconfigure(short)
    _next_write(world)
    a.hold()
    _play_until(world, lambda: CLAIM in b.kernel.open, 20 * LEASE)


def _next_write(world: World) -> None:
    """Play until the holder's next write has taken effect; its answer is still under way."""
    written = len(world.arbiter.registers.history[HOLDER_SESSION])
    _play_until(world, lambda: len(world.arbiter.registers.history[HOLDER_SESSION]) > written)


# -- records that are lost


def wiped_arbiter() -> Iterator[Outcome]:
    """Yield one run: the arbiter loses everything under a holder that is cut off from it, its lease still running."""
    yield direct(two_nodes(electors=False, profile="data loss"), _wipe)


def _wipe(world: World) -> None:
    _let_b_want(world)
    world.trouble.begin(Fault(world.now, "cut_arbiter", WATCHED, node=0, word="both"))
    world.trouble.begin(Fault(world.now, "wipe", node=0))
    world.play(world.now + WATCHED)


def deleted_claim(*, blind: Duration) -> Iterator[Outcome]:
    """Yield one run: somebody deletes the claim's record alone, and the hint does not reach the holder.

    The holder's renewals go on, and its session names the claim. For ``blind`` no answer to its looks reaches it; the
    address must stay with it for so long, and come back within one more look, by itself, after that.
    """
    yield direct(two_nodes(electors=False, profile="data loss"), lambda world: _delete(world, blind))


def _delete(world: World, blind: Duration) -> None:
    _let_b_want(world)
    a = world.hosts[0]
    assert a.node is not None
    claim = a.node.groups[CLAIM].claim
    while (claim.next_deadline() or 0) - a.now().fast > LOOK_AGAIN // 2:
        world.play(world.now + 10 * MILLISECOND)
    _deafen(world)
    world.arbiter.registers.put(claim.register, None, world.now, "wipe")
    with patch.object(world.arbiter, "request", _without_looks(world, claim.register)):
        world.play(world.now + blind)
        _passes(world, "a")
    world.play(world.now + LOOK_AGAIN + 4 * LEASE)
    _passes(world, "a", "b")
    assert claim.register in world.arbiter.registers.now


def _without_looks(world: World, register: str) -> Callable[[Host, ReadRegister | SwapRegister], None]:
    """Return a way to the arbiter on which a's reads of one register are lost, and nothing else."""
    original = world.arbiter.request

    def request(host: Host, action: ReadRegister | SwapRegister) -> None:
        if host.name == "a" and isinstance(action, ReadRegister) and action.name == register:
            world.after(RENEW, world.arbiter._give_up, Request(host, host.run, action))
        else:
            original(host, action)

    return request


def _passes(world: World, *names: str) -> None:
    passing = [host.name for host in world.checks.passing(CLAIM)]
    if len(passing) != 1 or passing[0] not in names:
        raise Broken("availability", f"{passing} pass traffic, it was to be one of {names}")


def _let_b_want(world: World) -> None:
    start_all(world)
    world.lan.cut("a", "b", 1)
    world.lan.cut("b", "a", 1)
    world.play(world.now + LEASE)


def _deafen(world: World) -> None:
    """For a moment, nothing from the arbiter reaches a: no hint, no answer."""
    world.trouble.begin(Fault(world.now, "cut_arbiter", 10 * ONE_WAY, node=0, word="down"))
