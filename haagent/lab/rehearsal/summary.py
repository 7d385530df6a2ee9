"""A rehearsal in words: a table for the terminal, JSON for machines. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.lab.rehearsal.reporting import Report
from haagent.lab.rehearsal.running import Rehearsal, Scene
from haagent.lab.rehearsal.verdicts import basis, headline
from haagent.lab.report import in_words, table

COLUMNS = ("fault", "target", "dual", "outage", "after heal", "plan allows", "verdict")


def text(report: Report) -> str:
    """Return headline, basis and a line per fault, for every daemon that played."""
    parts = []
    for one in report.played:
        rows = [row(scene) for scene in one.scenes]
        parts += [f"{one.kind}: {headline(one)}", basis(one), "", table(rows, COLUMNS), ""]
    return "\n".join(parts).rstrip()


def row(scene: Scene) -> tuple[str, ...]:
    """Return one fault as the cells of ``COLUMNS``."""
    verdict = scene.failure or ("above the plan" if scene.over else "ok")
    return (
        scene.entry.name,
        scene.target,
        in_words(scene.dual),
        in_words(scene.outage),
        in_words(scene.after),
        in_words(scene.budget.during),
        verdict,
    )


def as_json(report: Report) -> str:
    """Return everything as JSON; times in ms."""
    document = {
        "again": report.again,
        "seed": report.seed,
        "began": report.began,
        "arbiter": report.arbiter,
        "environment": dict(report.environment.facts),
        "nodes": dict(report.sources),
        "findings": [{"kind": one.kind, "text": one.text} for one in report.findings],
        "played": [_played(one) for one in report.played],
    }
    return json.dumps(document, indent=1) + "\n"


def _played(one: Rehearsal) -> dict[str, object]:
    return {
        "daemon": one.kind,
        "verdict": headline(one),
        "interrupted": one.interrupted,
        "dual_ms": _ms(one.dual),
        "over_plan": one.over,
        "rounds": one.rounds,
        "requests": one.requests,
        "faults": [_scene(scene) for scene in one.scenes],
        "left_out": [{"fault": skipped.entry.name, "why": skipped.why} for skipped in one.skipped],
    }


def _scene(scene: Scene) -> dict[str, object]:
    return {
        "number": scene.number,
        "fault": scene.entry.name,
        "scenarios": scene.entry.scenarios,
        "target": scene.target,
        "description": scene.description,
        "held_s": round((scene.span.end - scene.span.begin) / SECOND, 2),
        "dual_ms": _ms(scene.dual),
        "outage_ms": _ms(scene.outage),
        "outage_after_heal_ms": _ms(scene.after),
        "allowed_ms": _ms(scene.budget.during),
        "allowed_after_heal_ms": _ms(scene.budget.after),
        "over_plan": scene.over,
        "settled_ms": _ms(scene.settled),
        "failure": scene.failure,
        "owners": {name: _owners(scene, name) for name in scene.seen},
    }


def _owners(scene: Scene, instance: str) -> dict[str, Sequence[Sequence[float | None]]]:
    lanes = scene.seen[instance].verdict.lanes
    return {
        node: [[_ms(i.begin - scene.begin), _ms(i.end - scene.begin)] for i in lane]
        for node, lane in lanes.items()
    }


def _ms(duration: Duration | None) -> float | None:
    return None if duration is None else round(duration / MILLISECOND, 1)
