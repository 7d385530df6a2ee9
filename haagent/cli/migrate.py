"""``haagent migrate``: what changes for a keepalived user, and what to type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from haagent.agent.migration import PLACEHOLDER, Difference, Migration
from haagent.agent.migration import migrate as make_migration
from haagent.agent.parameters import arbitrated
from haagent.agent.sources import Sources
from haagent.cli.asking import fail
from haagent.cli.configuration_options import arbiter_option, config_id_option, file_option
from haagent.cli.plan import plan_lines
from haagent.cli.render import bold
from haagent.cli.status import show
from haagent.config.model import ArbiterConfig, Configuration
from haagent.errors import EX_CONFIG, ConfigError

EXTRA_FILE = "/etc/haagent/haagent.conf"
DROP_IN = "/etc/systemd/system/haagent.service.d/files.conf"


@click.command()
@file_option("keepalived's configuration; repeatable.")
@arbiter_option("The arbiter you are going to use.  [default: three etcd members with made-up names]")
@config_id_option
@click.option(
    "--print", "part", type=click.Choice(["report", "configuration", "unit"]), default="report", show_default=True,
    help="The whole report, or only a file it proposes.",
)  # fmt: skip
def migrate(files: tuple[str, ...], arbiter: str | None, config_id: str | None, part: str) -> None:
    """Explain what changes when haagent takes keepalived's place, and print the files it needs.

    Reads keepalived's own configuration and changes nothing. Exit status: 0; 78 the configuration cannot be used.
    """
    try:
        sources = Sources(tuple(Path(name) for name in files), config_id=config_id or None)
        own = sources.load().arbiter
        configuration, placeholder = _with_arbiter(sources, own, arbiter)
        absolute = [str(Path(name).resolve()) for name in files]
        made = make_migration(configuration, absolute, placeholder=placeholder, extra=EXTRA_FILE, own=own)
    except ConfigError as error:
        fail(
            f"{error}\nhaagent: mend this first; keepalived may have ignored it, haagent does not", EX_CONFIG
        )
    if part == "report":
        show(list(_report(made)))
    else:
        click.echo(made.additions if part == "configuration" else made.drop_in, nl=False)


def _with_arbiter(
    sources: Sources, own: ArbiterConfig | None, text: str | None
) -> tuple[Configuration, bool]:
    """Return the configuration with the arbiter that ``text`` or the files name, and whether that was made up."""
    placeholder = own is None and not text
    configuration = replace(sources, arbiter=PLACEHOLDER if placeholder else text or None).load()
    if not arbitrated(configuration):
        raise ConfigError("with 'arbiter none' nothing changes; name the arbiter you are going to use")
    return configuration, placeholder


def _report(made: Migration) -> Iterator[str]:
    configuration = made.configuration
    names = ", ".join(one.name for one in configuration.instances) or "no instance"
    yield f"{bold('Read')}  {names}; {len(configuration.scripts)} check scripts, {len(configuration.groups)} sync groups"
    for message in configuration.warnings:
        yield f"  warning  {message}"
    for message in configuration.notes:
        yield f"  note     {message}"
    yield ""
    yield bold("What changes")
    for difference in made.differences:
        yield from _difference(difference, len(configuration.instances))
    yield bold("How long nobody answers, beside keepalived")
    yield from (f"  {line}" if line else "" for line in plan_lines(made.plan))
    yield ""
    yield f"{bold('To add')}  {EXTRA_FILE}, on every node"
    if made.placeholder:
        yield "  (the arbiter's endpoints are made up; say --arbiter URL, or put yours in)"
    yield from _indented(made.additions)
    yield ""
    yield f"{bold('To run it')}  {DROP_IN}"
    yield from _indented(made.drop_in)
    yield ""
    yield from _steps()


def _difference(difference: Difference, instances: int) -> Iterator[str]:
    names = difference.concerns
    about = "" if len(names) == instances > 1 or instances == 1 == len(names) else f"  ({', '.join(names)})"
    yield f"  before  {difference.before}{about}"
    yield f"  now     {difference.now}"
    yield ""


def _steps() -> Iterator[str]:
    """Return the order in which a live pair is migrated; tests/netns/test_migration.py does the same."""
    yield bold("One node at a time, BACKUPs first, without a moment of two MASTERs")
    steps = (
        f"on every node: haagent check -f KEEPALIVED.CONF -f {EXTRA_FILE}; and haagent arbiter check with the same files",
        "on a BACKUP: systemctl disable --now keepalived; systemctl enable --now haagent",
        "haagent status: it must say BACKUP, name the MASTER it hears, and show no error of the arbiter (idle is right)",
        "the other BACKUPs in the same way, the MASTER last: stopping its keepalived hands over to a haagent node",
        "haagent status on all: one MASTER, its epoch, the same holder everywhere",
    )
    for number, step in enumerate(steps, start=1):
        yield f"  {number}. {step}"
    yield "  While a keepalived node is left, that one still becomes MASTER without asking: do not stop halfway."
    yield "  Back again: systemctl disable --now haagent; systemctl enable --now keepalived; the MASTER last, as well."


def _indented(text: str) -> Iterator[str]:
    return (f"    {line}" if line else "" for line in text.rstrip("\n").split("\n"))
