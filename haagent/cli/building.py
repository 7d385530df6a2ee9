"""What the commands that build clusters share: their options, the plan's bounds, and an end that leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from haagent.agent.plan import Plan, back
from haagent.core.units import SECOND, Duration, from_seconds
from haagent.errors import HaagentError
from haagent.lab.arbiter import COMPOUND, MEMBERS
from haagent.lab.budget import Bounds
from haagent.lab.daemons import DAEMONS
from haagent.lab.namespaces import LabError

EXIT_DUAL = 1
EXIT_INTERRUPTED = 130
# What haagent plan calls the outages a budget is made of.
PLAN_LINES = {
    "died": "host of the MASTER dies",
    "killed": "agent killed or hung, host alive",
    "stopped": "agent stopped in order",
    "better": "a better node takes over",
}
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def clean_exit(command: str = "haagent lab", failed: int | None = None) -> Iterator[None]:
    """Take the lab down on Ctrl-C, SIGTERM and a lost terminal alike, and say so in one line instead of a traceback.

    The first signal ends the command; those that follow are ignored while the lab is removed. Errors of haagent end it
    with their own status, or with ``failed``.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for one in _ENDS:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in _ENDS}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; the lab has been removed", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except HaagentError as error:
        click.echo(f"{command}: {error}", err=True)
        raise SystemExit(error.exit_code if failed is None else failed) from None
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options every command that builds a standard cluster has."""
    for option in (
        click.option(
            "--advert", type=float, default=1.0, show_default=True, help="Advert interval in seconds."
        ),
        click.option(
            "--strict", is_flag=True, help="haagent: no peers, so only the arbiter renews (release mode)."
        ),
        click.option(
            "--arbiter",
            type=click.Choice((*MEMBERS, *COMPOUND)),
            default="etcd",
            show_default=True,
            help="haagent: who decides; file needs no server, witness is one small process.",
        ),
        click.option("--nodes", type=click.IntRange(2, 3), default=2, show_default=True),
        click.option("--daemon", type=click.Choice(DAEMONS), default="haagent", show_default=True),
    ):
        command = option(command)
    return command


def advert_interval(seconds: float) -> Duration:
    """Return ``--advert`` as a Duration. Raises LabError."""
    advert = from_seconds(seconds)
    if not SECOND // 100 <= advert <= 40 * SECOND:
        raise LabError(f"--advert {seconds:g}: 0.01 to 40 seconds accepted")
    return advert


def bounds_of(plans: Iterable[Plan]) -> Bounds:
    """Return the longest outages that `haagent plan` gives for any of the nodes. Raises LabError."""
    made = tuple(plans)
    longest = {name: max(_longest(plan, what) for plan in made) for name, what in PLAN_LINES.items()}
    return Bounds(
        **longest,
        back=max(back(plan.assumptions, plan.timing) for plan in made),
        failsafe=all(plan.failsafe for plan in made),
        beside=any(plan.arbiter == "file" for plan in made),
    )


def _longest(plan: Plan, what: str) -> int:
    """Return the plan's longest outage for one thing that may happen."""
    spans = [line.span for one in plan.instances for line in one.lines if line.what == what]
    known = [span.worst for span in spans if span is not None]
    if not known:
        raise LabError(f"the plan has no outage for {what!r}")
    return max(known)
