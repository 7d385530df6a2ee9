"""The scripts at the beginning and the end of the agent's life: startup_script and shutdown_script.

Promises: run once, waited for, at most as long as its timeout; what goes wrong is logged and stops nothing. The same
users and the same security of paths as for every other script.
"""

from __future__ import annotations

import asyncio
import logging

from haagent.config.command_model import Command
from haagent.config.model import GlobalDefs
from haagent.core.units import Duration, to_seconds
from haagent.effects.commands import prepare
from haagent.effects.processes import CommandError, describe

LOG = logging.getLogger("haagent.scripts")


def run_once(what: str, command: Command | None, timeout: Duration, defaults: GlobalDefs) -> None:
    """Run ``command`` to its end. No event loop may be running in this thread."""
    if command is None:
        return
    try:
        problem = asyncio.run(_run(command, timeout, defaults))
    except CommandError as error:
        problem = str(error)
    if problem:
        LOG.warning("%s: %s", what, problem)


async def _run(command: Command, timeout: Duration, defaults: GlobalDefs) -> str:
    child = prepare(command, defaults).start()
    over = await child.exited(timeout)
    if not over:
        await child.end()
    status = child.reap()
    return describe(status) if over else f"ended after {to_seconds(timeout):g} s"
