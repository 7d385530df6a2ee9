"""One fault as lanes: who answered, whose gate was open, whether the arbiter answered, who suffered. Pure.

A lane is a label, a strip and a number, so that words keep their size on a narrow screen. Strips are SVG. A block too
short to see is drawn a few units wide, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from haagent.core.units import SECOND, Duration, Instant
from haagent.lab.page import NODE_CLASSES
from haagent.lab.rehearsal.running import Scene
from haagent.lab.report import in_words
from haagent.lab.verdict import Interval

UNITS, LEAST = 1000, 4
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
STYLE = """
.scenes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr)); gap: 26px 36px; margin-top: 14px }
.scene { border-top: 2px solid var(--line); padding-top: 10px; min-width: 0; break-inside: avoid }
.scene header { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline }
.scene header p { flex-basis: 100%; margin: 0 0 6px; color: var(--soft) }
.who { font-size: 12.5px; font-weight: 600; color: var(--soft); margin: 10px 0 2px }
.lane { display: grid; grid-template-columns: minmax(74px, 17%) 1fr minmax(52px, 11%); gap: 8px; align-items: center; font-size: 12.5px; min-height: 20px }
.lane > span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.lane > span:last-child { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); white-space: nowrap }
.lane svg { display: block; width: 100%; height: 14px; background: var(--wash); border-radius: 3px }
.lane.thin { min-height: 14px; color: var(--soft) } .lane.thin svg { height: 6px }
.lane .during { fill: var(--fault); fill-opacity: .16 } .lane .fault { fill: var(--fault) }
.lane .dual { fill: var(--bad) } .lane .outage { fill: var(--warnfill) } .lane .arbiter { fill: var(--soft) }
.lane.hurt > span:last-child { color: var(--ink); font-weight: 600 } .lane.dead > span { color: var(--bad) !important; font-weight: 700 }
.axis { display: grid; grid-template-columns: minmax(74px, 17%) 1fr minmax(52px, 11%); gap: 8px; font-size: 11.5px; color: var(--soft) }
.axis div { position: relative; height: 17px } .axis i { position: absolute; font-style: normal; transform: translateX(-50%); white-space: nowrap }
.told { font-size: 12.5px; color: var(--soft); margin: 6px 0 0 } .told summary { cursor: pointer }
""" + "".join(f".lane .n{n} {{ fill: var(--n{n}) }}\n" for n in range(NODE_CLASSES))  # fmt: skip


def lanes(scene: Scene, nodes: Sequence[str], daemon: str) -> str:
    """Return the lanes of one scene, headed by the daemon's name."""
    strip = _Strip(scene)
    parts = [f'<p class="who">{escape(daemon)}</p>', strip.axis()]
    parts.append(strip.lane("fault", [_block([strip.span], "fault", "fault")], in_words(strip.span.length)))
    several = len(scene.seen) > 1
    for instance, seen in scene.seen.items():
        if several:
            parts.append(f'<p class="who">{escape(instance)}</p>')
        verdict = seen.verdict
        for number, node in enumerate(nodes):
            colour = f"n{number % NODE_CLASSES}"
            owned = verdict.lanes.get(node, ())
            length = in_words(sum(one.length for one in owned)) if owned else ""
            parts.append(strip.lane(node, [_block(owned, colour, f"{node} answers")], length))
        dead = " dead" if verdict.dual_total else ""
        parts.append(
            strip.lane(
                "two owners", [_block(verdict.dual, "dual", "two owners")], in_words(verdict.dual_total), dead
            )
        )
        hurt = " hurt" if verdict.outage_total else ""
        parts.append(
            strip.lane(
                "no answer",
                [_block(verdict.outages, "outage", "no answer")],
                in_words(verdict.outage_total),
                hurt,
            )
        )
    if several and (scene.gates or scene.arbiter is not None):
        parts.append('<p class="who">gates and arbiter</p>')
    parts += _kernel_lanes(scene, nodes, strip)
    return "".join(parts)


def _kernel_lanes(scene: Scene, nodes: Sequence[str], strip: _Strip) -> Iterable[str]:
    for number, node in enumerate(nodes):
        if node in scene.gates:
            opened = _block(scene.gates[node], f"n{number % NODE_CLASSES}", f"gate of {node} open")
            yield strip.lane(f"gate {node}", [opened], "", " thin")
    if scene.arbiter is not None:
        yield strip.lane("arbiter", [_block(scene.arbiter, "arbiter", "arbiter answers")], "", " thin")


def told(scene: Scene) -> str:
    """Return what notify scripts were told, folded away."""
    heard = sorted(
        ((one.at, node, one) for node, many in scene.notified.items() for one in many),
        key=lambda each: each[0],
    )
    if not heard:
        return ""
    lines = "".join(
        f"<li>{(at - scene.span.begin) / SECOND:+.1f} s {escape(node)}: {escape(' '.join(one.words[1:]))}"
        f"{f', epoch {one.epoch}' if one.epoch else ''}</li>"
        for at, node, one in heard
    )
    return f'<details class="told"><summary>{len(heard)} notifications</summary><ul>{lines}</ul></details>'


Blocks = tuple[tuple[Interval, ...], str, str]


def _block(intervals: Iterable[Interval], kind: str, tip: str) -> Blocks:
    return tuple(intervals), kind, tip


class _Strip:
    """The scale of one scene; the fault begins at 0 s."""

    def __init__(self, scene: Scene) -> None:
        self._begin, self._end = scene.begin, scene.end
        self.span = Interval(scene.span.begin, scene.span.end)

    def lane(self, label: str, blocks: Sequence[Blocks], value: str, kind: str = "") -> str:
        """Return one lane; the time of the fault is shaded."""
        during = "" if label == "fault" else self._rect(self.span, "during", "")
        drawn = "".join(self._rect(i, colour, tip) for many, colour, tip in blocks for i in many)
        words = (
            ", ".join(f"{tip} {in_words(sum(i.length for i in many))}" for many, _, tip in blocks) or label
        )
        return (
            f'<div class="lane{kind}"><span title="{escape(label, quote=True)}">{escape(label)}</span>'
            f'<svg viewBox="0 0 {UNITS} 10" preserveAspectRatio="none" role="img" aria-label="{escape(words, quote=True)}">'
            f"{during}{drawn}</svg><span>{escape(value)}</span></div>\n"
        )

    def _x(self, at: Instant) -> float:
        return round(
            UNITS * (min(max(at, self._begin), self._end) - self._begin) / max(1, self._end - self._begin), 1
        )

    def _rect(self, interval: Interval, kind: str, tip: str) -> str:
        x = self._x(interval.begin)
        width = max(LEAST, round(self._x(interval.end) - x, 1))
        title = f"<title>{escape(tip)} for {in_words(interval.length)}</title>" if tip else ""
        return f'<rect class="{kind}" x="{x}" y="0" width="{width}" height="10">{title}</rect>'

    def axis(self) -> str:
        """Return the seconds, counted from the fault."""
        zero, step = self.span.begin, _step(self._end - self._begin)
        first, last = -(-(self._begin - zero) // step), (self._end - zero) // step
        marks = "".join(
            f'<i style="left:{self._x(zero + number * step) / UNITS * 100:.1f}%">{number * step / SECOND:g} s</i>'
            for number in range(first, last + 1)
        )
        return f'<div class="axis" aria-hidden="true"><span></span><div>{marks}</div><span></span></div>'


def _step(length: Duration) -> Duration:
    """Return a round step that gives at most 7 marks."""
    return next((s * SECOND for s in _STEPS if length <= 7 * s * SECOND), length // 5)
