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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from haagent.agent import requests
from haagent.agent.companions import Companions
from haagent.agent.dumps import Dumps
from haagent.agent.parameters import (
    Run,
    Timing,
    arbitrated,
    guards,
    host_settings,
    kept_for,
    link_delays,
    node_parameters,
    peers,
    timing,
    tracked_interfaces,
)
from haagent.agent.recordings import Reconfigured, about, codec
from haagent.agent.reporting import registers_document, status_document
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.model import ArbiterConfig, Configuration, VrrpInstance
from haagent.control.server import ControlServer
from haagent.control.snapshot import snapshot_path, socket_path, write_snapshot
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
    ClockDoubted,
    DeadlineReached,
    Event,
    LinkChanged,
    PauseRequested,
    PrimaryAddressChanged,
    ResumeRequested,
    Shutdown,
    Startup,
)
from haagent.core.node import Node, NodeParameters
from haagent.core.reports import Report, SessionChanged, Stopped
from haagent.core.units import SECOND, Instant, to_seconds
from haagent.effects.addresses import Addresses
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
from haagent.effects.processes import in_thread
from haagent.effects.recorder import Recorder
from haagent.effects.routes import Routes
from haagent.effects.scripts import TrackScripts
from haagent.effects.sockets import VrrpSockets
from haagent.effects.systemd import ServiceManager
from haagent.effects.timer import Timer
from haagent.effects.watch import NetworkWatch
from haagent.errors import ConfigError, ControlError, EffectError, HaagentError

LOG = logging.getLogger("haagent.agent")
STOP_PATIENCE = 3.0  # seconds for the arbiter to take the claims back at a clean stop
HOUSEKEEPING = 1.0  # seconds between renewals of address lifetimes
INSPECT_EVERY = (
    5  # rounds of housekeeping between looks at the gate, and between snapshots if nothing happens
)
SOON = 0.1  # seconds from a report to the snapshot that shows it


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the configuration comes from, as given on the command line; a reload reads it again."""

    files: tuple[Path, ...]
    arbiter: str | None = None
    config_id: str | None = None
    node: str | None = None
    run_directory: str = "/run/haagent"
    record: str | None = None
    pid_file: str | None = None
    worker_pid_file: str | None = None
    namespace: str | None = None

    def load(self) -> Configuration:
        """Return what the files mean now. Raises ConfigErrors or ConfigError."""
        configuration = load(self.files, config_id=self.config_id, arbiter=self.arbiter)
        timing(configuration)
        return configuration


class Worker:
    """One worker of one run. ``start``, then ``finished`` is set when a clean stop is done."""

    def __init__(self, sources: Sources, configuration: Configuration, run: Run) -> None:
        self.sources, self.configuration, self.run = sources, configuration, run
        self.loop = asyncio.get_running_loop()
        self.finished = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[str]] = set()
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
        self.listener = AnnouncementListener(self.loop, self.deliver)
        self.link_delays = LinkDelays(self.deliver, link_delays(configuration))
        self.watch = NetworkWatch(self.link_delays.take, self.addresses)
        self.journal = Journal(frozenset(script.name for script in configuration.scripts))
        self.notifier = Notifier(configuration, run.node, self.tell)
        self.scripts = TrackScripts(configuration, self.deliver, self.tell)
        self.dumps = Dumps(self)
        self.routes = Routes(configuration, self.tell)
        self.settings = HostSettings()
        self.companions = Companions(configuration, self.deliver, self.tell)
        self.peers = Peers(self.loop, run.node, self.deliver, self.tell)
        self.arbitration: Arbitration | None = None
        self.control: ControlServer | None = None
        self._instances = {instance.name: instance for instance in configuration.instances}
        parameters = node_parameters(configuration, run, self._resumable())
        self.node = Node(parameters)
        self.recorder = self._open_recorder(parameters)
        self._housekeeper: asyncio.TimerHandle | None = None
        self._snapshot_due: asyncio.TimerHandle | None = None
        self._rounds = 0

    # -- life

    async def start(self) -> None:
        """Take over or sweep what an earlier run left, then begin."""
        self.addresses.reconfigure(self.configuration.instances)
        self._sweep()
        self.routes.start()
        self.settings.hold(host_settings(self.configuration))
        self.sockets.reconfigure(self.configuration.instances)
        self.listener.reconfigure(self.configuration.instances)
        self.watch.reconfigure(self.configuration.instances, tracked_interfaces(self.configuration))
        await self.watch.start()
        self._open_arbitration()
        await self._open_control()
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
        self._perform(actions, reading)
        if reading.jump:
            self._doubt(f"the clocks parted by {to_seconds(abs(reading.jump)):.3f} s", reading)
        self._rearm(reading)

    def _deadline(self) -> None:
        reading = self.clock.read()
        deadline = self.node.next_deadline()
        late = 0 if deadline is None else reading.now.fast - deadline
        if late > max(self.timing.guard, self.timing.renew // 2) and arbitrated(self.configuration):
            self._doubt(f"woke {to_seconds(late):.3f} s late", reading)
        if deadline is not None and late >= 0:
            self.deliver(DeadlineReached())
        else:
            self._rearm(reading)

    def _doubt(self, evidence: str, reading: Reading) -> None:
        event = ClockDoubted(evidence)
        actions = self.node.handle(event, reading.now)
        self.recorder.record(event, reading.now, actions)
        self._perform(actions, reading)

    def _rearm(self, reading: Reading) -> None:
        deadline = self.node.next_deadline()
        if deadline is None:
            self.timer.disarm()
        else:
            self.timer.arm(reading.boottime(deadline))

    def _perform(self, actions: Actions, reading: Reading) -> None:
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
        configured = self._instances.get(instance)
        if configured is None:
            return
        for _ in range(rounds):
            if self.announcer.announce(configured) is not None:
                return  # the gate is closed, or the interface is gone; repetitions are planned

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
        return self._instances.get(instance)

    def _follow_network(self, event: LinkChanged | PrimaryAddressChanged) -> None:
        """Let the sockets and the gate know before the core acts on it."""
        if isinstance(event, PrimaryAddressChanged):
            self.sockets.use_source(event.instance, event.address)
            return
        self.sockets.interface_changed(event.interface)
        if event.up:
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
            LOG.debug("status snapshot not written: %s", error)

    # -- the arbiter

    def _open_arbitration(self) -> None:
        arbiter = self.configuration.arbiter
        if arbiter is None or not arbitrated(self.configuration):
            LOG.warning(
                "no arbiter: this is plain VRRP, and in a split of the network BOTH nodes will hold the addresses"
            )
            return
        self.arbitration = self._arbitration(arbiter)
        self.arbitration.start()

    def _arbitration(self, arbiter: ArbiterConfig) -> Arbitration:
        return Arbitration(
            load_plugin(find_plugin(arbiter.kind)),
            arbiter_options(arbiter, self.run.node, kept_for(self.configuration)),
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

    async def _open_control(self) -> None:
        handlers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "status": self._status,
            "arbiter": self._registers,
            "reload": self._reload_command,
            "pause": partial(self._event_command, PauseRequested()),
            "resume": partial(self._event_command, ResumeRequested()),
            "switchover": self._switchover,
            "declare-down": self._declare_down,
            "why": self._why,
        }
        self.control = ControlServer(
            self.socket_path,
            handlers,
            changing=("reload", "pause", "resume", "switchover", "declare-down"),
        )
        await self.control.start()

    async def _status(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return status_document(self).to_json()

    async def _registers(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return registers_document(self)

    async def _reload_command(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        problem = await self.reload()
        if problem:
            raise ControlError(problem)
        return {"reloaded": True}

    async def _event_command(self, event: Event, _arguments: dict[str, Any]) -> dict[str, Any]:
        self.deliver(event)
        return {"done": True}

    async def _why(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return requests.why(self.node, arguments, self.clock.read())

    async def _switchover(self, arguments: dict[str, Any]) -> dict[str, Any]:
        event = requests.switchover(self.node, self._peer_names(), arguments, self.clock.read().now)
        epoch = self.node.groups[event.claim].claim.epoch
        self.deliver(event)
        arbitrated_here = self.node.parameters.arbitrated
        return {"claim": event.claim, "epoch": epoch, "node": self.run.node, "arbitrated": arbitrated_here}

    async def _declare_down(self, arguments: dict[str, Any]) -> dict[str, Any]:
        event = requests.declare_down(self.node, self._peer_names(), arguments, self.clock.read().now)
        LOG.warning("an operator vouches that %s is down", event.node)
        self.deliver(event)
        return {"done": True}

    def _peer_names(self) -> tuple[str, ...]:
        configured = peers(self.configuration, self.run)
        return () if configured is None else tuple(peer.node for peer in configured.nodes)

    # -- reload

    def reload_soon(self) -> None:
        """Reload in the background."""
        task = self.loop.create_task(self.reload(), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloaded)

    def _reloaded(self, task: asyncio.Task[str]) -> None:
        self._reloads.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.call_exception_handler({"message": "the reload failed half way", "exception": error})

    async def reload(self) -> str:
        """Read the configuration again; return why it was not taken over, empty if it was.

        Reading goes on in a thread: a long file must not keep a MASTER from renewing.
        """
        async with self._reloading:
            self.service.reloading()
            try:
                fresh = await in_thread(self.sources.load)
                self._refuse_what_needs_a_restart(fresh)
            except (ConfigErrors, ConfigError) as error:
                LOG.error("the new configuration is not used, the old one stays in force: %s", error)  # noqa: TRY400
                self.service.ready()
                return str(error)
            self._take_over(fresh)
            self.service.ready("reloaded")
            LOG.info("configuration reloaded")
            return ""

    def _refuse_what_needs_a_restart(self, fresh: Configuration) -> None:
        before, after = self.configuration.arbiter, fresh.arbiter
        if arbitrated(fresh) != arbitrated(self.configuration) or (
            before and after and (before.kind, before.domain) != (after.kind, after.domain)
        ):
            raise ConfigError("another arbiter or domain needs a restart", after.place if after else None)
        if fresh.net_namespace != self.configuration.net_namespace:
            raise ConfigError("another net_namespace needs a restart")

    def _take_over(self, fresh: Configuration) -> None:
        reading = self.clock.read()
        before, self.configuration = self.configuration, fresh
        self.timing = timing(fresh)
        self._instances = {instance.name: instance for instance in (*before.instances, *fresh.instances)}
        both = _union(before, fresh)
        self.gate.reconfigure(guards(both))
        self.sockets.reconfigure(both.instances)
        self.addresses.reconfigure(both.instances)
        self.routes.reconfigure(both)
        self.settings.hold(host_settings(both))
        self.link_delays.reconfigure(link_delays(fresh))
        self.listener.reconfigure(fresh.instances)
        self.watch.reconfigure(both.instances, tracked_interfaces(self.configuration))
        parameters = node_parameters(fresh, self.run, ())
        actions = self.node.reconfigure(parameters, reading.now)
        self.recorder.record(Reconfigured(parameters), reading.now, actions)
        self._perform(actions, reading)
        self.peers.reconfigure(peers(fresh, self.run))
        self.journal = Journal(frozenset(script.name for script in fresh.scripts))
        self.scripts.reconfigure(fresh)
        self.companions.reconfigure(fresh)
        self.notifier.reconfigure(fresh)
        if fresh.arbiter != before.arbiter and self.arbitration is not None and fresh.arbiter is not None:
            old, self.arbitration = self.arbitration, self._arbitration(fresh.arbiter)
            self.arbitration.start()
            self.loop.create_task(old.aclose())
        self._rearm(reading)

    def _open_recorder(self, parameters: NodeParameters) -> Recorder:
        path = self.sources.record or os.path.join(
            self.sources.run_directory, f"{self.run.node}.events.jsonl"
        )
        return Recorder(path, about(self.run, parameters), codec())


def _union(before: Configuration, fresh: Configuration) -> Configuration:
    """Return ``fresh`` with the instances that are on their way out, which must still be let go in order."""
    from dataclasses import replace

    kept = {instance.name for instance in fresh.instances}
    leaving = tuple(instance for instance in before.instances if instance.name not in kept)
    groups = {group.name for group in fresh.groups}
    members = {name for group in before.groups if group.name not in groups for name in group.members}
    old_groups = tuple(g for g in before.groups if g.name not in groups and not members & kept)
    return replace(fresh, instances=(*fresh.instances, *leaving), groups=(*fresh.groups, *old_groups))


async def run_worker(sources: Sources, configuration: Configuration, run: Run) -> None:
    """Run one worker until it is asked to stop (SIGTERM, SIGINT). SIGHUP reloads. Raises HaagentError."""
    worker = Worker(sources, configuration, run)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_crash)
    try:
        await worker.start()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        loop.add_signal_handler(signal.SIGINT, worker.stop)
        loop.add_signal_handler(signal.SIGHUP, worker.reload_soon)
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
