"""``haagent lab``: disposable clusters on this machine, in network namespaces, with faults and a verdict.

Formats what haagent.lab measures; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from haagent.cli.building import EXIT_DUAL, advert_interval, clean_exit, cluster_options
from haagent.core.units import SECOND, Instant, to_seconds
from haagent.lab import report, topology
from haagent.lab.cluster import Cluster, ClusterOptions, standard
from haagent.lab.daemons import ClusterSpec, DaemonKind
from haagent.lab.drawing import draw
from haagent.lab.namespaces import LabError, require_lab_host
from haagent.lab.scenario import SCENARIOS, Scenario, play, scenario
from haagent.lab.verdict import Verdict, judge


@dataclass(frozen=True, slots=True)
class Build:
    """The options that every command that builds a cluster has."""

    daemon: str
    nodes: int
    advert: float
    strict: bool
    arbiter: str

    def name(self) -> str:
        """Return what is built, for people."""
        return f"{self.daemon} with {self.arbiter}" if self.daemon == "haagent" else self.daemon

    def options(self, spec: ClusterSpec) -> ClusterOptions:
        """Return what the cluster is built from."""
        kind = cast("DaemonKind", self.daemon)
        return standard(kind, self.nodes, spec, failsafe=not self.strict, arbiter=self.arbiter)


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a judged run."""
    out = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option("--quick", is_flag=True, help="Adverts every 0.1 s and short holds."),
        click.option(
            "--out", type=out, default=Path("lab"), show_default=True, help="Where the SVG and JSON go."
        ),
    ):
        command = option(command)
    return cluster_options(command)


@click.group()
def lab() -> None:
    """Clusters in network namespaces of this machine: build, break, judge from outside.

    Needs root. Touches nothing but namespaces it makes itself.
    """


@lab.command()
@_run_options
def demo(*, quick: bool, out: Path, **build: Any) -> None:
    """Kill, freeze and partition the MASTER in turn; print and draw what happened.

    Ends with status 1 when two nodes of haagent ever owned the address at once.
    """
    _run(SCENARIOS["demo"], Build(**build), quick=quick, out=out)


@lab.command("run")
@click.argument("name", metavar="SCENARIO", type=click.Choice(tuple(SCENARIOS)))
@_run_options
def run_scenario(*, name: str, quick: bool, out: Path, **build: Any) -> None:
    """Play one SCENARIO (see `haagent lab scenarios`) and judge it."""
    _run(scenario(name), Build(**build), quick=quick, out=out)


@lab.command()
def scenarios() -> None:
    """List the scenarios."""
    width = max(map(len, SCENARIOS))
    for one in SCENARIOS.values():
        click.echo(f"{one.name:<{width}}  {one.summary}")


@lab.command()
@cluster_options
def up(**build: Any) -> None:
    """Build a cluster and leave it running, to look around in."""
    with clean_exit():
        require_lab_host()
        wanted = Build(**build)
        cluster = Cluster(wanted.options(ClusterSpec(advert=advert_interval(wanted.advert))))
        try:
            owner = cluster.wait_until_up(SECOND, 30 * SECOND)
        except BaseException:
            cluster.close()
            raise
        cluster.leave()
        built = cluster.topology
        click.echo(f"lab {built.name} is up; {owner} has {cluster.spec.vip4}. Files: {built.workdir}")
        for node in (*built.nodes, *built.arbiters, built.client):
            click.echo(f"  {node.name:<7} ip netns exec {node.namespace} bash")
        click.echo(f"Remove it with: haagent lab down {built.name}")


@lab.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--force", is_flag=True, help="Also labs whose program still runs.")
def down(names: tuple[str, ...], force: bool) -> None:
    """Remove labs: those named, or all that were left running or behind by a crash."""
    with clean_exit():
        require_lab_host()
        known = topology.registered()
        for name in names or known:
            if name not in known:
                raise LabError(f"no lab {name!r}; there are: {', '.join(known) or 'none'}")
            if topology.in_use(name) and not force:
                click.echo(f"lab {name} is in use by a running program; --force removes it all the same")
                continue
            topology.remove(name)
            click.echo(f"lab {name} removed")
        if not known:
            click.echo("no labs")


def _run(chosen: Scenario, build: Build, *, quick: bool, out: Path) -> None:
    with clean_exit():
        require_lab_host()
        spec = ClusterSpec(advert=SECOND // 10 if quick else advert_interval(build.advert))
        click.echo(
            f"{chosen.name}: {chosen.summary}; {build.name()} on {build.nodes} nodes, "
            f"advert {to_seconds(spec.advert):g} s"
        )
        with Cluster(build.options(spec)) as cluster:
            play(cluster, chosen.steps(spec.advert), _tell)
            verdict = judge(cluster.finish())
        about = {
            "scenario": chosen.name,
            "daemon": build.daemon,
            "arbiter": build.arbiter if build.daemon == "haagent" else None,
            "nodes": build.nodes,
            "advert_s": to_seconds(spec.advert),
        }
        _write(verdict, out, about)
    if build.daemon == "haagent" and (verdict.dual_total or not verdict.rounds):
        raise SystemExit(EXIT_DUAL)


def _tell(at: Instant, text: str) -> None:
    colour = "red" if "DUAL" in text else None
    click.secho(f"{to_seconds(at):8.3f} s  {text}", fg=colour)


def _write(verdict: Verdict, out: Path, about: dict[str, Any]) -> None:
    """Print the verdict, and put the picture and the numbers into ``out``."""
    click.echo("\n" + report.text(verdict) + "\n")
    title = (
        f"{about['scenario']}: {about['daemon']} on {about['nodes']} nodes, advert {about['advert_s']:g} s"
    )
    out.mkdir(parents=True, exist_ok=True)
    picture, numbers = out / f"{about['scenario']}.svg", out / f"{about['scenario']}.json"
    picture.write_text(draw(verdict, title))
    numbers.write_text(report.as_json(verdict, **about))
    click.echo(f"wrote {picture} and {numbers}")
