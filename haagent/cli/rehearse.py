"""``haagent rehearse``: your own configuration, rebuilt in network namespaces, broken on purpose, judged from outside."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import click

from haagent.cli.building import EXIT_DUAL, clean_exit
from haagent.cli.rehearsing import Wanted, perform, prepare
from haagent.lab.namespaces import require_lab_host
from haagent.lab.rehearsal.arbitration import KINDS
from haagent.lab.rehearsal.catalogue import CATALOGUE
from haagent.lab.rehearsal.stage import RIVALS

EXIT_UNUSABLE = 2


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (value or "").split(",")))


@click.command()
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="One per node, or one with @host lines for all, or one node's: the others are made from it.",
)
@click.option("--node", "nodes", multiple=True, metavar="NAME=FILE", help="A node's file and name.")
@click.option("--arbiter", type=click.Choice(KINDS), help="Instead of the file's own kind.")
@click.option("--strict", is_flag=True, help="No peers: the arbiter alone renews.")
@click.option(
    "--scripts",
    type=click.Choice(["stub", "real"]),
    default="stub",
    show_default=True,
    help="Whether your scripts run, in the namespaces, as root on this machine.",
)
@click.option("--faults", callback=_names, metavar="NAME,...", help="These only; --list names all.")
@click.option("--quick", is_flag=True, help="The most important faults only.")
@click.option(
    "--repeat", type=click.IntRange(1, 1000), default=1, show_default=True, help="Play the list so often."
)
@click.option("--shuffle", is_flag=True, help="Every round in another order, from the seed.")
@click.option("--seed", type=click.IntRange(0), help="For --shuffle.  [default: a new one]")
@click.option(
    "--slack", default=0.5, show_default=True, help="Seconds allowed above the plan, for a busy machine."
)
@click.option(
    "--compare",
    multiple=True,
    type=click.Choice(RIVALS),
    help="Play the same list with this daemon on the same files.",
)
@click.option("--with-keepalived", "keepalived", is_flag=True, help="As --compare keepalived.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("rehearsal"),
    show_default=True,
    help="Where the report goes.",
)
@click.option(
    "--check", is_flag=True, help="Say what would be rebuilt and how long it would take; start nothing."
)
@click.option("--list", "listing", is_flag=True, help="List the faults.")
def rehearse(
    *,
    files: tuple[Path, ...],
    nodes: tuple[str, ...],
    arbiter: str | None,
    strict: bool,
    scripts: str,
    faults: tuple[str, ...],
    quick: bool,
    repeat: int,
    shuffle: bool,
    seed: int | None,
    slack: float,
    compare: tuple[str, ...],
    keepalived: bool,
    out: Path,
    check: bool,
    listing: bool,
) -> None:  # fmt: skip
    """Rebuild your configuration in network namespaces, break it, and write a report.

    Interfaces are called as in the file, addresses are the file's own, the arbiter is of the file's kind and local. Touches
    none of the machine's own interfaces and leaves nothing behind. Needs root.

    Exit status: 0 no promise was broken; 1 two owners at once, no owner after healing, an epoch that fell, or a daemon
    that ended; 2 the files or this machine cannot be used; 130 interrupted.
    """
    if listing:
        _list()
        return
    both = tuple(dict.fromkeys((*compare, *(["keepalived"] if keepalived else []))))
    chosen = seed if seed is not None else secrets.randbelow(1_000_000)
    wanted = Wanted(
        files, nodes, arbiter, strict, scripts, faults, quick, repeat, chosen, shuffle, slack, both
    )
    with (
        clean_exit("haagent rehearse", EXIT_UNUSABLE),
        tempfile.TemporaryDirectory(prefix="haagent-") as scratch,
    ):
        plot = prepare(wanted, Path(scratch))
        if check:
            return
        require_lab_host(("ip", "nft"))
        failed = perform(plot, out)
    if failed:
        raise SystemExit(EXIT_DUAL)


def _list() -> None:
    width = max(len(one.name) for one in CATALOGUE)
    for one in CATALOGUE:
        click.echo(f"{one.name:<{width}}  {one.says}{'  (--quick)' if one.quick else ''}")
