"""``haagent arbiter``: what the agent sees of its arbiter, and which arbiters are installed."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from haagent.cli.arbiter_check import check_arbiter
from haagent.cli.arbiter_files import check_files, init_files, replace_file
from haagent.cli.render import printable, register_lines, table
from haagent.cli.status import show, show_json
from haagent.control.client import find_socket, request
from haagent.control.snapshot import RUN_DIRECTORY
from haagent.errors import ControlError

GROUP = "haagent.arbiters"


@click.group()
def arbiter() -> None:
    """Look at the arbiter: its registers as the agent sees them, and the plugins that are installed."""


arbiter.add_command(check_arbiter)
arbiter.add_command(init_files)
arbiter.add_command(check_files)
arbiter.add_command(replace_file)


@arbiter.command("show")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--socket", "socket", metavar="PATH", help="The control socket, if it is not in the usual place."
)
@click.option("--directory", default=RUN_DIRECTORY, hidden=True)
def show_registers(name: str | None, as_json: bool, socket: str | None, directory: str) -> None:
    """Show sessions and claims as the running agent (called NAME) last saw them."""
    try:
        answer = request(socket or find_socket(name, directory), "arbiter")
    except ControlError as error:
        click.echo(f"haagent: {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        show_json(answer)
    else:
        show(register_lines(printable(answer)))


@arbiter.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_plugins(as_json: bool) -> None:
    """List the arbiters that are installed, from their metadata: nothing is imported."""
    plugins = sorted(entry_points(group=GROUP), key=lambda plugin: plugin.name)
    if as_json:
        show_json(
            {"arbiters": [dict(zip(("name", "object", "package"), _row(p), strict=True)) for p in plugins]}
        )
    elif plugins:
        show(table([("ARBITER", "OBJECT", "PACKAGE"), *(_row(plugin) for plugin in plugins)]))
    else:
        show([f"no arbiter is installed (entry-point group {GROUP})"])


def _row(plugin: EntryPoint) -> tuple[str, str, str]:
    package = f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist is not None else "unknown"
    return plugin.name, plugin.value, package
