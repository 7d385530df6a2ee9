"""One host: an agent that runs the real core as the worker does, and what can be done to both.

Stands in for haagent/agent/worker.py: reads the clock once per event, performs actions in order, keeps one timer,
renews address lifetimes, and begins a run as new or as resumed. An agent may die or stall between any two actions.
"""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from haagent.agent.succession import LETTING_GO, Layout, waiting
from haagent.core.actions import (
    Action,
    Actions,
    AnnounceAddresses,
    CloseGate,
    ExtendGate,
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
    AddressVanished,
    ClockDoubted,
    DeadlineReached,
    EffectFailed,
    Event,
    LinkChanged,
    PrimaryAddressChanged,
    Shutdown,
    Startup,
    TrackResult,
)
from haagent.core.node import Node
from haagent.core.reports import Stopped
from haagent.core.units import MICROSECOND, MILLISECOND, SECOND, Instant, Now
from haagent.effects.clock import Reading
from tests.simulation.chance import Chance
from tests.simulation.clocks import AgentClock, HostClocks
from tests.simulation.configuration import HostConfig, node_parameters
from tests.simulation.kernel import Kernel
from tests.simulation.layouts import thing_of

if TYPE_CHECKING:
    from tests.simulation.world import World

INTERFACE, TRACKER = "eth0", "script"
HOUSEKEEPING = SECOND
DEADLINE = DeadlineReached()


class Host:
    """A host of the cluster; see the module."""

    def __init__(self, world: World, index: int, config: HostConfig, clocks: HostClocks) -> None:
        self.world, self.index, self.name, self.clocks = world, index, config.name, clocks
        self.config = config  # what the file says
        self.names: dict[str, str] = {}  # of the things whose instances are not called so
        self.kernel = Kernel()
        self._layout: Layout = {}  # what the agent has taken over of the file
        self.node: Node | None = None
        self.run = 0  # grows with every worker: answers to a dead one are nobody's
        self.incarnation = 0
        self.held_up = 0  # how many things keep the agent from running
        self.halted = 0  # how many things stop the whole machine
        self.paused_until: Instant = -1  # true time of the last end of a pause of the virtual machine
        self.link, self.passes_tracker = True, True
        self.refuses_addresses = 0
        self.stopped = False
        self._reload = False
        self.fuse: int | None = None
        self.fuse_stalls: int | None = None  # a stall's duration; None: the fuse kills
        self._chance: Chance = world.chance(f"host {index}")
        self._clock = AgentClock(0, 0)
        self._mailbox: deque[Event] = deque()
        self._rest: deque[tuple[Action, Reading]] = deque()
        self._installed: set[str] = set()
        self._armed: Instant | None = None
        self._armed_for: Instant | None = None  # the BOOTTIME that ``_armed`` was worked out from
        self._timer = 0
        self._address = IPv4Address(f"10.0.0.{10 + index}")

    # -- life

    def boot(self) -> Instant:
        return self.clocks.boot(self.world.now)

    def start(self, *, resumed: bool) -> None:
        """Start a worker: the next one of this run, or the first one of a new run, which closes and sweeps first."""
        assert self.node is None
        now, kernel = self.world.now, self.kernel
        resumed = resumed and self.incarnation > 0
        self.run += 1
        self.stopped = False
        if not resumed:
            self.incarnation += 1
            kernel.open.clear()
        self._guard(self.config.layout(), {})
        self._clock = AgentClock(self.clocks.boot(now), self.clocks.raw(now))
        resume = dict(kernel.open) if resumed and self.boot() < kernel.deadline else {}
        if resume:  # as agent.remains does
            kernel.deadline = min(kernel.deadline, self.boot() + self.config.lease - self.config.guard)
        self._installed.clear()
        self._armed = self._armed_for = None
        self.node = Node(node_parameters(self.config, f"r{self.incarnation}", resumed=resumed, resume=resume))
        self._sweep(resume)
        run = self.run
        for name in self.config.instances():
            self.deliver_to(run, PrimaryAddressChanged(name, self._address))
        self.deliver_to(run, LinkChanged(INTERFACE, self.link))
        self.deliver_to(run, Startup())
        self._track(run)
        self._keep_house(run)

    def _sweep(self, resume: dict[str, int]) -> None:
        configured = {claim.name for claim in self.config.claims}
        for name in [name for name in self.kernel.open if name not in configured]:
            del self.kernel.open[
                name
            ]  # taken to be the gate's own business: it knows what it no longer guards
        if not resume:
            self.kernel.addresses.clear()
            return
        for claim in self.config.claims:
            if claim.name not in resume:
                self.kernel.open.pop(claim.name, None)
                for member in claim.members:
                    self.kernel.addresses.pop(member, None)

    def die(self) -> None:
        """End the agent at once; the kernel keeps what it has."""
        self.node = None
        self.run += 1
        self.fuse = None
        self._mailbox.clear()
        self._rest.clear()
        self.world.note(self, "the agent died", ())

    def finish(self) -> None:
        """What the worker does after ``Stopped``: close, sweep, end."""
        self.kernel.open.clear()
        self.kernel.addresses.clear()
        self.die()
        self.stopped = True

    def shut_down(self) -> None:
        self.deliver(Shutdown())

    # -- being kept from running

    def hold(self) -> None:
        """Stop the agent where it is; the clocks run on."""
        self.held_up += 1

    def let_go(self) -> None:
        """Let the agent run again: first what was left of a tuple, then what has piled up."""
        self.held_up = max(0, self.held_up - 1)
        if not self._runs():
            return
        while self._rest and self._runs():
            action, reading = self._rest.popleft()
            self._one(action, reading)
        while self._mailbox and self._runs():
            self._feed(self._mailbox.popleft())
        if self._reload:
            self.reconfigure(self.config)
        self._wake(self._timer)  # does nothing if it does not run any more

    def halt(self, *, boot_runs: bool) -> None:
        """Stop the whole machine: suspend (BOOTTIME counts on) or a hypervisor's pause (both clocks stand)."""
        self.halted += 1
        self.hold()
        ppm = self.clocks.boot_ppm if boot_runs else 0
        self.clocks.run(self.world.now, boot_ppm=ppm, raw_ppm=0)
        self._armed_for = None

    def go_on(self, boot_ppm: int, raw_ppm: int) -> None:
        """End a suspend or pause."""
        self.clocks.run(self.world.now, boot_ppm=boot_ppm, raw_ppm=raw_ppm)
        self._armed_for = None
        self.halted -= 1
        self.world.checks.gate_changed(self)
        self.let_go()

    def slew(self, boot_ppm: int) -> None:
        """Let NTP change the rate of BOOTTIME."""
        if not self.halted:
            self.clocks.run(self.world.now, boot_ppm=boot_ppm, raw_ppm=self.clocks.raw_ppm)
            self._armed = self._armed_for = None
            if self._runs():
                self._rearm(self._read())

    # -- events in

    def deliver(self, event: Event) -> None:
        """Hand an event to whatever agent runs now."""
        if self.node is None:
            return
        if self.held_up:
            self._mailbox.append(event)
        else:
            self._feed(event)

    def deliver_to(self, run: int, event: Event) -> None:
        """Hand an event to one worker, if it still runs."""
        if run == self.run:
            self.deliver(event)

    def _read(self) -> Reading:
        now = self.world.now
        return self._clock.advance(self.clocks.boot(now), self.clocks.raw(now))

    def _feed(self, event: Event) -> None:
        reading = self._read()
        self._handle(event, reading)
        if reading.jump and self._runs():
            self._handle(ClockDoubted("the clocks parted"), reading)
        if self._runs():
            self._rearm(reading)

    def _runs(self) -> bool:
        return self.node is not None and not self.held_up

    def _handle(self, event: Event, reading: Reading) -> None:
        node = self.node
        assert node is not None
        actions = node.handle(event, reading.now)
        self.world.note(self, event, actions)
        self.perform(actions, reading)

    def reconfigure(self, config: HostConfig) -> None:
        """Write another file and reload: what must wait by the agent's own rule is left out, and comes with a next reload."""
        self.config = config
        if self.node is None:
            return  # read at the next start
        if self.held_up:
            self._reload = True
            return
        self._reload = False
        reading = self._read()
        later = waiting(self._layout, config.layout())
        if later:
            config = config.lacking(later)
            self.world.after(LETTING_GO, self._reload_again, self.run)
        before = self._layout
        self._guard(config.layout(), before)
        self.world.checks.gate_changed(self)
        resumed = self.node.session.parameters.resumed
        parameters = node_parameters(config, f"r{self.incarnation}", resumed=resumed, resume={})
        actions = self.node.reconfigure(parameters, reading.now)
        self.world.note(self, "reload", actions)
        self.perform(actions, reading)
        runs = self._runs()
        for name in config.instances():
            if runs or name not in before:
                self.deliver(PrimaryAddressChanged(name, self._address))

    def _reload_again(self, run: int) -> None:
        if run == self.run:
            self.reconfigure(self.config)

    def _guard(self, layout: Layout, before: Layout) -> None:
        """Let the gate guard what is configured now, and what leaves."""
        leaving = {name: guarded for name, guarded in before.items() if name not in layout}
        self.world.checks.guarded_once(self, layout, leaving)
        self._layout = layout
        self.names = {thing: name for name in layout if (thing := thing_of(name)) != name}
        self.kernel.guard(layout, leaving)

    def claim_of(self, instance: str) -> str:
        """Return the claim under which the agent has an instance, also one that leaves; empty if there is none."""
        for group in () if self.node is None else self.node.groups.values():
            if any(member.name == instance for member in group.members):
                return group.name
        return ""

    @property
    def up_to_date(self) -> bool:
        """Tell whether the agent runs and has done what its file asked for last."""
        return self._runs() and not self._reload and not self._rest

    @property
    def powerless(self) -> bool:
        """Tell whether nobody runs here, and no gate that somebody has left passes anything."""
        return self.node is None and (not self.kernel.open or self.boot() >= self.kernel.deadline)

    # -- time

    def _rearm(self, reading: Reading) -> None:
        assert self.node is not None
        deadline = self.node.next_deadline()
        if deadline is None:
            self._armed = self._armed_for = None
            return
        boottime = reading.boottime(deadline)
        if boottime == self._armed_for:
            return
        at = self.clocks.true_at(boottime)
        if at is None or at == self._armed:
            return
        self._armed_for = boottime
        self._armed = at
        self._timer += 1
        late = 30 * MICROSECOND + self._chance.below(300 * MICROSECOND)
        if self._chance.happens(0.01):
            late += self._chance.below(8 * MILLISECOND)
        self.world.at(max(at, self.world.now) + late, self._wake, self._timer)

    def _wake(self, timer: int) -> None:
        if timer != self._timer or not self._runs():
            return
        assert self.node is not None
        self._armed = self._armed_for = None
        reading = self._read()
        deadline = self.node.next_deadline()
        late = 0 if deadline is None else reading.now.fast - deadline
        if late > max(self.config.guard, self.config.renew // 2):
            self._handle(ClockDoubted("woke late"), reading)
        if not self._runs():
            return
        if deadline is not None and late >= 0:
            self._handle(DEADLINE, reading)
        if self._runs():
            self._rearm(reading)

    def _keep_house(self, run: int) -> None:
        if run != self.run:
            return
        if self._runs():
            self._refresh()
        self.world.after(HOUSEKEEPING, self._keep_house, run)

    def _refresh(self) -> None:
        assert self.node is not None
        if not self.node.session.live(self._read().now):
            return
        for instance in sorted(self._installed):
            if self.kernel.has(instance, self.boot()):
                self.world.checks.address_lent(self, instance)
                self._lend(instance)
            else:
                self.vanish(instance)

    def vanish(self, instance: str) -> None:
        """An address is gone that the agent had installed."""
        self.kernel.addresses.pop(instance, None)
        if instance in self._installed:
            self._installed.discard(instance)
            self.deliver(AddressVanished(instance, "192.0.2.1"))

    def now(self) -> Now:
        """Return the agent's time."""
        return self._read().now

    def _lend(self, instance: str) -> None:
        self.kernel.addresses[instance] = self.boot() + self.config.lifetime

    def _track(self, run: int) -> None:
        if run == self.run:
            self.deliver(TrackResult(TRACKER, self.passes_tracker))
            self.world.after(500 * MILLISECOND, self._track, run)

    def set_link(self, *, up: bool) -> None:
        if up is not self.link:
            self.link = up
            self.deliver(LinkChanged(INTERFACE, up))

    def change_primary(self, address: IPv4Address | None) -> None:
        for name in self.config.instances():
            self.deliver(PrimaryAddressChanged(name, address))

    # -- actions out

    def perform(self, actions: Actions, reading: Reading) -> None:
        """Perform a tuple in order, up to where the agent is held up or dies."""
        for number, action in enumerate(actions):
            if self.fuse is not None:
                if self.fuse <= 0:
                    self._blow(actions[number:], reading)
                    return
                self.fuse -= 1
            self._one(action, reading)
            if self.node is None:
                return

    def _blow(self, rest: Actions, reading: Reading) -> None:
        self.fuse, stall = None, self.fuse_stalls
        if stall is None:
            self.die()
            return
        self.fuse_stalls = None
        self._rest.extend((action, reading) for action in rest)
        self.hold()
        self.world.note(self, "the agent stalls", rest)
        self.world.at(min(self.world.now + stall, self.world.plan.heal), self._unstall, None)

    def _unstall(self, _: None) -> None:
        self.let_go()

    def _one(self, action: Action, reading: Reading) -> None:
        if isinstance(action, SendAdvertisement):  # the most frequent first
            self.world.lan.advertise(self, action.instance, action.priority, self._address)
        elif isinstance(action, SendToPeer):
            self.world.peers.send(self, action.peer, action.body)
        elif isinstance(action, SwapRegister | ReadRegister):
            self._request(action)
        elif isinstance(action, ExtendGate | OpenGate | CloseGate):
            self._gate(action, reading)
        else:
            self._rarely(action)

    def _request(self, action: ReadRegister | SwapRegister) -> None:
        if isinstance(action, SwapRegister):
            self.world.checks.swap_sent(self, action)
        self.world.arbiter.request(self, action)

    def _gate(self, action: ExtendGate | OpenGate | CloseGate, reading: Reading) -> None:
        kernel, checks = self.kernel, self.world.checks
        match action:
            case ExtendGate(until):
                kernel.deadline = max(0, reading.boottime(until)) if until else 0
                checks.gate_changed(self)
            case OpenGate(claim, epoch):
                kernel.open[claim] = epoch
                checks.gate_opened(self, claim, epoch)
            case CloseGate(claim):
                kernel.open.pop(claim, None)

    def _rarely(self, action: Action) -> None:
        match action:
            case AnnounceAddresses(instance):
                self.world.lan.announce(self, instance)
            case InstallAddresses(instance):
                self._install(instance)
            case RemoveAddresses(instance):
                self._remove(instance)
            case Tell(Stopped()):
                self.finish()

    def _install(self, instance: str) -> None:
        if self.refuses_addresses:
            self._later(EffectFailed(instance, "InstallAddresses", "refused"))
            return
        self._installed.add(instance)
        self._lend(instance)
        self._later(AddressesInstalled(instance))

    def _remove(self, instance: str) -> None:
        if self.refuses_addresses:
            self._later(EffectFailed(instance, "RemoveAddresses", "refused"))
            return
        self._installed.discard(instance)
        self.kernel.addresses.pop(instance, None)
        self._later(AddressesRemoved(instance))

    def _later(self, event: Event) -> None:
        run = self.run
        delay = 20 * MICROSECOND + self._chance.below(200 * MICROSECOND)
        self.world.after(delay, self._answer, (run, event))

    def _answer(self, answer: tuple[int, Event]) -> None:
        self.deliver_to(*answer)
