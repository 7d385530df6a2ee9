"""Veto scripts: asked whether this node may claim, one run at a time per claim, each question answered by one event.

A sync group's claim is asked of the group's own script and then of its members', one after the other; the first that does
not exit with status 0 in time is the veto. Nothing waits for a script but the claim it is about. A claim for which the
configuration has no script may be claimed. Decides nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from haagent.config.command_model import VetoScript
from haagent.config.model import Configuration
from haagent.core.actions import AskVeto
from haagent.core.events import VetoAnswered
from haagent.effects.one_command import run_to_end


class VetoScripts:
    """The veto scripts of one node. All methods belong to the event loop's thread."""

    def __init__(
        self, configuration: Configuration, node: str, deliver: Callable[[VetoAnswered], None]
    ) -> None:
        self._configuration, self._node, self._deliver = configuration, node, deliver
        self._tasks: set[asyncio.Task[None]] = set()

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration from the next question on."""
        self._configuration = configuration

    def ask(self, question: AskVeto) -> None:
        """Run the scripts of the claim; the answer comes later, by one event."""
        task = asyncio.create_task(self._answer(question), name=f"veto {question.claim}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End what runs, without an answer. Idempotent."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, question: AskVeto) -> None:
        self._deliver(VetoAnswered(question.claim, await self._veto(question)))

    async def _veto(self, question: AskVeto) -> str:
        """Return the first script's objection, empty if there is none."""
        for script in self._scripts(question.claim):
            environment = _environment(question, self._node)
            problem = await run_to_end(
                script.command, self._configuration.globals, environment, script.timeout
            )
            if problem:
                return f"vetoed by {script.command.argv[0]}: {problem}"
        return ""

    def _scripts(self, claim: str) -> tuple[VetoScript, ...]:
        configuration = self._configuration
        group = next((group for group in configuration.groups if group.name == claim), None)
        members = (claim,) if group is None else group.members
        instances = [instance for instance in configuration.instances if instance.name in members]
        owners = (*((group,) if group is not None else ()), *instances)
        return tuple(owner.veto for owner in owners if owner.veto is not None)


def _environment(question: AskVeto, node: str) -> dict[str, str]:
    """Return the variables every script gets."""
    return {
        "HAAGENT_NODE": node,
        "HAAGENT_INSTANCE": question.claim,
        "HAAGENT_WHY": question.why,
        "HAAGENT_HOLDER": question.holder,
        "HAAGENT_EPOCH": str(question.epoch),
        "HAAGENT_PRIORITY": str(question.priority),
    }
