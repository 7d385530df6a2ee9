"""``haagent plan``: how long each thing takes with a configuration, before it happens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from haagent.agent.plan import PPM, SLEW_PPM, Assumptions, InstancePlan, Line, Margin, Plan, Span
from haagent.agent.plan import plan as make_plan
from haagent.cli.asking import fail
from haagent.cli.configuration_options import arbiter_option, config_id_option, file_option
from haagent.cli.render import bold, table
from haagent.cli.status import show, show_json
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.control.words import duration
from haagent.core.units import MICROSECOND, MILLISECOND, SECOND
from haagent.errors import EX_CONFIG, ConfigError


@click.command()
@file_option("Configuration file; repeatable.")
@arbiter_option("Overrides the arbiter block.")
@config_id_option
@click.option(
    "--round-trip", default=5.0, show_default=True, metavar="MS", help="To the arbiter and back, assumed."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times in nanoseconds.")
def plan(
    files: tuple[str, ...], arbiter: str | None, config_id: str | None, round_trip: float, *, as_json: bool
) -> None:
    """Say how long nobody answers in each failure, what margin exclusivity has, and what keepalived would do.

    The times are for a takeover by a node with this configuration. Touches nothing. Exit status: 0; 78 the
    configuration cannot be used, or its timing is not safe (the arithmetic is printed).
    """
    assumed = Assumptions(round_trip=round(round_trip * MILLISECOND / MICROSECOND) * MICROSECOND)
    try:
        configuration = load([Path(name) for name in files], config_id=config_id, arbiter=arbiter or None)
        made = make_plan(configuration, assumed)
    except (ConfigErrors, ConfigError) as error:
        fail(str(error), EX_CONFIG)
    if as_json:
        show_json(dataclasses.asdict(made))
    else:
        show(plan_lines(made))


def plan_lines(made: Plan) -> list[str]:
    """Return the plan for people."""
    if made.arbiter == "none":
        lines = [
            "arbiter  none: plain VRRP, in a split of the network both nodes are MASTER; there is no margin"
        ]
    else:
        lines = [
            f"arbiter  {made.arbiter}{', failsafe' if made.failsafe else ''}: {_arithmetic(made)}",
            f"margin   W - (L - g) = {_t(made.margin)}: {_margin_words(made)}",
            *table(
                [("  GATE", "LATE BY", "LEFT", f"({SLEW_PPM / PPM:.1%} slewed)"), *map(_margin, made.margins)]
            ),
        ]
    assumed = made.assumptions
    host = f"{_t(assumed.host)} to install or remove the addresses"
    lines.append(f"assumed  {_t(assumed.round_trip)} to the arbiter and back, {host}, nothing else is wrong")
    for instance in made.instances:
        lines += ["", *_instance(instance)]
    return lines


def _arithmetic(made: Plan) -> str:
    lease, renew, guard = (_t(span) for span in (made.timing.lease, made.timing.renew, made.timing.guard))
    return (
        f"lease L {lease}, renewed every R {renew}, guard g {guard}, others wait W = 1.1 L = {_t(made.wait)}"
    )


def _margin_words(made: Plan) -> str:
    return f"a clock may run {made.slack_ppm / 1e4:.2f} % slow before two nodes could answer at once"


def _margin(margin: Margin) -> tuple[str, ...]:
    verdict = (
        "" if margin.left > 0 else click.style("not enough: exclusivity is not kept by this gate", fg="red")
    )
    return f"  {margin.tier.value}", _t(margin.lateness), _t(margin.left), verdict


def _instance(instance: InstancePlan) -> list[str]:
    head = f"{bold(instance.name)}  VRRP {instance.version}, priority {instance.priority}, advert {_t(instance.advert)}"
    header = ("  NOBODY ANSWERS", "TYPICALLY", "AT MOST", "KEEPALIVED", "")
    return [head, *table([header, *(_row(line) for line in instance.lines)])]


def _row(line: Line) -> tuple[str, ...]:
    own = ("-", "-") if line.span is None else (_t(line.span.typical), _t(line.span.worst))
    return f"  {line.what}", *own, _span(line.keepalived), line.remark


def _span(span: Span | None) -> str:
    if span is None:
        return "-"
    return _t(span.worst) if span.typical == span.worst else f"{_t(span.typical)} to {_t(span.worst)}"


def _t(span: int) -> str:
    if span < 0:
        return f"-{_t(-span)}"
    if span >= SECOND:
        return f"{span / SECOND:.2f} s"
    return f"{span / MILLISECOND:.0f} ms" if span >= 10 * MILLISECOND else duration(span)
