"""``haagent arbiter init | fsck | replace``: voting files, made, examined and made again.

Loads the shared-file arbiter only when one of these commands runs, and by name: haagent imports no arbiter.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from haagent.errors import EX_CONFIG

_PATHS = click.argument(
    "paths", nargs=-1, required=True, metavar="FILE...", type=click.Path(resolve_path=False)
)


def _module(name: str) -> Any:
    return import_module(f"arbiters.shared_file.{name}")


def _stop(error: Exception) -> None:
    text = (
        f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    )
    click.echo(f"haagent: {text}", err=True)
    sys.exit(EX_CONFIG)


@click.command("init")
@_PATHS
@click.option("--node", "nodes", multiple=True, required=True, help="A node that may write; once for each.")
@click.option("--domain", default="haagent", show_default=True, help="The domain of the arbiter block.")
@click.option("--registers", default=64, show_default=True, help="Nodes plus claims, with room to grow.")
@click.option("--force", is_flag=True, help="Overwrite what is there, and with it every register.")
def init_files(
    paths: tuple[str, ...], nodes: tuple[str, ...], domain: str, registers: int, force: bool
) -> None:
    """Make 1, 3 or 5 voting files (or use as many block devices): once, on one node, before the first start."""
    making = _module("making")
    try:
        headers = making.plan(paths, domain, nodes, spare=0, registers=registers)
        making.make_all(paths, headers, force=force)
    except (making.CannotMake, OSError, ValueError) as error:
        _stop(error)
    click.echo(
        f"domain {domain}: {len(paths)} voting files of {headers[0].size >> 10} KiB for {', '.join(nodes)}"
    )


@click.command("fsck")
@_PATHS
def check_files(paths: tuple[str, ...]) -> None:
    """Say of every voting file whether it counts, and why not. Exit 0: all well, 1: a majority is, 2: none is."""
    checking = _module("checking")
    findings = checking.check(paths)
    for line in checking.lines(findings):
        click.echo(line)
    sys.exit(findings.exit_code)


@click.command("replace")
@click.argument("lost", metavar="LOST")
@click.argument("others", nargs=-1, required=True, metavar="OTHER...")
@click.option("--index", type=click.IntRange(1, 5), help="Which file LOST is, where that is not plain.")
def replace_file(lost: str, others: tuple[str, ...], index: int | None) -> None:
    """Make the voting file LOST anew from the OTHERs, a majority at least, while the agents run.

    Never let the lost file itself come back afterwards: the others no longer count it.
    """
    making = _module("making")
    layout = _module("layout")
    try:
        header = making.replace_file(lost, others, None if index is None else index - 1)
    except (making.CannotMake, layout.NotAVotingFile, OSError, ValueError) as error:
        _stop(error)
    click.echo(
        f"{lost} is voting file {header.index + 1} of {len(header.members)} of domain {header.domain} again"
    )
