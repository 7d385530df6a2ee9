"""What ``haagent rehearse`` does with its options: reads, says what is rebuilt, plays on every stage, writes the report.

Formats what haagent.lab.rehearsal measures; decides nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from haagent.agent.plan import Plan
from haagent.agent.plan import plan as make_plan
from haagent.cli.building import bounds_of
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.core.units import SECOND, from_seconds
from haagent.errors import HaagentError
from haagent.lab.namespaces import LabError
from haagent.lab.rehearsal.arbitration import Arbitration, arbitration
from haagent.lab.rehearsal.blueprint import Blueprint, draw_up
from haagent.lab.rehearsal.catalogue import CATALOGUE, Entry, entry, rounds
from haagent.lab.rehearsal.environment import Environment, look_around
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.page import as_html
from haagent.lab.rehearsal.reporting import PlanLine, Report
from haagent.lab.rehearsal.rewriting import Stubs, rewrite
from haagent.lab.rehearsal.running import Director, Rehearsal, Rules, Scene, Skipped, Tempo
from haagent.lab.rehearsal.sources import NodeSource, read_sources
from haagent.lab.rehearsal.stage import RIVALS, Play, RivalKind, Stage
from haagent.lab.rehearsal.summary import as_json, text
from haagent.lab.report import in_words


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of one rehearsal, as given."""

    files: tuple[Path, ...]
    nodes: tuple[str, ...]
    arbiter: str | None
    strict: bool
    scripts: str
    faults: tuple[str, ...]
    quick: bool
    repeat: int
    seed: int
    shuffle: bool
    slack: float
    compare: tuple[str, ...]

    def again(self) -> str:
        """Return the command that repeats it."""
        words = [
            "haagent rehearse",
            *(f"-f {path}" for path in self.files),
            *(f"--node {n}" for n in self.nodes),
        ]
        words += [f"--arbiter {self.arbiter}"] if self.arbiter else []
        words += ["--strict"] if self.strict else []
        words += ["--scripts real"] if self.scripts == "real" else []
        words += [f"--faults {','.join(self.faults)}"] if self.faults else []
        words += ["--quick"] if self.quick else []
        words += [f"--repeat {self.repeat}"] if self.repeat > 1 else []
        words += ["--shuffle"] if self.shuffle else []
        return " ".join([*words, f"--seed {self.seed}", *(f"--compare {one}" for one in self.compare)])

    def entries(self) -> list[Entry]:
        """Return the faults of one round, in order. Raises LabError for one that is not known."""
        if self.faults:
            return [entry(name) for name in self.faults]
        return [one for one in CATALOGUE if one.quick or not self.quick]

    def rounds(self) -> Iterator[Entry]:
        """Return the faults of every round; with --shuffle, each round in the order of the seed."""
        return rounds(self.entries(), self.repeat, self.seed if self.shuffle else None)


@dataclass(frozen=True, slots=True)
class Plot:
    """What is going to be played."""

    wanted: Wanted
    sources: tuple[NodeSource, ...]
    blueprint: Blueprint
    arbitration: Arbitration
    findings: Findings
    tempo: Tempo
    environment: Environment


def prepare(wanted: Wanted, scratch: Path) -> Plot:
    """Read the files, say what can be rebuilt and how long it takes. Raises LabError, ConfigErrors."""
    findings = Findings()
    key = scratch / "peers.key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    try:
        sources = read_sources(wanted.files, _by_node(wanted.nodes), key, findings)
    except ConfigErrors as errors:
        raise LabError(f"the configuration cannot be used\n{errors}") from errors
    decided = arbitration(sources, wanted.arbiter, findings, strict=wanted.strict)
    blueprint = draw_up(sources, findings)
    for source in sources:  # for what it finds: the stage rewrites again, where its files are
        rewrite(source.statements, Stubs(scratch, real=wanted.scripts == "real"), findings)
    tempo = _tempo(sources, decided)
    plot = Plot(wanted, sources, blueprint, decided, findings, tempo, look_around())
    _preflight(plot)
    return plot


def _by_node(nodes: Sequence[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for one in nodes:
        name, equals, file = one.partition("=")
        if not equals or not name or not file:
            raise LabError(f"--node {one}: NAME=FILE accepted")
        found.setdefault(name, []).append(Path(file))
    return found


def _tempo(sources: Sequence[NodeSource], decided: Arbitration) -> Tempo:
    instances = [one for source in sources for one in source.configuration.instances]
    advert = max((one.advert_interval for one in instances), default=SECOND)
    lease = max((s.configuration.arbiter.lease or 0 for s in sources if s.configuration.arbiter), default=0)
    delay = max((one.preempt_delay for one in instances), default=0)
    return Tempo.of(advert, max(lease, 2 * advert if decided.kinds else 0), delay)


def _preflight(plot: Plot) -> None:
    """Print what is rebuilt, what is not, and how long it takes."""
    for source in plot.sources:
        click.echo(f"node {source.name}: {source.origin}")
    for network in plot.blueprint.networks:
        click.echo(f"network {network.label}: client {', '.join(network.client)}")
    asked = (f"{one.instance} ({', '.join(map(str, one.watch.addresses))})" for one in plot.blueprint.watched)
    click.echo(f"asked for: {'; '.join(asked)}")
    click.echo(f"arbiter: {plot.arbitration.name}")
    for finding in plot.findings.in_order():
        click.secho(f"{finding.kind}: {finding.text}", fg=None if finding.kind == "note" else "yellow")
    stages = 1 + len(plot.wanted.compare)
    span = plot.tempo.estimate(plot.wanted.entries(), plot.wanted.repeat) * stages
    count = len(plot.wanted.entries()) * plot.wanted.repeat
    click.echo(f"{count} faults on {stages} stage{'s' if stages > 1 else ''}: about {_minutes(span)}")


def _minutes(span: int) -> str:
    return f"{span / SECOND:.0f} s" if span < 120 * SECOND else f"{span / SECOND / 60:.0f} minutes"


def perform(plot: Plot, out: Path) -> bool:
    """Play on every stage, write the report whatever happens; return whether haagent broke a promise."""
    kinds: list[RivalKind] = ["haagent", *(one for one in RIVALS if one in plot.wanted.compare)]
    played: list[Rehearsal] = []
    plans: list[Plan] = []
    try:
        for kind in kinds:
            click.echo(f"\n{kind}:")
            _play(plot, kind, out, played, plans)
    except KeyboardInterrupt:
        _note_end(played, "interrupted")
        _write(plot, played, plans, out)
        raise
    except HaagentError as error:
        _note_end(played, str(error))
        if not (played and played[0].scenes):
            raise
        click.echo(f"haagent rehearse: {error}", err=True)
    _write(plot, played, plans, out)
    first = played[0]
    return bool(first.failures or first.interrupted or not first.scenes)


def _note_end(played: Sequence[Rehearsal], why: str) -> None:
    if played:
        played[-1].interrupted = why


def _play(plot: Plot, kind: RivalKind, out: Path, played: list[Rehearsal], plans: list[Plan]) -> None:
    play = Play(plot.blueprint, plot.arbitration, plot.findings, kind, plot.wanted.scripts == "real")
    with Stage(play) as stage:
        bounds = None
        if kind == "haagent":
            plans += _plans(stage)
            bounds = bounds_of(plans) if plot.arbitration.kinds else None
        evidence = out / "evidence" if kind == "haagent" else None
        rules = Rules(plot.tempo, bounds, from_seconds(plot.wanted.slack), evidence)
        director = Director(stage, rules, _tell)
        played.append(director.rehearsal)
        director.run(plot.wanted.rounds())


def _plans(stage: Stage) -> list[Plan]:
    """Return `haagent plan` of every node as it runs here."""
    directories = [one.directory for one in stage.daemons.values()]
    return [make_plan(load([one / "keepalived.conf", one / "haagent.conf"])) for one in directories]


def _plan_lines(plans: Sequence[Plan]) -> Iterator[PlanLine]:
    """Yield the worst of every line over all nodes and instances."""
    lines = [line for plan in plans for one in plan.instances for line in one.lines]
    for what in dict.fromkeys(line.what for line in lines):
        same = [line for line in lines if line.what == what]
        ours = [line.span.worst for line in same if line.span is not None]
        theirs = [line.keepalived.worst for line in same if line.keepalived is not None]
        yield PlanLine(what, max(ours, default=None), max(theirs, default=None), same[0].remark)


def _tell(what: Scene | Skipped | str) -> None:
    if isinstance(what, Skipped):
        click.echo(f"   -  {what.entry.name}: left out, {what.why}")
    elif isinstance(what, Scene):
        outage = in_words(max(what.outage, what.after))
        note = f"  FAILED: {what.failure}" if what.failure else "  above the plan" if what.over else ""
        line = f"{what.number:4}  {what.entry.name} ({what.target}): outage {outage}, dual {in_words(what.dual)}{note}"
        click.secho(line, fg="red" if what.failure else "yellow" if what.over else None)
    else:
        click.echo(what)


def _write(plot: Plot, played: Sequence[Rehearsal], plans: Sequence[Plan], out: Path) -> None:
    report = Report(
        played=tuple(played),
        plan=tuple(_plan_lines(plans)),
        findings=plot.findings.in_order(),
        sources=tuple((source.name, source.origin) for source in plot.sources),
        blueprint=plot.blueprint,
        arbiter=plot.arbitration.name,
        again=plot.wanted.again(),
        seed=plot.wanted.seed,
        slack=from_seconds(plot.wanted.slack),
        began=plot.environment.began,
        environment=plot.environment,
    )
    out.mkdir(parents=True, exist_ok=True)
    page, numbers = out / "rehearsal.html", out / "rehearsal.json"
    page.write_text(as_html(report))
    numbers.write_text(as_json(report))
    click.echo("\n" + text(report))
    click.echo(f"\nwrote {page} and {numbers}; again: {report.again}")
