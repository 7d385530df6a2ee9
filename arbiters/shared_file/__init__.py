"""Voting files as an arbiter: ``arbiter file``, on 1, 3 or 5 regular files or block devices that all nodes can reach.

Promises what ``haagent.arbiter`` asks for and nothing more. Needs no server and no lock manager; with one file on a
local disk it is the arbiter for a first look. ``haagent arbiter init`` makes the files.
"""

from __future__ import annotations

import asyncio
import contextlib

from arbiters.shared_file.registers import SharedFileArbiter
from arbiters.shared_file.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["SharedFileArbiter", "open_arbiter"]

FIRST_ANSWER = 1.0  # seconds to wait for a majority of the files, so that a mistake is told at once


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that opens its files in the background. Raises Misconfigured if they cannot serve."""
    arbiter = SharedFileArbiter(read_settings(options))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER):
                await arbiter.files.ready()
    except BaseException:
        await arbiter.aclose()
        raise
    return arbiter
