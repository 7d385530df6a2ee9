"""``haagent pause``, ``resume``, ``declare-down``: what only an operator can decide."""

from __future__ import annotations

import click

from haagent.cli.asking import Asker, asks_agent, fail

EX_USAGE = 64

DECLARE = """\
Declaring {node} down tells this node: an operator has made sure that {node} is powered off, or cut off from every
network, and will stay so until it is started anew.

It changes one thing. Usually a node whose electors do not include this one is never replaced by this one while its
session cannot be seen, because it may live on promises this node knows nothing of. After the declaration this
node may take over from {node} all the same, once its lease has run out.

If {node} is in fact alive, two nodes will answer for the same addresses. Look first; then say:

    haagent declare-down {node} --yes-i-am-sure"""


@click.command()
@asks_agent
def pause(asker: Asker) -> None:
    """Freeze this node for maintenance: nothing moves until `haagent resume`.

    Leases are renewed as always. A MASTER stays MASTER whatever its health checks and links say, and answers no
    node's wish to take over; a BACKUP claims nothing. So while every node is paused, an address whose MASTER dies
    STAYS DOWN until one of the others is resumed.

    The pause is of this node alone: run it on every node, and resume them all. An agent that is restarted
    is not paused.

    Exit status: 0; 69 if the agent cannot be asked.
    """
    asker.ask("pause")
    click.echo("paused: nothing moves until `haagent resume`; this node alone, so pause the others too")


@click.command()
@asks_agent
def resume(asker: Asker) -> None:
    """End a pause: health checks and better nodes count again, at once.

    Exit status: 0; 69 if the agent cannot be asked.
    """
    asker.ask("resume")
    click.echo("resumed")


@click.command("declare-down")
@click.argument("node")
@click.option("--yes-i-am-sure", "sure", is_flag=True, help="You have made sure that the node is down.")
@asks_agent
def declare_down(asker: Asker, node: str, *, sure: bool) -> None:
    """Vouch that NODE is down and stays down, so that this node may take over from it.

    Only needed if NODE held an address with a list of electors that this node is not in.

    Exit status: 0; 64 without --yes-i-am-sure, after it has said what it would mean; 69 refused, or the agent cannot
    be asked.
    """
    if not sure:
        fail(DECLARE.format(node=node), EX_USAGE)
    asker.ask("declare-down", node=node, sure=True)
    click.echo(f"{node} counts as down here until it is seen alive")
