"""A rehearsal as one self-contained HTML page: the verdict first, then every fault, then how to repeat it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from haagent.core.units import Duration
from haagent.lab import budget, page
from haagent.lab.budget import Rule
from haagent.lab.rehearsal import timeline
from haagent.lab.rehearsal.findings import Finding
from haagent.lab.rehearsal.reporting import PlanLine, Report
from haagent.lab.rehearsal.running import Rehearsal, Scene
from haagent.lab.rehearsal.verdicts import basis, good, headline
from haagent.lab.report import in_words

# Which line of `haagent plan` a fault's budget comes from.
PLAN_OF: dict[str, tuple[Rule, ...]] = {
    "host of the MASTER dies": (budget.died, budget.isolated),
    "agent killed or hung, host alive": (budget.given_up, budget.parted),
    "agent stopped in order": (budget.stopped,),
    "switchover": (budget.handed,),
    "the arbiter is gone": (budget.arbiter_gone, budget.cut_off),
    "network split between the nodes": (budget.nothing,),
}
KINDS = {
    "added": "Added: the files do not have it",
    "changed": "Changed: something stands for it",
    "left out": "Left out: not rehearsed",
    "note": "Notes about the files",
}


def as_html(report: Report) -> str:
    """Return the page."""
    nodes = [name for name, _ in report.sources]
    body = [
        *_top(report),
        "<main>",
        *_glance(report),
        *_plan(report),
        *_timelines(report, nodes),
        *_rebuilt(report),
        *_again(report),
        "</main>",
    ]
    return page.document(f"Rehearsal of {', '.join(nodes)}", body, timeline.STYLE)


def _top(report: Report) -> Iterator[str]:
    nodes = ", ".join(name for name, _ in report.sources)
    first = report.played[0]
    over = f"haagent rehearse · {nodes} · arbiter {report.arbiter} · {report.began}"
    below = basis(first) + (f". Ended early: {first.interrupted}" if first.interrupted else "")
    yield page.verdict(over, headline(first), below, good=good(first))
    for one in report.played:
        if len(report.played) > 1:
            yield f"<h3>{escape(one.kind)}</h3>"
        yield page.tiles(_numbers(one, planned=one is first and bool(report.plan)))


def _numbers(one: Rehearsal, *, planned: bool) -> Iterator[tuple[str, str, str]]:
    yield in_words(one.dual), "two owners at once", "bad" if one.dual else "good"
    yield in_words(one.longest), "longest outage", ""
    yield (
        str(len(one.failures)),
        f"of {len(one.scenes)} faults ended badly",
        "bad" if one.failures else "good",
    )
    if planned:
        yield str(one.over), "outages above the plan", "warn" if one.over else "good"
    else:
        total = sum(max(scene.outage, scene.after) for scene in one.scenes)
        yield in_words(total), "outage, the longest of each fault summed", ""


def _glance(report: Report) -> Iterator[str]:
    """Yield the table of faults, every daemon beside the other."""
    yield '<h2 id="faults">Every fault at a glance</h2>'
    yield (
        '<p class="soft">Outage: the longest time a client got no answer while the fault lasted, and after it was '
        "healed. The plan’s longest is what <code>haagent plan</code> allows this configuration.</p>"
    )
    first, *others = report.played
    columns = ["fault", "what happens", "target", "two owners", "outage", "after heal", "plan", "verdict"]
    for other in others:
        columns += [f"{other.kind}: two owners", f"{other.kind}: outage"]
    rows = [_row(scene, [_beside(other, scene) for other in others]) for scene in first.scenes]
    yield page.table(
        columns,
        rows,
        {c for c in columns if "outage" in c or "owners" in c or c in ("after heal", "plan")},
        "faults",
    )
    for one in report.played:
        if one.skipped:
            yield f"<p>Not played with {escape(one.kind)}:</p><ul>"
            for why, group in groupby(sorted(one.skipped, key=lambda s: s.why), key=lambda s: s.why):
                names = ", ".join(skipped.entry.name for skipped in group)
                yield f"<li>{escape(names)}: {escape(why)}</li>"
            yield "</ul>"


def _beside(other: Rehearsal, scene: Scene) -> Scene | None:
    """Return the scene of another daemon that stands beside: the same fault, the same round."""
    return next((one for one in other.scenes if one.place == scene.place), None)


def _row(scene: Scene, others: Sequence[Scene | None]) -> list[str]:
    cells = [
        f'<a href="#f{scene.number}">{escape(scene.entry.name)}</a>',
        escape(scene.entry.says),
        escape(scene.target),
        _dual(scene.dual),
        _outage(scene.outage, over=scene.over_during),
        _outage(scene.after, over=scene.over_after),
        escape(in_words(scene.budget.during)),
        _badge(scene),
    ]
    for other in others:
        cells += ["–", "–"] if other is None else [_dual(other.dual), _outage(max(other.outage, other.after))]
    return cells


def _dual(length: Duration) -> str:
    return f'<b class="bad">{escape(in_words(length))}</b>' if length else "0 ms"


def _outage(length: Duration, *, over: bool = False) -> str:
    return f'<b class="warn">{escape(in_words(length))}</b>' if over else escape(in_words(length))


def _badge(scene: Scene) -> str:
    if scene.failure:
        return f"{page.badge('failed', 'bad')} {escape(scene.failure)}"
    return page.badge("above the plan", "warn") if scene.over else page.badge("kept", "good")


def _plan(report: Report) -> Iterator[str]:
    """Yield budgets against measurements."""
    if not report.plan:
        return
    yield '<h2 id="plan">The plan and what was measured</h2>'
    yield (
        f'<p class="soft">The longest outage <code>haagent plan</code> computes for these files, and the longest measured in '
        f"the faults that do just that. {escape(in_words(report.slack))} more are allowed for a busy machine.</p>"
    )
    rows = [_plan_row(line, report.played[0]) for line in report.plan]
    columns = ("what happens", "plan", "measured", "faults", "keepalived’s plan", "remark")
    yield page.table(columns, rows, ("plan", "measured", "keepalived’s plan"), "plan and measurements")


def _plan_row(line: PlanLine, played: Rehearsal) -> list[str]:
    same = PLAN_OF.get(line.what, ())
    scenes = [scene for scene in played.scenes if scene.entry.allow in same]
    measured = max((scene.outage for scene in scenes), default=None)
    names = ", ".join(dict.fromkeys(scene.entry.name for scene in scenes)) or "–"
    words = (
        line.what,
        in_words(line.worst),
        in_words(measured),
        names,
        in_words(line.keepalived),
        line.remark,
    )
    return [escape(word) for word in words]


def _timelines(report: Report, nodes: Sequence[str]) -> Iterator[str]:
    yield '<h2 id="timelines">Timelines</h2>'
    yield (
        '<p class="soft">Seconds from the fault; its time is shaded. A node’s lane is filled while it answers for the addresses, '
        "as a client on the network sees it. Below: the gates as the kernels have them, and whether a majority of the "
        'arbiter answers.</p><div class="scenes">'
    )
    first, *others = report.played
    for scene in first.scenes:
        yield f'<article class="scene" id="f{scene.number}"><header><h3>{scene.number}. {escape(scene.entry.name)}</h3>'
        yield f"{_badge(scene)}<p>{escape(scene.target)}: {escape(scene.description)}</p></header>"
        yield timeline.lanes(scene, nodes, first.kind)
        yield timeline.told(scene)
        for other in others:
            beside = _beside(other, scene)
            yield timeline.lanes(beside, nodes, other.kind) if beside is not None else ""
        yield "</article>\n"
    yield "</div>"


def _rebuilt(report: Report) -> Iterator[str]:
    yield '<h2 id="rebuilt">What was rebuilt</h2>'
    yield page.facts((f"node {name}", origin) for name, origin in report.sources)
    rows = [
        [
            escape(machine.name),
            f"<code>{escape(card.interface)}</code>",
            escape(", ".join(card.addresses)),
            escape(card.network),
        ]
        for machine in report.blueprint.machines
        for card in machine.cards
    ]
    yield page.table(("node", "interface", "addresses", "network"), rows, (), "interfaces")
    watched = [
        [
            escape(one.instance),
            str(one.vrid),
            escape(", ".join(map(str, one.watch.addresses))),
            escape(one.best),
        ]
        for one in report.blueprint.watched
    ]
    yield page.table(("instance", "VRID", "asked for", "highest priority"), watched, ("VRID",), "instances")
    yield from _findings(report.findings)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for kind, words in KINDS.items():
        of_kind = [one for one in findings if one.kind == kind]
        if of_kind:
            items = "".join(f"<li>{escape(one.text)}</li>" for one in of_kind)
            yield f"<h3>{escape(words)}</h3><ul>{items}</ul>"


def _again(report: Report) -> Iterator[str]:
    yield '<h2 id="again">Play it again</h2>'
    yield f"<pre>{escape(report.again)}</pre>"
    yield page.facts((("seed", str(report.seed)), *report.environment.facts))
    yield (
        '<p class="soft">Judged from a namespace of its own: every 20 ms all nodes are asked at once by ARP or neighbour '
        "solicitation and by ICMP echo, and a client sends a datagram every 5 ms (with many instances, less often). Two "
        "nodes that answer one question are two owners. No daemon’s word counts.</p>"
    )
