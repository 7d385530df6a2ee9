"""What the control socket can be asked: one method per command. The protocol is in haagent/control/PROTOCOL.md."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from haagent.agent import requests
from haagent.agent.parameters import peers
from haagent.agent.reporting import registers_document, status_document
from haagent.control.server import Handler
from haagent.core.events import Event, PauseRequested, ResumeRequested
from haagent.errors import ControlError

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.agent")
CHANGING = ("reload", "pause", "resume", "switchover", "declare-down")


class Commands:
    """The commands of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def handlers(self) -> dict[str, Handler]:
        """Return every command by its name."""
        return {
            "status": self._status,
            "arbiter": self._registers,
            "reload": self._reload_command,
            "pause": partial(self._event_command, PauseRequested()),
            "resume": partial(self._event_command, ResumeRequested()),
            "switchover": self._switchover,
            "declare-down": self._declare_down,
            "why": self._why,
        }

    async def _status(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return status_document(self._worker).to_json()

    async def _registers(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return registers_document(self._worker)

    async def _reload_command(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        self._worker.reload_front()  # as the supervisor does at SIGHUP, whatever the worker makes of the files
        # It goes on when the client's time is over.
        problem = await asyncio.shield(self._worker.reloader.soon())
        if problem:
            raise ControlError(problem)
        return {"reloaded": True}

    async def _event_command(self, event: Event, _arguments: dict[str, Any]) -> dict[str, Any]:
        self._deliver(event)
        return {"done": True}

    async def _why(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return requests.why(self._worker.node, arguments, self._worker.clock.read())

    async def _switchover(self, arguments: dict[str, Any]) -> dict[str, Any]:
        event = requests.switchover(
            self._worker.node, self._peer_names(), arguments, self._worker.clock.read().now
        )
        epoch = self._worker.node.groups[event.claim].claim.epoch
        self._deliver(event)
        arbitrated_here = self._worker.node.parameters.arbitrated
        return {
            "claim": event.claim,
            "epoch": epoch,
            "node": self._worker.run.node,
            "arbitrated": arbitrated_here,
        }

    async def _declare_down(self, arguments: dict[str, Any]) -> dict[str, Any]:
        event = requests.declare_down(
            self._worker.node, self._peer_names(), arguments, self._worker.clock.read().now
        )
        LOG.warning("an operator vouches that %s is down", event.node)
        self._deliver(event)
        return {"done": True}

    def _deliver(self, event: Event) -> None:
        """Feed the core. What fails half way ends the worker, here as anywhere: the client's answer would hide it."""
        try:
            self._worker.deliver(event)
        except Exception as error:
            context = {"message": f"{type(event).__name__} failed half way", "exception": error}
            self._worker.loop.call_exception_handler(context)

    def _peer_names(self) -> tuple[str, ...]:
        configured = peers(self._worker.configuration, self._worker.run)
        return () if configured is None else tuple(peer.node for peer in configured.nodes)
