"""The end of a campaign: a table, JSON, and one HTML page with a picture. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from statistics import median

from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.lab import page
from haagent.lab.report import in_words, table
from haagent.lab.torture import Hit, Tally

LEGEND = (
    "The longest outage of each; orange: above its budget; red bar: two owners at once; on the axis: none."
)
COLUMNS = ("shot", "times", "dual", "outage", "median", "longest", "over budget")
WIDTH, HEIGHT, LEFT, TOP = 1080, 300, 60, 20
LOWEST, DECADES = 1, 5  # ms: the picture's axis runs from 1 ms to 100 s


def headline(tally: Tally) -> str:
    """Return the one sentence that matters."""
    if tally.rounds == 0:
        return "nothing was observed"
    if tally.dual:
        return f"two owners at once for {in_words(tally.dual)} in all"
    return tally.failure or "never two owners at once, and always one in the end"


def counters(tally: Tally) -> str:
    """Return the live line."""
    longest = max((max(hit.outage, hit.outage_after) for hit in tally.hits), default=0)
    return (
        f"{len(tally.hits)} shots in {in_words(tally.end - tally.begin)}: dual {in_words(tally.dual)}, "
        f"outage {in_words(tally.outage)} (longest {in_words(longest)}), over budget {tally.over}"
    )


def groups(tally: Tally) -> list[tuple[str, ...]]:
    """Return the cells of ``COLUMNS`` for every kind of shot, the most frequent first."""
    kinds: dict[str, list[Hit]] = {}
    for hit in tally.hits:
        kinds.setdefault(hit.shot.label, []).append(hit)
    return [_group(label, hits) for label, hits in sorted(kinds.items(), key=lambda k: (-len(k[1]), k[0]))]


def _group(label: str, hits: Sequence[Hit]) -> tuple[str, ...]:
    longest = [max(hit.outage, hit.outage_after) for hit in hits]
    return (
        label,
        str(len(hits)),
        in_words(sum(hit.dual for hit in hits)),
        in_words(sum(hit.outage_sum for hit in hits)),
        in_words(round(median(longest))),
        in_words(max(longest)),
        str(sum(hit.over for hit in hits)),
    )


def text(tally: Tally) -> str:
    """Return headline, sums and one line per kind of shot."""
    basis = f"judged by {tally.rounds} broadcast rounds and {tally.requests} client requests"
    return "\n".join(
        [headline(tally).capitalize(), counters(tally), basis, "", table(groups(tally), COLUMNS)]
    )


def as_json(tally: Tally, **about: object) -> str:
    """Return everything as JSON; times in ms."""
    document = {
        **about,
        "verdict": headline(tally),
        "failure": tally.failure,
        "shots": len(tally.hits),
        "length_s": round((tally.end - tally.begin) / SECOND, 1),
        "dual_ms": _ms(tally.dual),
        "outage_ms": _ms(tally.outage),
        "over_budget": tally.over,
        "rounds": tally.rounds,
        "requests": tally.requests,
        "hits": [_hit(hit) for hit in tally.hits],
    }
    return json.dumps(document, indent=1) + "\n"


def _ms(duration: Duration | None) -> float | None:
    return None if duration is None else round(duration / MILLISECOND, 1)


def _hit(hit: Hit) -> dict[str, object]:
    return {
        "number": hit.shot.number,
        "shot": hit.shot.label,
        "target": hit.target,
        "hold_ms": _ms(hit.shot.hold),
        "dual_ms": _ms(hit.dual),
        "outage_ms": _ms(hit.outage),
        "outage_after_heal_ms": _ms(hit.outage_after),
        "outage_sum_ms": _ms(hit.outage_sum),
        "budget_ms": _ms(hit.budget.during),
        "budget_after_heal_ms": _ms(hit.budget.after),
        "over_budget": hit.over,
        "settled_ms": _ms(hit.settled),
        "waited_ms": _ms(hit.waited),
        "failure": hit.failure,
    }


def as_html(tally: Tally, title: str, again: str) -> str:
    """Return one self-contained page."""
    good = not (tally.dual or tally.failure or not tally.rounds)
    longest = max((max(hit.outage, hit.outage_after) for hit in tally.hits), default=0)
    rows = [[escape(cell) for cell in row] for row in groups(tally)]
    body = (
        page.verdict(title, headline(tally), counters(tally), good=good),
        page.tiles((
            (in_words(tally.dual), "two owners at once", "bad" if tally.dual else "good"),
            (str(len(tally.hits)), "random faults", ""),
            (in_words(longest), "longest outage", ""),
            (str(tally.over), "outages above the plan", "warn" if tally.over else "good"),
        )),
        "<main><h2>Every shot</h2>",
        f'<p class="soft">{LEGEND}</p>',
        f'<div class="scroll" role="region" aria-label="shots" tabindex="0">{picture(tally)}</div>',
        "<h2>By kind</h2>",
        page.table(COLUMNS, rows, COLUMNS[1:], "kinds of shots"),
        f"<h2>Play it again</h2><pre>{escape(again)}</pre></main>",
    )  # fmt: skip
    return page.document(title, body)


def picture(tally: Tally) -> str:
    """Return an SVG: the longest outage of every shot on a logarithmic axis; dual ownership as a red bar."""
    step = (WIDTH - LEFT - 20) / max(1, len(tally.hits))
    bottom = HEIGHT - 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="width:100%;min-width:640px" role="img">'
    ]
    parts.append(f"<title>{escape(headline(tally))}</title>")
    for decade in range(DECADES + 1):
        y = bottom - decade * (bottom - TOP) / DECADES
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" class="grid-line"/>')
        label = in_words(LOWEST * 10**decade * MILLISECOND)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for index, hit in enumerate(tally.hits):
        parts.append(_mark(hit, LEFT + step * (index + 0.5), step, bottom))
    return "".join([*parts, "</svg>"])


def _mark(hit: Hit, x: float, step: float, bottom: int) -> str:
    outage = max(hit.outage, hit.outage_after) / MILLISECOND
    share = min(DECADES, math.log10(max(LOWEST, outage))) / DECADES
    y = bottom - share * (bottom - TOP)
    tip = (
        f"<title>{hit.shot.number} {escape(hit.shot.label)}: {in_words(round(outage * MILLISECOND))}</title>"
    )
    dot = "over-dot" if hit.over else "ok-dot"
    bar = ""
    if hit.dual:
        width = max(2.0, step * 0.8)
        bar = f'<rect x="{x - width / 2:.1f}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP}" class="dual-bar"/>'
    return f'<g>{tip}{bar}<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{dot}"/></g>'
