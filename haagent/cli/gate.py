"""``haagent gate``: what hangs in this network namespace, with or without a running agent."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import NoReturn

import click

from haagent.agent.node_lock import keep_agents_out
from haagent.effects.gate import boot_now, clock_problem, inspect, sweep
from haagent.effects.virtual_macs import remove_left_over
from haagent.errors import EffectError, HaagentError

EX_USAGE = 64


@click.group()
def gate() -> None:
    """Look at the gate in the kernel, or remove what an agent that is gone for good has left."""


@gate.command("status")
def show() -> None:
    """Show what hangs on which interface and what it lets pass. Changes nothing."""
    try:
        found = inspect()
    except (EffectError, OSError) as error:
        _refuse(error)
    if not found.hanging:
        click.echo("no gate of haagent in this network namespace")
    for piece in found.hanging:
        click.echo(f"{piece.mechanism} on {piece.interface} {piece.hook}")
    for tier, state in found.states:
        left = (state.deadline - boot_now()) / 1e9
        when = f"closes in {left:.1f} s unless renewed" if left > 0 else "its deadline has passed: closed"
        claims = ", ".join(f"{claim} (epoch {epoch})" for claim, epoch in sorted(state.epochs.items()))
        click.echo(f"{tier.value}: {when}; open claims: {claims or 'none'}")
    _show_clock(with_times=bool(found.states))


def _show_clock(*, with_times: bool) -> None:
    """Say why the BPF tier cannot be had here, if it is the clock. Where no program runs at all that is no question."""
    with suppress(EffectError, OSError):
        if problem := clock_problem():
            click.echo(f"no BPF gate from here: {problem}")
            if with_times:
                click.echo("the times above are right only if the agent is in the same time namespace")


@gate.command("clear")
@click.option("--yes", is_flag=True, help="Do it: whatever the gate holds back passes from then on.")
def clear(*, yes: bool) -> None:
    """Remove every gate of haagent from this network namespace. Refused while an agent runs here."""
    if not yes:
        click.echo(
            "without its gate nothing stops an address that was left behind; say --yes to go on", err=True
        )
        sys.exit(EX_USAGE)
    try:
        with keep_agents_out():  # nor can one start meanwhile
            for interface in remove_left_over():  # while the gate still holds their frames back
                click.echo(f"removed virtual MAC interface {interface}")
            removed = sweep()
    except (EffectError, OSError) as error:
        _refuse(error)
    for piece in removed:
        click.echo(f"removed {piece.mechanism} on {piece.interface} {piece.hook}")
    if not removed:
        click.echo("there was none")


def _refuse(error: Exception) -> NoReturn:
    click.echo(f"haagent gate: {error}", err=True)
    sys.exit(HaagentError.exit_code if not isinstance(error, HaagentError) else error.exit_code)
