"""The sentences a rehearsal comes down to. Pure."""

from __future__ import annotations

from haagent.lab.rehearsal.running import Rehearsal
from haagent.lab.report import in_words


def headline(one: Rehearsal) -> str:
    """Return the one sentence that matters."""
    if not one.scenes:
        return f"nothing was played: {one.interrupted}" if one.interrupted else "nothing was played"
    if one.dual:
        return f"two owners at once for {in_words(one.dual)} in all"
    if one.failures:
        count = len(one.failures)
        return f"never two owners at once, but {count} fault{'s' if count > 1 else ''} ended badly"
    if one.interrupted:
        return "never two owners at once, until it was interrupted"
    return "never two owners at once, and always one in the end"


def basis(one: Rehearsal) -> str:
    """Return what the headline rests on."""
    return (
        f"{len(one.scenes)} faults, longest outage {in_words(one.longest)}, {one.over} above the plan; "
        f"judged by {one.rounds} broadcast rounds and {one.requests} client requests"
    )


def good(one: Rehearsal) -> bool:
    """Say whether every promise was kept."""
    return bool(one.scenes) and not one.dual and not one.failures and not one.interrupted
