"""The worker: one event loop that feeds the core and performs what it asks.

Four steps, again and again: take one event or the deadline, read the clock once, ``handle``, perform in order,
re-arm the one timer. Nothing here decides anything about VRRP, claims or leases; an error that is nobody's
business crashes the worker, which leaves the gate to its deadline and the rest to the supervisor.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from typing import Any, assert_never

from haagent.agent.commands import CHANGING, Commands
from haagent.agent.companions import Companions
from haagent.agent.dumps import Dumps
from haagent.agent.gatekeeper import Gatekeeper
from haagent.agent.housekeeping import Housekeeping
from haagent.agent.parameters import (
    Run,
    Timing,
    arbitrated,
    carries_virtual_mac,
    guards,
    host_settings,
    kept_for,
    link_delays,
    node_parameters,
    peers,
    timing,
    tracked_interfaces,
)
from haagent.agent.recordings import about, codec
from haagent.agent.reloading import Reloader
from haagent.agent.remains import Remains
from haagent.agent.sources import Sources
from haagent.agent.unclaimed import UnclaimedMasters
from haagent.config.model import ArbiterConfig, Configuration, VrrpInstance
from haagent.control.server import ControlServer
from haagent.control.snapshot import socket_path
from haagent.core.actions import (
    Action,
    Actions,
    AnnounceAddresses,
    AskVeto,
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
    ClockDoubted,
    DeadlineReached,
    Event,
    LinkChanged,
    PrimaryAddressChanged,
    Shutdown,
    Startup,
)
from haagent.core.node import Node
from haagent.core.parameters import NodeParameters
from haagent.core.reports import Report, Stopped
from haagent.core.units import to_seconds
from haagent.effects.accept_filter import AcceptFilter
from haagent.effects.addresses import Addresses
from haagent.effects.announce_pace import PacedAnnouncer
from haagent.effects.announcements import AnnouncementListener, Announcer
from haagent.effects.arbitration import Arbitration, arbiter_options
from haagent.effects.clock import Clock, Reading
from haagent.effects.gate import Gate, open_gate
from haagent.effects.host_settings import HostSettings
from haagent.effects.journal import Journal
from haagent.effects.link_delays import LinkDelays
from haagent.effects.notify import Notifier
from haagent.effects.peers import Peers
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.effects.recorder import Recorder
from haagent.effects.routes import Routes
from haagent.effects.scripts import TrackScripts
from haagent.effects.sockets import VrrpSockets
from haagent.effects.systemd import ServiceManager
from haagent.effects.timer import Timer
from haagent.effects.veto_scripts import VetoScripts
from haagent.effects.watch import NetworkWatch
from haagent.errors import HaagentError

LOG = logging.getLogger("haagent.agent")
STOP_PATIENCE = 3.0  # seconds for the arbiter to take the claims back at a clean stop


class Worker:
    """One worker of one run. ``start``, then ``finished`` is set when a clean stop is done.

    ``reload_front`` has the front, the supervisor's other child, read the configuration again.
    """

    def __init__(
        self, sources: Sources, configuration: Configuration, run: Run, reload_front: Callable[[], object]
    ) -> None:
        self.sources, self.configuration, self.run = sources, configuration, run
        self.reload_front = reload_front
        self.loop = asyncio.get_running_loop()
        self.finished = asyncio.Event()
        self.reloader = Reloader(self)
        self.clock = Clock()
        self.started_boot = self.clock.read().boot
        self.timing: Timing = timing(configuration)
        self.service = ServiceManager()
        self.gate: Gate = open_gate(guards(configuration), mode=configuration.daemon.gate, keep=run.resumed)
        self.gatekeeper = Gatekeeper(self)
        self.timer = Timer(self.loop, self._deadline)
        self.addresses = Addresses(self.loop, self.deliver)
        self.sockets = VrrpSockets(self.loop, self.deliver)
        self.announcer = Announcer()
        self.paced = PacedAnnouncer(self.loop, self.announcer.announce, configuration.announce_paces)
        self.listener = AnnouncementListener(self.loop, self.deliver)
        self.link_delays = LinkDelays(self.deliver, link_delays(configuration))
        self.watch = NetworkWatch(self.link_delays.take, self.addresses)
        self.journal = Journal(frozenset(script.name for script in configuration.scripts))
        self.notifier = Notifier(configuration, run.node, self.tell)
        self.vetoes = VetoScripts(configuration, run.node, self.deliver)
        self.scripts = TrackScripts(self.deliver, self.tell)
        self.dumps = Dumps(self)
        self.routes = Routes(configuration, self.tell)
        self.settings = HostSettings()
        self.accept_filter = AcceptFilter()
        self.peers = Peers(self.loop, run.node, self.deliver, self.tell)
        self.companions = Companions(configuration, run.node, self.peers.heard, self.deliver, self.tell)
        self.arbitration: Arbitration | None = None
        self.control: ControlServer | None = None
        self.instances = {instance.name: instance for instance in configuration.instances}
        self.unclaimed = UnclaimedMasters()
        self.remains = Remains(self)
        parameters = node_parameters(configuration, run, self.remains.resumable())
        self.node = Node(parameters)
        self.recorder = self._open_recorder(parameters)
        self.housekeeping = Housekeeping(self)

    # -- life

    async def start(self) -> None:
        """Take over or sweep what an earlier run left, then begin."""
        self.addresses.reconfigure(self.configuration.instances)
        self.remains.sweep()
        self.routes.start()
        self.settings.hold(host_settings(self.configuration))
        self.accept_filter.reconfigure(self.configuration.instances)
        self.sockets.reconfigure(self.configuration.instances)
        self.listener.reconfigure(self.configuration.instances)
        self.watch.reconfigure(self.configuration.instances, tracked_interfaces(self.configuration))
        await self.watch.start()
        self._open_arbitration()
        self.control = ControlServer(self.socket_path, Commands(self).handlers(), changing=CHANGING)
        await self.control.start()
        self.scripts.reconfigure(self.configuration)
        self.companions.start()
        self.deliver(Startup())
        self.peers.reconfigure(peers(self.configuration, self.run))
        self.housekeeping.start()
        gc.collect()
        gc.freeze()  # the configuration lives as long as the worker; collections need not look at it

    def stop(self) -> None:
        """Hand everything over in order; ``finished`` follows."""
        self.service.stopping()
        self.loop.call_later(STOP_PATIENCE, self._give_up_waiting)
        self.deliver(Shutdown())

    async def aclose(self) -> None:
        """Close everything. After a clean stop nothing of ours is left on the host."""
        self.housekeeping.close()
        await self.scripts.aclose()
        await self.vetoes.aclose()
        await self.notifier.aclose()
        await self.companions.aclose()
        if self.control is not None:
            await self.control.aclose()
        if self.arbitration is not None:
            await self.arbitration.aclose()
        self.peers.close()
        await self.watch.aclose()
        self.link_delays.close()
        self.remains.remove()
        self.timer.close()
        self.listener.close()
        self.paced.close()
        self.announcer.close()
        await self.sockets.aclose()
        await self.addresses.aclose()
        self.recorder.close()

    def _give_up_waiting(self) -> None:
        if not self.finished.is_set():
            LOG.warning("stopping without the arbiter's answer: the claims end with their lease")
            self.finished.set()

    # -- the loop

    def deliver(self, event: Event) -> None:
        """Feed one event to the core and do what it asks."""
        reading = self.clock.read()
        if isinstance(event, LinkChanged | PrimaryAddressChanged):
            self._follow_network(event)
        actions = self.node.handle(event, reading.now)
        self.recorder.record(event, reading.now, actions)
        self.perform(actions, reading)
        if reading.jump:
            self._doubt(f"the clocks parted by {to_seconds(abs(reading.jump)):.3f} s", reading)
        self.rearm(reading)

    def _deadline(self) -> None:
        reading = self.clock.read()
        deadline = self.node.next_deadline()
        late = 0 if deadline is None else reading.now.fast - deadline
        if late > max(self.timing.guard, self.timing.renew // 2) and arbitrated(self.configuration):
            self._doubt(f"woke {to_seconds(late):.3f} s late", reading)
        if deadline is not None and late >= 0:
            self.deliver(DeadlineReached())
        else:
            self.rearm(reading)

    def _doubt(self, evidence: str, reading: Reading) -> None:
        event = ClockDoubted(evidence)
        actions = self.node.handle(event, reading.now)
        self.recorder.record(event, reading.now, actions)
        self.perform(actions, reading)

    def rearm(self, reading: Reading) -> None:
        """Set the one timer to the core's next deadline."""
        deadline = self.node.next_deadline()
        if deadline is None:
            self.timer.disarm()
        else:
            self.timer.arm(reading.boottime(deadline))

    def perform(self, actions: Actions, reading: Reading) -> None:
        """Do what the core asks, in order."""
        for action in actions:
            self._perform_one(action, reading)

    def _perform_one(self, action: Action, reading: Reading) -> None:
        match action:
            case SendAdvertisement(instance, priority):
                self.sockets.send(instance, priority)
            case AnnounceAddresses(instance, rounds):
                self._announce(instance, rounds)
            case InstallAddresses(instance):
                self.addresses.install(instance, self.timing.address_lifetime)
                self.routes.install(instance)
            case RemoveAddresses(instance):
                self.paced.forget(instance)
                self.routes.remove(instance)
                self.addresses.remove(instance)
            case ExtendGate() | OpenGate() | CloseGate():
                self.gatekeeper.perform(action, reading)
            case ReadRegister() | SwapRegister():
                if self.arbitration is not None:
                    self.arbitration.perform(action)
            case Tell(report):
                self.tell(report)
            case SendToPeer():
                self.peers.send(action)
            case AskVeto():
                self.vetoes.ask(action)
            case _:
                assert_never(action)

    def _announce(self, instance: str, rounds: int) -> None:
        configured = self.instances.get(instance)
        if configured is not None:
            self.paced.announce(configured, rounds)

    def tell(self, report: Report) -> None:
        """Let everybody who reads reports read this one."""
        if isinstance(report, Stopped):
            self.finished.set()
        self.journal.read(report)
        self.notifier.read(report)
        self.companions.read(report)
        self.dumps.read(report)
        self.recorder.urgent()
        self.housekeeping.reported()

    # -- the host

    def configured(self, instance: str) -> VrrpInstance | None:
        """Return the configuration of an instance."""
        return self.instances.get(instance)

    def _follow_network(self, event: LinkChanged | PrimaryAddressChanged) -> None:
        """Let the sockets and the gate know before the core acts on it."""
        if isinstance(event, PrimaryAddressChanged):
            self.sockets.use_source(event.instance, event.address)
            return
        self.sockets.interface_changed(event.interface)
        if not event.up:
            self.addresses.interface_down(event.interface)
        elif not carries_virtual_mac(self.configuration, event.interface):
            self.gatekeeper.guard(self.reloader.in_force())

    # -- the arbiter

    def _open_arbitration(self) -> None:
        arbiter = self.configuration.arbiter
        if arbiter is None or not arbitrated(self.configuration):
            LOG.warning(
                "no arbiter: this is plain VRRP, and in a split of the network BOTH nodes will hold the addresses"
            )
            return
        self.arbitration = self.arbitration_with(arbiter)
        self.arbitration.start()

    def arbitration_with(self, arbiter: ArbiterConfig) -> Arbitration:
        """Return the arbitration that a configuration asks for, not started."""
        return Arbitration(
            load_plugin(find_plugin(arbiter.kind)),
            arbiter_options(
                arbiter, self.run.node, timing(self.configuration).lease, kept_for(self.configuration)
            ),
            timeout=self.timing.renew,
            deliver=self.deliver,
            tell=self.tell,
        )

    # -- control

    @property
    def socket_path(self) -> str:
        return self.configuration.daemon.control_socket or socket_path(
            self.run.node, self.sources.run_directory
        )

    # -- the flight recorder

    def _open_recorder(self, parameters: NodeParameters) -> Recorder:
        path = self.sources.record or os.path.join(
            self.sources.run_directory, f"{self.run.node}.events.jsonl"
        )
        return Recorder(path, about(self.run, parameters), codec())


async def run_worker(
    sources: Sources, configuration: Configuration, run: Run, reload_front: Callable[[], object]
) -> None:
    """Run one worker until it is asked to stop (SIGTERM, SIGINT). SIGHUP reloads. Raises HaagentError."""
    worker = Worker(sources, configuration, run, reload_front)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_crash)
    try:
        await worker.start()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        loop.add_signal_handler(signal.SIGINT, worker.stop)
        loop.add_signal_handler(signal.SIGHUP, worker.reloader.soon)
        worker.dumps.listen(loop)
        worker.service.ready()
        await worker.finished.wait()
    except HaagentError:
        await worker.aclose()
        raise
    await worker.aclose()


def _crash(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the worker on an error nobody handles: the gate closes by itself, the supervisor starts another."""
    LOG.critical("defect: %s", context.get("message"), exc_info=context.get("exception"))
    logging.shutdown()
    os._exit(70)
