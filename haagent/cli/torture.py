"""``haagent torture``: random faults from a seed on a lab, for as long as asked, judged from outside.

Formats what haagent.lab.torture measures; decides nothing.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import cast

import click

from haagent.agent.plan import plan as make_plan
from haagent.cli.building import EXIT_DUAL, advert_interval, bounds_of, clean_exit, cluster_options
from haagent.config.load import load
from haagent.core.units import MILLISECOND, SECOND, from_seconds, to_seconds
from haagent.lab import torture_report as report
from haagent.lab.budget import Bounds
from haagent.lab.cluster import Cluster, standard
from haagent.lab.daemons import ClusterSpec, DaemonKind
from haagent.lab.evidence import Evidence
from haagent.lab.namespaces import LabError, require_lab_host
from haagent.lab.observers import Pace
from haagent.lab.report import in_words
from haagent.lab.shots import shots
from haagent.lab.torture import Hit, Rules, Tally, Torture

DEFAULT_FAULTS = 60
# hours of looking: asking twice as seldom as a demo leaves the processors to what is looked at
PACE = Pace(udp=10 * MILLISECOND, http=100 * MILLISECOND)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The options of one campaign."""

    seed: int
    faults: int | None
    minutes: float | None
    daemon: str
    nodes: int
    advert: float
    strict: bool
    slack: float
    settle: float
    arbiter: str = "etcd"

    def again(self) -> str:
        """Return the command that repeats it."""
        length = f"--minutes {self.minutes:g}" if self.faults is None else f"--faults {self.faults}"
        strict = " --strict" if self.strict else ""
        strict += f" --arbiter {self.arbiter}" if self.arbiter != "etcd" else ""
        return (
            f"haagent torture --seed {self.seed} {length} --daemon {self.daemon} --nodes {self.nodes} "
            f"--advert {self.advert:g}{strict}"
        )

    def mode(self) -> str:
        """Return the daemon and how it renews."""
        renewal = "strict" if self.strict else "failsafe"
        return f"{self.daemon} ({renewal})" if self.daemon == "haagent" else self.daemon


@click.command()
@click.option("--seed", type=click.IntRange(0), help="The campaign to run.  [default: a new one]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="No new fault after this long.")
@click.option(
    "--faults", type=click.IntRange(1), help=f"How many.  [default: {DEFAULT_FAULTS}, or as --minutes says]"
)
@click.option("--slack", type=float, default=0.5, show_default=True, help="Seconds allowed above the plan.")
@click.option(
    "--settle",
    type=float,
    default=15.0,
    show_default=True,
    help="Seconds after healing until there is one owner and every node is back.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("torture"), show_default=True,
    help="Where the report and the evidence go.",
)  # fmt: skip
@cluster_options
def torture(
    *,
    seed: int | None,
    minutes: float | None,
    faults: int | None,
    slack: float,
    settle: float,
    out: Path,
    daemon: str,
    nodes: int,
    advert: float,
    strict: bool,
    arbiter: str,
) -> None:
    """Break a cluster at random, again and again, and judge it from outside.

    The same seed gives the same faults with every daemon. haagent's campaign stops at the first failure: two owners
    at once, no single owner or not every node back after healing, or an agent that ended by itself; it then leaves
    the wire, the logs and the flight recordings, prints the command that repeats it, and ends with status 1. Outages
    above what `haagent plan` says (plus --slack, for a busy machine) are counted and are no failure. Needs root.
    """
    count = faults if faults is not None or minutes is not None else DEFAULT_FAULTS
    chosen = seed if seed is not None else secrets.randbelow(1_000_000)
    campaign = Campaign(chosen, count, minutes, daemon, nodes, advert, strict, slack, settle, arbiter)
    with clean_exit("haagent torture"):
        require_lab_host()
        tally = _run(campaign, out)
        _write(tally, campaign, out)
    if daemon == "haagent" and (tally.failure or not tally.rounds):
        raise SystemExit(EXIT_DUAL)


def _run(campaign: Campaign, out: Path) -> Tally:
    click.echo(
        f"seed {campaign.seed}: {campaign.mode()} on {campaign.nodes} nodes, advert {campaign.advert:g} s"
    )
    spec = ClusterSpec(advert=advert_interval(campaign.advert))
    kind = cast("DaemonKind", campaign.daemon)
    evidence = Evidence(out, campaign.again())
    options = standard(kind, campaign.nodes, spec, failsafe=not campaign.strict, arbiter=campaign.arbiter)
    with Cluster(replace(options, pace=PACE)) as cluster:
        evidence.begin(cluster)
        try:
            rules = Rules(
                bounds(cluster) if kind == "haagent" else None,
                from_seconds(campaign.slack),
                from_seconds(campaign.settle),
                stop_at_failure=kind == "haagent",
            )
            return _play(Torture(cluster, rules, evidence, _tell), campaign, out)
        finally:
            evidence.end()


def _play(run: Torture, campaign: Campaign, out: Path) -> Tally:
    """Fire the campaign's shots; if interrupted, or the lab breaks down, report on those there were."""
    until = None if campaign.minutes is None else time.monotonic_ns() + from_seconds(campaign.minutes * 60)
    try:
        return run.run(islice(shots(campaign.seed), campaign.faults), until)
    except (KeyboardInterrupt, LabError):
        if run.tally.hits:
            _write(run.tally, campaign, out)
        raise


def bounds(cluster: Cluster) -> Bounds:
    """Return the longest outages `haagent plan` gives for any node of ``cluster``."""
    return bounds_of(
        make_plan(load([one.directory / "keepalived.conf", one.directory / "haagent.conf"]))
        for one in cluster.daemons.values()
    )


def _tell(hit: Hit, tally: Tally) -> None:
    """Print one line per shot that matters, and the counters below it, overwritten on a terminal."""
    live = sys.stdout.isatty()
    if hit.failure or hit.over or not live:
        outage = in_words(max(hit.outage, hit.outage_after))
        note = f"  FAILED: {hit.failure}" if hit.failure else "  over budget" if hit.over else ""
        line = f"{hit.shot.number:4}  {hit.shot.label} ({hit.target}): outage {outage}, dual {in_words(hit.dual)}{note}"
        click.secho(("\r\033[K" if live else "") + line, fg="red" if hit.failure else None)
    if live:
        click.echo("\r\033[K" + report.counters(tally), nl=False)


def _write(tally: Tally, campaign: Campaign, out: Path) -> None:
    """Print the report, and put page and numbers into ``out``."""
    load1 = os.getloadavg()[0]
    click.echo("\n" + report.text(tally) + "\n")
    out.mkdir(parents=True, exist_ok=True)
    title = f"seed {campaign.seed}: {campaign.mode()} on {campaign.nodes} nodes, advert {campaign.advert:g} s"
    page, numbers = out / "torture.html", out / "torture.json"
    page.write_text(report.as_html(tally, title, campaign.again()))
    numbers.write_text(
        report.as_json(
            tally,
            seed=campaign.seed,
            daemon=campaign.mode(),
            nodes=campaign.nodes,
            advert_s=to_seconds(round(campaign.advert * SECOND)),
            again=campaign.again(),
            machine_load=round(load1, 2),
        )
    )
    click.echo(f"wrote {page} and {numbers}; again: {campaign.again()}")
