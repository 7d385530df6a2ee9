"""A verdict in words: a table for the terminal, JSON for machines. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant
from haagent.lab.verdict import FaultVerdict, Interval, Verdict

COLUMNS = ("fault", "target", "dual", "outage", "after heal", "taken over by", "takeover")
_NUMERIC = frozenset({"dual", "outage", "after heal", "takeover"})


def in_words(duration: Duration | None) -> str:
    """Return a duration as people read it; a dash for None."""
    if duration is None:
        return "–"
    if duration < SECOND:
        return f"{duration / MILLISECOND:.0f} ms"
    return f"{duration / SECOND:.2f} s"


def headline(verdict: Verdict) -> str:
    """Return the one sentence that matters."""
    if verdict.rounds == 0:
        return "nothing was observed"
    if verdict.dual_total:
        return f"two owners at once for {in_words(verdict.dual_total)}"
    return "never two owners at once"


def subline(verdict: Verdict) -> str:
    """Return what the headline rests on."""
    longest = max((outage.length for outage in verdict.outages), default=0)
    count = len(verdict.faults)
    return (
        f"{count} fault{'' if count == 1 else 's'} in {in_words(verdict.end - verdict.begin)}, "
        f"longest outage {in_words(longest)}, "
        f"judged by {verdict.rounds} broadcast rounds and {verdict.requests} client requests"
    )


def row(fault: FaultVerdict) -> tuple[str, ...]:
    """Return one fault as the cells of ``COLUMNS``."""
    return (
        fault.span.name,
        fault.span.target,
        in_words(fault.dual),
        in_words(fault.outage),
        in_words(fault.outage_after),
        fault.taken_over_by or "nobody",
        in_words(fault.takeover),
    )


def table(rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> str:
    """Return an aligned plain-text table."""
    widths = [max(len(line[i]) for line in (columns, *rows)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if name in _NUMERIC else cell.ljust(width)
            for cell, width, name in zip(cells, widths, columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), "  ".join("-" * width for width in widths), *map(line, rows)])


def text(verdict: Verdict) -> str:
    """Return headline, basis and one line per fault."""
    return "\n".join(
        [headline(verdict).capitalize(), subline(verdict), "", table([row(f) for f in verdict.faults])]
    )


def as_json(verdict: Verdict, **about: object) -> str:
    """Return the verdict as JSON; times in ms since the beginning, ``about`` added at the top."""
    document = {
        **about,
        "dual_ms": _ms(verdict.dual_total),
        "outage_ms": _ms(verdict.outage_total),
        "length_ms": _ms(verdict.end - verdict.begin),
        "rounds": verdict.rounds,
        "requests": verdict.requests,
        "faults": [_fault(fault, verdict.begin) for fault in verdict.faults],
        "owners": {node: _spans(lane, verdict.begin) for node, lane in verdict.lanes.items()},
        "addresses": {node: _spans(lane, verdict.begin) for node, lane in verdict.presence.items()},
        "dual": _spans(verdict.dual, verdict.begin),
        "outages": _spans(verdict.outages, verdict.begin),
    }
    return json.dumps(document, indent=2) + "\n"


def _ms(duration: Duration) -> float:
    return round(duration / MILLISECOND, 3)


def _spans(intervals: Sequence[Interval], zero: Instant) -> list[list[float]]:
    return [[_ms(interval.begin - zero), _ms(interval.end - zero)] for interval in intervals]


def _fault(fault: FaultVerdict, zero: Instant) -> dict[str, object]:
    return {
        "fault": fault.span.name,
        "target": fault.span.target,
        "description": fault.span.description,
        "injected_ms": _ms(fault.span.begin - zero),
        "healed_ms": _ms(fault.span.end - zero),
        "dual_ms": _ms(fault.dual),
        "outage_ms": _ms(fault.outage),
        "outage_after_heal_ms": _ms(fault.outage_after),
        "owner_before": fault.owner_before,
        "taken_over_by": fault.taken_over_by,
        "takeover_ms": None if fault.takeover is None else _ms(fault.takeover),
    }
