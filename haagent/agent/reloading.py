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
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.effects.gate import Guard
from haagent.effects.gate.model import guarded_things
from haagent.effects.journal import Journal
from haagent.effects.processes import in_thread
from haagent.errors import ConfigError

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.agent")
LETTING_GO = 1.0  # seconds for a leaving instance to take its addresses off, before another name takes them


class Reloader:
    """Reloads one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[str]] = set()

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
            self._take_over(self._without_what_must_wait(fresh))
            self._worker.service.ready("reloaded")
            LOG.info("configuration reloaded")
            return ""

    def _refuse_what_needs_a_restart(self, fresh: Configuration) -> None:
        before, after = self._worker.configuration.arbiter, fresh.arbiter
        if arbitrated(fresh) != arbitrated(self._worker.configuration) or (
            before and after and (before.kind, before.domain) != (after.kind, after.domain)
        ):
            raise ConfigError("another arbiter or domain needs a restart", after.place if after else None)
        if fresh.net_namespace != self._worker.configuration.net_namespace:
            raise ConfigError("another net_namespace needs a restart")

    def _without_what_must_wait(self, fresh: Configuration) -> Configuration:
        """Leave out what another claim still guards (it was renamed, or moved to another group), and come back for it."""
        waiting = _waiting(self._worker.configuration, fresh)
        if not waiting:
            return fresh
        LOG.info("%s: first what was there before lets go", ", ".join(sorted(waiting)))
        self._worker.loop.call_later(LETTING_GO, self.soon)
        return replace(
            fresh,
            instances=tuple(i for i in fresh.instances if i.name not in waiting),
            groups=tuple(g for g in fresh.groups if waiting.isdisjoint(g.members)),
        )

    def _take_over(self, fresh: Configuration) -> None:
        worker = self._worker
        reading = worker.clock.read()
        before, worker.configuration = worker.configuration, fresh
        worker.timing = timing(fresh)
        worker.instances = {instance.name: instance for instance in (*before.instances, *fresh.instances)}
        both = _union(before, fresh)
        worker.gate.reconfigure(guards(both))
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
            worker.loop.create_task(old.aclose())
        worker.rearm(reading)


def _waiting(before: Configuration, fresh: Configuration) -> set[str]:
    """Return the instances whose old claim, or that of what they guard, must be let go first: one thing has one claim.

    And with them those that are to be in one group with such an instance.
    """
    old, new = _claims(before), _claims(fresh)
    waiting = {name for name in old.keys() & new.keys() if old[name] != new[name]} | _renamed(before, fresh)
    return {
        name for group in groups(fresh) if not waiting.isdisjoint(group.members) for name in group.members
    }


def _claims(configuration: Configuration) -> dict[str, str]:
    """Return every instance's claim."""
    return {name: group.name for group in groups(configuration) for name in group.members}


def _renamed(before: Configuration, fresh: Configuration) -> set[str]:
    """Return the new instances that guard what an instance that is to leave guards."""
    names, kept = ({i.name for i in configuration.instances} for configuration in (before, fresh))
    leaving = replace(before, groups=(), instances=tuple(i for i in before.instances if i.name not in kept))
    coming = replace(fresh, groups=(), instances=tuple(i for i in fresh.instances if i.name not in names))
    taken = {key for guard in guards(leaving) for key in _guarded_keys(guard)}
    return {guard.claim for guard in guards(coming) if taken & _guarded_keys(guard)}


def _guarded_keys(guard: Guard) -> set[object]:
    return {key for router in guard.routers for _, key in guarded_things(router)}


def _union(before: Configuration, fresh: Configuration) -> Configuration:
    """Return ``fresh`` with the instances that are on their way out, which must still be let go in order."""
    kept = {instance.name for instance in fresh.instances}
    leaving = tuple(instance for instance in before.instances if instance.name not in kept)
    named = {group.name for group in fresh.groups}
    members = {name for group in before.groups if group.name not in named for name in group.members}
    old_groups = tuple(g for g in before.groups if g.name not in named and not members & kept)
    return replace(fresh, instances=(*fresh.instances, *leaving), groups=(*fresh.groups, *old_groups))
