"""Questions whose caller may be gone when they end.

Promises that an error nobody is left to fetch is dropped. asyncio reports such an error to the loop's exception handler,
and the agent takes what arrives there for a defect and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def attended(asking: Awaitable[Answer]) -> asyncio.Task[Answer]:
    """Return a task for ``asking``, to be waited for, cancelled, or left alone."""
    task = asyncio.ensure_future(asking)
    task.add_done_callback(_fetch)
    return task


def _fetch(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
