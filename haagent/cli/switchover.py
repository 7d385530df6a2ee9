"""``haagent switchover``: a planned handover, and what became of it."""

from __future__ import annotations

import time
from typing import Any

import click

from haagent.cli.asking import Asker, asks_agent, fail
from haagent.cli.render import printable
from haagent.control.words import duration
from haagent.core.units import SECOND

EX_NOT_MOVED = 1
LOOK_EVERY = 0.05


@click.command()
@click.argument("name")
@click.option("--to", metavar="NODE", help="Who is to be MASTER.  [default: the best other node]")
@click.option(
    "--wait", default=10.0, show_default=True, metavar="SECONDS", help="How long to watch what becomes of it."
)
@click.option("--force", is_flag=True, help="Let go even if no other node is known to be alive.")
@asks_agent
def switchover(asker: Asker, name: str, to: str | None, wait: float, *, force: bool) -> None:
    """Hand the address of instance NAME over to another node. Run it on the node that is MASTER.

    This node closes its gate, removes the address and releases the claim; it stands back for two leases. If nobody
    has taken it by then (the other node may be unhealthy), it takes the address back. With --to the others hold
    back for one lease in favour of NODE.

    Exit status: 0 another node is MASTER; 1 nobody else took it; 69 refused, or the agent cannot be asked.
    """
    began = time.monotonic_ns()
    done = asker.ask("switchover", claim=name, to=to, force=force)
    if wait <= 0 or not done["arbitrated"]:
        then = "" if done["arbitrated"] else "; without an arbiter the priorities decide who is next"
        click.echo(f"{done['claim']} is being handed over by {done['node']}{then}")
        return
    found = _watch(asker, done, began + int(wait * SECOND))
    took = duration(time.monotonic_ns() - began)
    if found is None:
        fail(
            f"nobody has taken {done['claim']} within {wait:g} s; see `haagent why {name}` on each node",
            EX_NOT_MOVED,
        )
    holder, epoch = printable(found["holder"]), found["epoch"]
    if holder == done["node"]:
        fail(
            f"nobody else took {done['claim']}: {holder} is MASTER again (epoch {epoch}) after {took}",
            EX_NOT_MOVED,
        )
    click.echo(f"{done['claim']}: {done['node']} -> {holder} (epoch {epoch}) in {took}")
    if to is not None and holder != to:
        fail(f"{to} did not take it, {holder} did", EX_NOT_MOVED)


def _watch(asker: Asker, done: dict[str, Any], until: int) -> dict[str, Any] | None:
    """Return the claim once it has a new holder, None if that does not happen in time."""
    while time.monotonic_ns() < until:
        claim: dict[str, Any] = asker.ask("why", instance=done["claim"])["claim"]
        if claim["state"] in ("held", "absent") and claim["epoch"] > done["epoch"]:
            return claim
        time.sleep(LOOK_EVERY)
    return None
