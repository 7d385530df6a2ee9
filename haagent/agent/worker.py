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
from typing import Any, assert_never

from haagent.agent.commands import CHANGING, Commands
from haagent.agent.companions import Companions
from haagent.agent.dumps import Dumps
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
from haagent.agent.reporting import status_document
from haagent.agent.sources import Sources
from haagent.config.model import ArbiterConfig, Configuration, VrrpInstance
from haagent.control.server import ControlServer
from haagent.control.snapshot import snapshot_path, socket_path, write_snapshot
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
from haagent.core.reports import Report, SessionChanged, Stopped
from haagent.core.units import SECOND, Instant, to_seconds
from haagent.effects.accept_filter import AcceptFilter
from haagent.effects.addresses import Addresses
from haagent.effects.announce_pace import PacedAnnouncer
from haagent.effects.announcements import AnnouncementListener, Announcer
from haagent.effects.arbitration import Arbitration, arbiter_options
from haagent.effects.clock import Clock, Reading
from haagent.effects.gate import Gate, Tier, open_gate
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
from haagent.errors import EffectError, HaagentError

LOG = logging.getLogger("haagent.agent")
STOP_PATIENCE = 3.0  # seconds for the arbiter to take the claims back at a clean stop
HOUSEKEEPING = 1.0  # seconds between renewals of address lifetimes
INSPECT_EVERY = 5  # rounds of housekeeping between looks at the gate, and snapshots if nothing happens
SOON = 0.1  # seconds from a report to the snapshot that shows it


class Worker:
    """One worker of one run. ``start``, then ``finished`` is set when a clean stop is done."""

    def __init__(self, sources: Sources, configuration: Configuration, run: Run) -> None:
        self.sources, self.configuration, self.run = sources, configuration, run
        self.loop = asyncio.get_running_loop()
        self.finished = asyncio.Event()
        self.reloader = Reloader(self)
        self.clock = Clock()
        self.started_boot = self.clock.read().boot
        self.timing: Timing = timing(configuration)
        self.service = ServiceManager()
        self.session_state = "starting"
        self.gate: Gate = open_gate(guards(configuration), mode=configuration.daemon.gate, keep=run.resumed)
        self.timer = Timer(self.loop, self._deadline)
        self._armed: Instant | None = None
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
        self.scripts = TrackScripts(configuration, self.deliver, self.tell)
        self.dumps = Dumps(self)
        self.routes = Routes(configuration, self.tell)
        self.settings = HostSettings()
        self.accept_filter = AcceptFilter()
        self.peers = Peers(self.loop, run.node, self.deliver, self.tell)
        self.companions = Companions(configuration, run.node, self.peers.heard, self.deliver, self.tell)
        self.arbitration: Arbitration | None = None
        self.control: ControlServer | None = None
        self.instances = {instance.name: instance for instance in configuration.instances}
        parameters = node_parameters(configuration, run, self._resumable())
        self.node = Node(parameters)
        self.recorder = self._open_recorder(parameters)
        self._housekeeper: asyncio.TimerHandle | None = None
        self._snapshot_due: asyncio.TimerHandle | None = None
        self._snapshot_failed = False
        self._rounds = 0

    # -- life

    async def start(self) -> None:
        """Take over or sweep what an earlier run left, then begin."""
        self.addresses.reconfigure(self.configuration.instances)
        self._sweep()
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
        self.scripts.start()
        self.companions.start()
        self.deliver(Startup())
        self.peers.reconfigure(peers(self.configuration, self.run))
        self._keep_house()
        gc.collect()
        gc.freeze()  # the configuration lives as long as the worker; collections need not look at it

    def stop(self) -> None:
        """Hand everything over in order; ``finished`` follows."""
        self.service.stopping()
        self.loop.call_later(STOP_PATIENCE, self._give_up_waiting)
        self.deliver(Shutdown())

    async def aclose(self) -> None:
        """Close everything. After a clean stop nothing of ours is left on the host."""
        for handle in (self._housekeeper, self._snapshot_due):
            if handle is not None:
                handle.cancel()
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
        self._remove_remains()
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

    def _remove_remains(self) -> None:
        """Close, remove, and only then take the gate away."""
        self.gate.close_all()
        self.routes.close()
        left = self.addresses.sweep()
        if left:
            LOG.warning("removed addresses that were still there: %s", ", ".join(left))
        self.addresses.remove_interfaces()
        self.accept_filter.close()
        self.settings.close()
        self.gate.remove()

    def _resumable(self) -> tuple[tuple[str, int], ...]:
        """Return the claims that the gate of the worker before us still has open."""
        if not self.run.resumed:
            return ()
        adopted = self.gate.adopt()
        if adopted.deadline <= self.clock.read().boot:
            return ()
        return tuple(adopted.epochs.items())

    def _sweep(self) -> None:
        resumed = {claim for claim, _ in self.node.parameters.resume}
        groups = [group for group in self.node.groups.values() if group.name in resumed]
        self.routes.sweep(keep=[member.name for group in groups for member in group.members])
        if not resumed:
            left = self.addresses.sweep()
            if left:
                LOG.info("removed addresses left by an earlier run: %s", ", ".join(left))
        for group in self.node.groups.values():
            if group.name not in resumed:
                self.gate.close(group.name)
                for member in group.members:
                    self.addresses.remove(member.name)

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
                self.addresses.install(instance, self._lifetime())
                self.routes.install(instance)
            case RemoveAddresses(instance):
                self.paced.forget(instance)
                self.routes.remove(instance)
                self.addresses.remove(instance)
            case ExtendGate() | OpenGate() | CloseGate():
                self._work_the_gate(action, reading)
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

    def _work_the_gate(self, action: ExtendGate | OpenGate | CloseGate, reading: Reading) -> None:
        try:
            match action:
                case ExtendGate(until):
                    self.gate.extend(max(0, reading.boottime(until)) if until else 0)
                case OpenGate(claim, epoch):
                    self.gate.open(claim, epoch)
                case CloseGate(claim):
                    self.gate.close(claim)
        except EffectError as error:
            # It says that everything is closed now. Prove the claims and open again, in a turn of its own.
            LOG.error("gate: %s", error)  # noqa: TRY400 - a traceback would tell the operator less
            self.loop.call_soon(self.deliver, ClockDoubted(f"the gate was lost: {error}"))

    def _announce(self, instance: str, rounds: int) -> None:
        configured = self.instances.get(instance)
        if configured is not None:
            self.paced.announce(configured, rounds)

    def tell(self, report: Report) -> None:
        """Let everybody who reads reports read this one."""
        if isinstance(report, SessionChanged):
            self.session_state = report.what
        if isinstance(report, Stopped):
            self.finished.set()
        self.journal.read(report)
        self.notifier.read(report)
        self.companions.read(report)
        self.dumps.read(report)
        self.recorder.urgent()
        if self._snapshot_due is None and self._housekeeper is not None:
            self._snapshot_due = self.loop.call_later(SOON, self._write_snapshot)

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
            self.gate.reconfigure(guards(self.configuration))

    def _lifetime(self) -> int:
        """Return the lifetime of addresses: whole seconds that outlive the lease, so that it is never the first to end."""
        return -(-self.timing.lease // SECOND) + 1

    def _keep_house(self) -> None:
        """Renew address lifetimes while the session lives, write the snapshot, pet the watchdog."""
        if self.node.session.live(self.clock.read().now):
            self.addresses.refresh(self._lifetime())
        self.routes.check()
        self.service.watchdog()
        self._rounds += 1
        if self._rounds % INSPECT_EVERY == 0:
            self._mend_gate()
            self._write_snapshot()
        self._housekeeper = self.loop.call_later(HOUSEKEEPING, self._keep_house)

    def _mend_gate(self) -> None:
        """Put back what somebody took off our interfaces."""
        problems = self.gate.status().problems
        if problems and self.gate.tier not in (Tier.LIFETIME, Tier.OFF):
            LOG.warning("mending the gate: %s", "; ".join(problems))
            self.gate.reconfigure(guards(self.configuration))

    def _write_snapshot(self) -> None:
        if self._snapshot_due is not None:
            self._snapshot_due.cancel()
            self._snapshot_due = None
        try:
            write_snapshot(snapshot_path(self.socket_path), status_document(self))
        except OSError as error:
            if not self._snapshot_failed:
                LOG.warning(
                    "status snapshot not written: %s; who reads the file takes this agent for dead", error
                )
            self._snapshot_failed = True
        else:
            self._snapshot_failed = False

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


async def run_worker(sources: Sources, configuration: Configuration, run: Run) -> None:
    """Run one worker until it is asked to stop (SIGTERM, SIGINT). SIGHUP reloads. Raises HaagentError."""
    worker = Worker(sources, configuration, run)
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
