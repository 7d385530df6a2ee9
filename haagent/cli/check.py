"""``haagent check``: what the daemon would make of a configuration, without touching anything.

Exit status 0: usable, possibly with warnings; 78: not usable (with ``--strict``, warnings included).
Messages go to standard error, one a line, as ``FILE:LINE:COLUMN: error: text (remedy)``.
"""

from __future__ import annotations

from pathlib import Path

import click

from haagent.agent.sources import Sources
from haagent.cli.configuration_options import arbiter_option, config_id_option, file_option
from haagent.config.dump import to_json
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.errors import EX_CONFIG


@click.command()
@file_option("Configuration file; repeatable.")
@arbiter_option("As for the daemon; overrides the arbiter block.")
@config_id_option
@click.option(
    "--node", metavar="NAME",
    help="As for the daemon: whose configuration it is.  [default: as the haagent block says, or the short host name]",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was understood as JSON; times in nanoseconds."
)
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option("--quiet", is_flag=True, help="Leave out notes about lines that have no effect.")
def check(
    files: tuple[str, ...],
    arbiter: str | None,
    config_id: str | None,
    node: str | None,
    *,
    as_json: bool,
    strict: bool,
    quiet: bool,
) -> None:
    """Check configuration files and say what haagent makes of them. Changes nothing and runs nothing.

    Exit status: 0 usable; 78 not usable, as `haagent run` would say (with --strict: or there is a warning).
    `haagent arbiter check` says whether the arbiter can be used.
    """
    try:
        configuration = Sources(
            tuple(Path(name) for name in files), arbiter or None, config_id or None, node or None
        ).load()
    except ConfigErrors as errors:
        _print("note", () if quiet else errors.notes)
        _print("warning", errors.warnings)
        _print("error", [str(error) for error in errors.errors])
        raise click.exceptions.Exit(EX_CONFIG) from None
    _print("note", () if quiet else configuration.notes)
    _print("error" if strict else "warning", configuration.warnings)
    if strict and configuration.warnings:
        raise click.exceptions.Exit(EX_CONFIG)
    click.echo(to_json(configuration) if as_json else _summary(configuration))


def _print(severity: str, messages: tuple[str, ...] | list[str]) -> None:
    for message in messages:
        click.echo(f"{severity}: {message}".encode("utf-8", "replace").decode(), err=True)


def _summary(configuration: Configuration) -> str:
    parts = [f"{len(configuration.instances)} vrrp_instance", f"{len(configuration.scripts)} vrrp_script"]
    if configuration.groups:
        parts.append(f"{len(configuration.groups)} vrrp_sync_group")
    arbiter = configuration.arbiter
    parts.append(
        "no arbiter: plain VRRP" if arbiter is None or arbiter.kind == "none" else f"arbiter {arbiter.kind}"
    )
    return "usable: " + ", ".join(parts)
