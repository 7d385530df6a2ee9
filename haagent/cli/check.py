"""``haagent check``: what the daemon would make of a configuration, without touching anything.

Exit status 0: usable, possibly with warnings; 78: not usable (with ``--strict``, warnings included).
Messages go to standard error, one a line, as ``FILE:LINE:COLUMN: error: text (remedy)``.
"""

from __future__ import annotations

from pathlib import Path

import click

from haagent.config.dump import to_json
from haagent.config.load import load, short_host_name
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.errors import EX_CONFIG

DEFAULT_FILE = "/etc/keepalived/keepalived.conf"


@click.command()
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    default=(DEFAULT_FILE,),
    show_default=True,
    help="Configuration file; repeatable.",
)
@click.option(
    "--arbiter", envvar="HAAGENT_ARBITER", help="Name or URL, as for the daemon; overrides the arbiter block."
)
@click.option("--config-id", help="Which @ID lines count.  [default: the short host name]")
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was understood as JSON; times in nanoseconds."
)
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option("--quiet", is_flag=True, help="Leave out notes about lines that have no effect.")
def check(
    files: tuple[str, ...],
    arbiter: str | None,
    config_id: str | None,
    *,
    as_json: bool,
    strict: bool,
    quiet: bool,
) -> None:
    """Check configuration files and say what haagent makes of them."""
    try:
        configuration = load(
            [Path(name) for name in files], config_id=config_id or short_host_name(), arbiter=arbiter or None
        )
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
