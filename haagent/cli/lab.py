"""``haagent lab``: disposable clusters on this machine, in network namespaces, with faults and a verdict.

Formats what haagent.lab measures; decides nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import click

from haagent.core.units import SECOND, Duration, Instant, from_seconds, to_seconds
from haagent.errors import HaagentError
from haagent.lab import report, topology
from haagent.lab.cluster import Cluster, standard
from haagent.lab.daemons import DAEMONS, ClusterSpec, DaemonKind
from haagent.lab.drawing import draw
from haagent.lab.namespaces import LabError, require_lab_host
from haagent.lab.scenario import SCENARIOS, Scenario, play, scenario
from haagent.lab.verdict import Verdict, judge

EXIT_DUAL = 1
EXIT_INTERRUPTED = 130


@contextmanager
def _clean_exit() -> Iterator[None]:
    """Take the lab down on Ctrl-C and SIGTERM alike, and say so in one line instead of a traceback."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; the lab has been removed", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except HaagentError as error:
        click.echo(f"haagent lab: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options every command that builds a cluster has."""
    for option in (
        click.option(
            "--advert", type=float, default=1.0, show_default=True, help="Advert interval in seconds."
        ),
        click.option(
            "--strict", is_flag=True, help="haagent: no peers, so only the arbiter renews (release mode)."
        ),
        click.option("--nodes", type=click.IntRange(2, 3), default=2, show_default=True),
        click.option("--daemon", type=click.Choice(DAEMONS), default="haagent", show_default=True),
    ):
        command = option(command)
    return command


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
    return _cluster_options(command)


@click.group()
def lab() -> None:
    """Clusters in network namespaces of this machine: build, break, judge from outside.

    Needs root. Touches nothing but namespaces it makes itself.
    """


@lab.command()
@_run_options
def demo(*, daemon: str, nodes: int, advert: float, strict: bool, quick: bool, out: Path) -> None:
    """Kill, freeze and partition the MASTER in turn; print and draw what happened.

    Ends with status 1 when two nodes of haagent ever owned the address at once.
    """
    _run(SCENARIOS["demo"], daemon=daemon, nodes=nodes, advert=advert, strict=strict, quick=quick, out=out)


@lab.command("run")
@click.argument("name", metavar="SCENARIO", type=click.Choice(tuple(SCENARIOS)))
@_run_options
def run_scenario(
    *, name: str, daemon: str, nodes: int, advert: float, strict: bool, quick: bool, out: Path
) -> None:
    """Play one SCENARIO (see `haagent lab scenarios`) and judge it."""
    _run(scenario(name), daemon=daemon, nodes=nodes, advert=advert, strict=strict, quick=quick, out=out)


@lab.command()
def scenarios() -> None:
    """List the scenarios."""
    width = max(map(len, SCENARIOS))
    for one in SCENARIOS.values():
        click.echo(f"{one.name:<{width}}  {one.summary}")


@lab.command()
@_cluster_options
def up(daemon: str, nodes: int, advert: float, strict: bool) -> None:
    """Build a cluster and leave it running, to look around in."""
    with _clean_exit():
        require_lab_host()
        spec = ClusterSpec(advert=_advert(advert))
        cluster = Cluster(standard(_kind(daemon), nodes, spec, failsafe=not strict))
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
    with _clean_exit():
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


def _kind(daemon: str) -> DaemonKind:
    return cast("DaemonKind", daemon)


def _advert(seconds: float) -> Duration:
    advert = from_seconds(seconds)
    if not SECOND // 100 <= advert <= 40 * SECOND:
        raise LabError(f"--advert {seconds:g}: 0.01 to 40 seconds accepted")
    return advert


def _run(
    chosen: Scenario, *, daemon: str, nodes: int, advert: float, strict: bool, quick: bool, out: Path
) -> None:
    with _clean_exit():
        require_lab_host()
        spec = ClusterSpec(advert=SECOND // 10 if quick else _advert(advert))
        click.echo(
            f"{chosen.name}: {chosen.summary}; {daemon} on {nodes} nodes, advert {to_seconds(spec.advert):g} s"
        )
        with Cluster(standard(_kind(daemon), nodes, spec, failsafe=not strict)) as cluster:
            play(cluster, chosen.steps(spec.advert), _tell)
            verdict = judge(cluster.finish())
        about = {
            "scenario": chosen.name,
            "daemon": daemon,
            "nodes": nodes,
            "advert_s": to_seconds(spec.advert),
        }
        _write(verdict, out, about)
    if daemon == "haagent" and (verdict.dual_total or not verdict.rounds):
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
