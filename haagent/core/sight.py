"""Which nodes count as seen: the vote of a track_peer. Pure; times are CLOCK_BOOTTIME or any one clock, in ns.

A node is seen while its last authentic message is not older than ``patience``. The verdict is None, and nobody is
blamed, until there was time to hear everybody once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from haagent.core.units import Duration, Instant


def seen(
    heard: Mapping[str, Instant | None], nodes: Iterable[str], patience: Duration, now: Instant
) -> tuple[str, ...]:
    """Return those of ``nodes`` that were heard within ``patience``."""
    return tuple(node for node in nodes if (at := heard.get(node)) is not None and now - at <= patience)


def verdict(count: int, least: int, since: Instant, patience: Duration, now: Instant) -> bool | None:
    """Return whether ``count`` nodes in sight are enough; None while too few, and ``since`` is not ``patience`` ago."""
    if count >= least:
        return True
    return False if now - since > patience else None
