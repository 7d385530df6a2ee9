"""Reloading: what changed is changed, what did not is not touched, and a broken file changes nothing.

Reading goes on in a thread: a long file must not keep a MASTER from renewing. One reload at a time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from haagent.agent.parameters import (
    arbitrated,
    groups,
    guards,
    host_settings,
    link_delays,
    node_parameters,
    peers,
    timing,
    tracked_interfaces,
)
from haagent.agent.recordings import Reconfigured
from haagent.agent.succession import LETTING_GO, Guarded, moved, waiting
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.core.units import to_seconds
from haagent.effects.gate import Guard
from haagent.effects.gate.model import guarded_things
from haagent.effects.journal import Journal
from haagent.effects.processes import in_thread
from haagent.errors import ConfigError

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.agent")
AT_START = ("gate", "log_level", "log_format")  # of the haagent block: read once


class Reloader:
    """Reloads one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[str]] = set()
        # A configuration that is not in force as a whole, and the instances that are missing of it.
        self._awaited: tuple[Configuration, frozenset[str]] | None = None
        self._next: asyncio.TimerHandle | None = None
        self._known = worker.configuration  # every instance that may still be leaving is in it

    def in_force(self) -> Configuration:
        """Return the configuration, and with it what an earlier one had and has not let go yet: it is guarded until it has."""
        leaving = {
            member.name
            for group in self._worker.node.groups.values()
            if group.leaving
            for member in group.members
        }
        left = replace(
            self._known,
            instances=tuple(i for i in self._known.instances if i.name in leaving),
            groups=tuple(g for g in self._known.groups if leaving.issuperset(g.members)),
        )
        return _union(left, self._worker.configuration)

    def soon(self) -> asyncio.Task[str]:
        """Reload in the background; the task's result is that of ``reload``."""
        task = self._worker.loop.create_task(self.reload(), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloaded)
        return task

    def _reloaded(self, task: asyncio.Task[str]) -> None:
        self._reloads.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._worker.loop.call_exception_handler(
                {"message": "the reload failed half way", "exception": error}
            )

    async def reload(self) -> str:
        """Read the configuration again; return why it was not taken over, empty if it was.

        Reading goes on in a thread: a long file must not keep a MASTER from renewing.
        """
        async with self._reloading:
            self._worker.service.reloading()
            try:
                fresh = await in_thread(self._worker.sources.load)
                self._refuse_what_needs_a_restart(fresh)
            except (ConfigErrors, ConfigError) as error:
                LOG.error("the new configuration is not used, the old one stays in force: %s", error)  # noqa: TRY400
                self._worker.service.ready()
                return str(error)
            if self._worker.node.context.stopping:
                return "the agent is stopping"
            self._warn_of_other_claims(fresh)
            self._say_what_waits_for_a_restart(fresh)
            self._adopt(fresh, _waiting(self.in_force(), fresh))
            self._worker.service.ready("reloaded")
            return ""

    def _adopt(self, fresh: Configuration, later: frozenset[str]) -> None:
        """Take over a configuration but for the instances that another claim still guards (``later``); they follow."""
        self._awaited = (fresh, later) if later else None
        if later:
            LOG.info("%s: first what was there before lets go", ", ".join(sorted(later)))
            self._come_back()
        self._take_over(_without(fresh, later))
        if not later:
            LOG.info("configuration reloaded")

    def _come_back(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._worker.loop.call_later(to_seconds(LETTING_GO), self._go_on)

    def _go_on(self) -> None:
        """Bring what had to wait, of the configuration as it was read, once what was in its way has let go."""
        if self._awaited is None or self._worker.node.context.stopping:
            return
        fresh, before = self._awaited
        later = _waiting(self.in_force(), fresh)
        if later == before or self._reloading.locked():
            self._come_back()
        else:
            self._adopt(fresh, later)

    def _refuse_what_needs_a_restart(self, fresh: Configuration) -> None:
        before, after = self._worker.configuration.arbiter, fresh.arbiter
        if arbitrated(fresh) != arbitrated(self._worker.configuration) or (
            before and after and (before.kind, before.domain) != (after.kind, after.domain)
        ):
            raise ConfigError("another arbiter or domain needs a restart", after.place if after else None)
        if fresh.net_namespace != self._worker.configuration.net_namespace:
            raise ConfigError("another net_namespace needs a restart")

    def _say_what_waits_for_a_restart(self, fresh: Configuration) -> None:
        before, after = self._worker.configuration.daemon, fresh.daemon
        for word in AT_START:
            if getattr(before, word) != getattr(after, word):
                LOG.warning("%s %s counts from the next restart on", word, getattr(after, word))

    def _warn_of_other_claims(self, fresh: Configuration) -> None:
        """Say so if a thing gets another claim while other nodes run: theirs does not keep this node off, nor ours them."""
        moving = moved(_layout(self._worker.configuration), _layout(fresh))
        others = self._others_alive()
        if moving and others:
            LOG.warning(
                "%s: guarded by another claim from now on, while %s may guard the same by the old one: until every node"
                " has the new file nothing but VRRP keeps two of them from having the addresses. Stop the other nodes"
                " before such a reload, and start them with the new file after it",
                ", ".join(sorted(moving)),
                ", ".join(others),
            )

    def _others_alive(self) -> list[str]:
        """Return the other nodes of the domain that the arbiter shows alive; none without an arbiter."""
        worker = self._worker
        now = worker.clock.read().now
        seen = worker.node.observations.values()
        return sorted(o.node for o in seen if o.node != worker.run.node and o.alive(now.slow))

    def _take_over(self, fresh: Configuration) -> None:
        worker = self._worker
        reading = worker.clock.read()
        both = self._known = _union(self.in_force(), fresh)
        before, worker.configuration = worker.configuration, fresh
        worker.timing = timing(fresh)
        worker.instances = {instance.name: instance for instance in both.instances}
        worker.gatekeeper.guard(both)
        worker.addresses.reconfigure(both.instances)  # makes the interfaces that sockets are bound to
        worker.sockets.reconfigure(both.instances)
        worker.routes.reconfigure(both)
        worker.vetoes.reconfigure(both)
        worker.settings.hold(host_settings(both))
        worker.accept_filter.reconfigure(both.instances)
        worker.link_delays.reconfigure(link_delays(fresh))
        worker.listener.reconfigure(fresh.instances)
        worker.paced.reconfigure(fresh.announce_paces)
        worker.watch.reconfigure(both.instances, tracked_interfaces(worker.configuration))
        parameters = node_parameters(fresh, worker.run, ())
        actions = worker.node.reconfigure(parameters, reading.now)
        worker.recorder.record(Reconfigured(parameters), reading.now, actions)
        worker.perform(actions, reading)
        worker.peers.reconfigure(peers(fresh, worker.run))
        worker.journal = Journal(frozenset(script.name for script in fresh.scripts))
        worker.scripts.reconfigure(fresh)
        worker.companions.reconfigure(fresh)
        worker.notifier.reconfigure(fresh)
        if fresh.arbiter != before.arbiter and worker.arbitration is not None and fresh.arbiter is not None:
            old, worker.arbitration = worker.arbitration, worker.arbitration_with(fresh.arbiter)
            worker.arbitration.start()
            old.retire()
        elif worker.arbitration is not None:
            worker.arbitration.bound_calls(worker.timing.renew)
        worker.rearm(reading)


def _waiting(before: Configuration, fresh: Configuration) -> frozenset[str]:
    """Return the instances whose old claim, or that of what they guard, must be let go first."""
    return waiting(_layout(before), _layout(fresh))


def _without(configuration: Configuration, names: frozenset[str]) -> Configuration:
    """Return the configuration without these instances and the groups that they are in."""
    return replace(
        configuration,
        instances=tuple(i for i in configuration.instances if i.name not in names),
        groups=tuple(g for g in configuration.groups if names.isdisjoint(g.members)),
    )


def _layout(configuration: Configuration) -> dict[str, Guarded]:
    claims = {name: group.name for group in groups(configuration) for name in group.members}
    alone = guards(replace(configuration, groups=()))  # so that every guard is one instance's
    return {guard.claim: Guarded(claims[guard.claim], _guarded_keys(guard)) for guard in alone}


def _guarded_keys(guard: Guard) -> frozenset[object]:
    return frozenset(key for router in guard.routers for _, key in guarded_things(router))


def _union(before: Configuration, fresh: Configuration) -> Configuration:
    """Return ``fresh`` with the instances that are on their way out, which must still be let go in order."""
    kept = {instance.name for instance in fresh.instances}
    leaving = tuple(instance for instance in before.instances if instance.name not in kept)
    named = {group.name for group in fresh.groups}
    old_groups = tuple(g for g in before.groups if g.name not in named and kept.isdisjoint(g.members))
    return replace(fresh, instances=(*fresh.instances, *leaving), groups=(*fresh.groups, *old_groups))
