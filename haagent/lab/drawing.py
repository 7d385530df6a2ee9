"""A verdict as one self-contained SVG: the verdict first, then a lane per node, then who suffered. Pure.

Lanes are drawn from what was observed only. A block too short to see is drawn two pixels wide, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from haagent.core.units import SECOND, Duration, Instant
from haagent.lab.report import COLUMNS, headline, in_words, row, subline
from haagent.lab.verdict import FaultVerdict, Interval, Verdict

WIDTH, MARGIN, GUTTER = 1200, 40, 150
LANE, GAP = 46, 10
CHART_TOP = 168
NODE_COLOURS = (
    "#3b6fd4",
    "#0f9d8a",
    "#8a56c2",
    "#b7791f",
    "#4a7a2c",
    "#a8477e",
    "#4f6d8f",
    "#7a5c3e",
    "#5b5bd6",
)
GOOD, BAD, WARN, INK, SOFT, LINE, PAPER = (
    "#117a4b", "#d3261b", "#e8890c", "#1c2430", "#667085", "#e4e7ec", "#f7f8fa",
)  # fmt: skip
STYLE = """
text { font-family: Inter, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1c2430 }
.head { font-size: 26px; font-weight: 700 }
.sub, .legend { font-size: 13px; fill: #667085 }
.title { font-size: 13px; font-weight: 600; fill: #667085; letter-spacing: .6px }
.lane { font-size: 14px; font-weight: 600 }
.note { font-size: 11px; fill: #667085 }
.fault { font-size: 12px; font-weight: 600; fill: #475467 }
.mark { font-size: 11px; font-weight: 600 }
.tick { font-size: 11px; fill: #667085 }
.th { font-size: 12px; font-weight: 600; fill: #667085 }
.td { font-size: 13px; font-variant-numeric: tabular-nums }
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    """From time to pixels."""

    begin: Instant
    end: Instant

    def x(self, at: Instant) -> float:
        width = WIDTH - 2 * MARGIN - GUTTER
        share = (min(max(at, self.begin), self.end) - self.begin) / max(1, self.end - self.begin)
        return round(MARGIN + GUTTER + share * width, 1)

    def width(self, interval: Interval) -> float:
        return max(2.0, round(self.x(interval.end) - self.x(interval.begin), 1))


def draw(verdict: Verdict, title: str) -> str:
    """Return the SVG document."""
    scale = _Scale(verdict.begin, verdict.end)
    lanes = len(verdict.nodes) + 2
    bottom = CHART_TOP + lanes * (LANE + GAP)
    height = bottom + 92 + 34 + 28 * len(verdict.faults) + MARGIN
    parts = [
        _opening(height, headline(verdict)),
        f"<style>{STYLE}</style>",
        _hatch(),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_header(verdict, title),
        *_axis(scale, bottom),
        *_fault_columns(verdict, scale, bottom),
        *_node_lanes(verdict, scale),
        *_judged_lanes(verdict, scale),
        *_legend(bottom + 52),
        *_table(verdict.faults, bottom + 98),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _opening(height: int, label: str) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(label, quote=True)}">'
    )


def _text(x: float, y: float, kind: str, words: str, *, anchor: str = "start", fill: str = "") -> str:
    style = f' style="fill:{fill}"' if fill else ""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def _rect(
    x: float, y: float, width: float, height: float, fill: str, *, more: str = "", tip: str = ""
) -> str:
    body = f"><title>{escape(tip)}</title></rect>" if tip else "/>"
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"{more}{body}'


def _hatch() -> str:
    return (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="7" height="7" fill="#475467" fill-opacity=".10"/>'
        '<line x1="0" y1="0" x2="0" y2="7" stroke="#475467" stroke-width="2" stroke-opacity=".45"/>'
        "</pattern></defs>"
    )


def _header(verdict: Verdict, title: str) -> list[str]:
    colour = BAD if verdict.dual_total or not verdict.rounds else GOOD
    words = headline(verdict)
    return [
        _rect(MARGIN, 36, 6, 74, colour, more=' rx="3"'),
        _text(MARGIN + 20, 50, "title", title.upper()),
        _text(MARGIN + 20, 82, "head", words[0].upper() + words[1:], fill=colour),
        _text(MARGIN + 20, 106, "sub", subline(verdict)),
    ]


def _axis(scale: _Scale, bottom: int) -> list[str]:
    parts = []
    step = _tick_step(scale.end - scale.begin)
    for number in range((scale.end - scale.begin) // step + 1):
        x = scale.x(scale.begin + number * step)
        parts.append(f'<line x1="{x}" y1="{CHART_TOP}" x2="{x}" y2="{bottom}" stroke="{LINE}"/>')
        parts.append(_text(x, bottom + 16, "tick", f"{number * step / SECOND:g} s", anchor="middle"))
    return parts


def _tick_step(length: Duration) -> Duration:
    """Return a round step that gives at most 16 ticks."""
    for seconds in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600):
        if length <= 16 * seconds * SECOND:
            return int(seconds * SECOND)
    return length // 10


def _fault_columns(verdict: Verdict, scale: _Scale, bottom: int) -> list[str]:
    parts = []
    for fault in verdict.faults:
        span = Interval(fault.span.begin, fault.span.end)
        x, width = scale.x(span.begin), scale.width(span)
        column = _rect(x, CHART_TOP, width, bottom - CHART_TOP - GAP, "#475467", more=' fill-opacity=".05"')
        edge = (
            f'<line x1="{x}" y1="{CHART_TOP - 22}" x2="{x}" y2="{bottom - GAP}" '
            'stroke="#98a2b3" stroke-dasharray="3 3"/>'
        )
        parts += [
            column,
            edge,
            _text(x + 5, CHART_TOP - 12, "fault", f"{fault.span.name} {fault.span.target}"),
        ]
    return parts


def _lane_top(index: int) -> int:
    return CHART_TOP + index * (LANE + GAP)


def _lane_base(index: int, name: str, note: str, colour: str) -> list[str]:
    top = _lane_top(index)
    return [
        _rect(
            MARGIN + GUTTER, top, WIDTH - 2 * MARGIN - GUTTER, LANE, PAPER, more=' rx="4" fill-opacity=".7"'
        ),
        _text(MARGIN, top + 21, "lane", name, fill=colour),
        _text(MARGIN, top + 37, "note", note),
    ]


def _node_lanes(verdict: Verdict, scale: _Scale) -> list[str]:
    parts = []
    for index, node in enumerate(verdict.nodes):
        colour, top = NODE_COLOURS[index % len(NODE_COLOURS)], _lane_top(index)
        parts += _lane_base(index, node, "answers · has address", colour)
        for interval in verdict.presence.get(node, ()):
            tip = f"{node} has the address for {in_words(interval.length)}"
            parts.append(
                _block(interval, scale, top + LANE - 12, 5, colour, tip=tip, more=' fill-opacity=".4"')
            )
        for interval in verdict.lanes.get(node, ()):
            tip = f"{node} answers for {in_words(interval.length)}"
            parts.append(_block(interval, scale, top + 8, 22, colour, tip=tip))
        for fault in (f for f in verdict.faults if f.span.target == node):
            span = Interval(fault.span.begin, fault.span.end)
            tip = f"{fault.span.name}: {fault.span.description}"
            parts.append(_block(span, scale, top, LANE, "url(#hatch)", tip=tip))
    return parts


def _judged_lanes(verdict: Verdict, scale: _Scale) -> list[str]:
    index = len(verdict.nodes)
    return [
        *_lane_base(index, "two owners", in_words(verdict.dual_total) + " in all", INK),
        *_measured(verdict.dual, scale, _lane_top(index), BAD),
        *_lane_base(index + 1, "no answer", in_words(verdict.outage_total) + " in all", INK),
        *_measured(verdict.outages, scale, _lane_top(index + 1), WARN),
    ]


def _measured(intervals: Sequence[Interval], scale: _Scale, top: int, colour: str) -> list[str]:
    """Draw blocks with their lengths written below, where the writing has room."""
    parts, free = [], 0.0
    for interval in intervals:
        words = in_words(interval.length)
        parts.append(_block(interval, scale, top + 8, 18, colour, tip=words))
        half = 3.7 * len(words)
        middle = scale.x(interval.begin) + scale.width(interval) / 2
        middle = min(max(middle, scale.x(scale.begin) + half), scale.x(scale.end) - half)
        if middle - half >= free:
            parts.append(_text(round(middle, 1), top + LANE - 6, "mark", words, anchor="middle", fill=colour))
            free = middle + half + 6
    return parts


def _block(
    interval: Interval, scale: _Scale, y: float, height: float, fill: str, *, tip: str, more: str = ""
) -> str:
    corner = ' rx="2"' + more
    return _rect(scale.x(interval.begin), y, scale.width(interval), height, fill, more=corner, tip=tip)


def _legend(y: int) -> list[str]:
    entries = (
        (NODE_COLOURS[0], "", 14, "answers for the address"),
        (NODE_COLOURS[0], ' fill-opacity=".4"', 5, "its kernel has the address"),
        ("url(#hatch)", "", 14, "fault on this node"),
        (BAD, "", 14, "two nodes answered at once"),
        (WARN, "", 14, "client got no answer"),
    )
    parts, x = [], float(MARGIN + GUTTER)
    for fill, more, height, words in entries:
        parts.append(_rect(x, y - 4 - height / 2, 18, height, fill, more=more + ' rx="2"'))
        parts.append(_text(x + 25, y, "legend", words))
        x = round(x + 25 + 7.1 * len(words) + 12, 1)
    return parts


def _table(faults: Sequence[FaultVerdict], top: int) -> list[str]:
    at = (MARGIN, 220, 340, 470, 610, 760, 960)
    right = {"dual", "outage", "after heal", "takeover"}

    def cell(index: int, y: int, kind: str, words: str, fill: str = "") -> str:
        name = COLUMNS[index]
        x = at[index] if name not in right else at[index] + 60
        return _text(x, y, kind, words, anchor="end" if name in right else "start", fill=fill)

    parts = [cell(i, top, "th", name) for i, name in enumerate(COLUMNS)]
    for number, fault in enumerate(faults):
        y = top + 30 + 28 * number
        parts.append(
            f'<line x1="{MARGIN}" y1="{y - 19}" x2="{WIDTH - MARGIN}" y2="{y - 19}" stroke="{LINE}"/>'
        )
        for i, words in enumerate(row(fault)):
            bad = COLUMNS[i] == "dual" and fault.dual > 0
            parts.append(cell(i, y, "td", words, BAD if bad else ""))
    return parts
