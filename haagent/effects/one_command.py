"""One configured command, run once to its end: checked, started as its user, ended with its process group when late.

Promises to say in half a sentence what went wrong, and never to raise for anything that a command, its path, its user or
the host can do. Being cancelled ends the command first. Whoever may run it when, and what a failure means, is the
caller's business.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping

from haagent.config.command_model import Command
from haagent.config.model import GlobalDefs
from haagent.core.units import Duration, to_seconds
from haagent.effects.commands import prepare
from haagent.effects.processes import CommandError, Launch, describe, in_thread

_preparing: dict[tuple[Command, GlobalDefs, tuple[str, ...]], asyncio.Task[Launch]] = {}


async def run_to_end(
    command: Command,
    defaults: GlobalDefs,
    environment: Mapping[str, str],
    timeout: Duration,
    extra: tuple[str, ...] = (),
) -> str:
    """Run ``command`` with ``extra`` arguments; return why it did not exit with status 0, empty if it did."""
    try:
        return await _run(command, defaults, environment, timeout, extra)
    except TimeoutError:
        return "its path or its user could not be looked up in time: a file or name server hangs"
    except Exception as error:
        return str(error) if isinstance(error, CommandError) else f"{type(error).__name__}: {error}"


async def _prepared(command: Command, defaults: GlobalDefs, extra: tuple[str, ...]) -> Launch:
    """Return the checked command; one attempt, and one thread, at a time, however long a hung server keeps it."""
    key = command, defaults, extra

    def forget(attempt: asyncio.Task[Launch]) -> None:
        del _preparing[key]
        if not attempt.cancelled():
            attempt.exception()  # nobody may be waiting any more

    if key not in _preparing:
        _preparing[key] = asyncio.create_task(in_thread(functools.partial(prepare, *key)))
        _preparing[key].add_done_callback(forget)
    return await asyncio.shield(_preparing[key])


async def _run(
    command: Command,
    defaults: GlobalDefs,
    environment: Mapping[str, str],
    timeout: Duration,
    extra: tuple[str, ...],
) -> str:
    async with asyncio.timeout(to_seconds(timeout)):
        launch = await _prepared(command, defaults, extra)
    child, over = launch.start(environment), False
    try:
        over = await child.exited(timeout)
    finally:
        try:
            if not over:
                await child.end()
        finally:
            status = child.reap()
    return describe(status) if over else f"ended after {to_seconds(timeout):g} s"
