"""``python -m tests.bench``: run the benchmarks and print them side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import cast

import click

from haagent.cli.building import clean_exit
from haagent.core.units import MILLISECOND, Duration, from_seconds, to_seconds
from haagent.lab.arbiter import COMPOUND, MEMBERS
from haagent.lab.daemons import DAEMONS, DaemonKind
from haagent.lab.namespaces import LabError, require_lab_host
from haagent.lab.report import in_words, table
from tests.bench import failover, handover, idle

Measure = Callable[[DaemonKind], tuple[str, object]]
LOADS = ((1, 1.0), (50, 1.0), (250, 1.0), (50, 0.1))
ADVERTS = (1.0, 0.1)
SUBJECTS = ("crash", "stop", "handover", "idle", "quiet")
OCCASIONS: dict[handover.Occasion, str] = {"switchover": "switchover", "stop": "SIGTERM and start"}


def spread(values: Sequence[Duration]) -> str:
    """Return min / median / max."""
    if not values:
        return "never"
    return " / ".join(in_words(int(v)) for v in (min(values), median(values), max(values)))


def failover_rows(subject: str, adverts: Sequence[float], runs: int) -> list[tuple[str, Measure]]:
    """Return what to measure about a crash or a stop."""
    ask = {"crash": failover.crash_takeovers, "stop": failover.stop_outages}[subject]
    what = {"crash": "kill -9: next owner after", "stop": "graceful stop: outage"}[subject]

    def measure(seconds: float) -> Measure:
        def one(kind: DaemonKind) -> tuple[str, object]:
            values = ask(kind, from_seconds(seconds), runs)
            return spread(values), [value / MILLISECOND for value in values]

        return one

    return [(f"{what}, advert {seconds:g} s, {runs} runs", measure(seconds)) for seconds in adverts]


def handover_rows(adverts: Sequence[float], runs: int, arbiter: str) -> list[tuple[str, Measure]]:
    """Return the planned moves to measure, haagent's by ``arbiter``."""

    def measure(occasion: handover.Occasion, seconds: float) -> Measure:
        def one(kind: DaemonKind) -> tuple[str, object]:
            lost = handover.measure(kind, occasion, from_seconds(seconds), runs, arbiter)
            both = {"away": lost.away, "back": lost.back}
            words = ", ".join(f"{way} {spread(values)}" for way, values in both.items())
            return words, {way: [value / MILLISECOND for value in values] for way, values in both.items()}

        return one

    return [
        (f"{what}, back by preemption, 1 ms probe, advert {seconds:g} s, {runs} runs", measure(kind, seconds))
        for kind, what in OCCASIONS.items()
        for seconds in adverts
    ]


def cost_in_words(cost: idle.Cost) -> str:
    """Return one daemon's cost in one cell."""
    return (
        f"CPU {cost.master_cpu:.3f} / {cost.backup_cpu:.3f} %, "
        f"PSS {cost.master_pss / (1 << 20):.1f} / {cost.backup_pss / (1 << 20):.1f} MiB, "
        f"{cost.changes} address changes"
    )


def idle_rows(loads: Sequence[tuple[int, float]], window: Duration) -> list[tuple[str, Measure]]:
    """Return the idle costs to measure; MASTER / BACKUP."""

    def measure(count: int, seconds: float) -> Measure:
        def one(kind: DaemonKind) -> tuple[str, object]:
            cost = idle.measure(kind, count, from_seconds(seconds), window)
            return cost_in_words(cost), {name: getattr(cost, name) for name in cost.__slots__}

        return one

    length = f"{to_seconds(window):g} s"
    return [
        (f"idle for {length}, {count} x advert {seconds:g} s", measure(count, seconds))
        for count, seconds in loads
    ]


@click.command()
@click.option(
    "--daemon", "daemons", multiple=True, type=click.Choice(DAEMONS), default=DAEMONS, show_default=True
)
@click.option(
    "--only", "subjects", multiple=True, type=click.Choice(SUBJECTS), default=SUBJECTS, show_default=True
)
@click.option(
    "--runs", type=click.IntRange(1), default=5, show_default=True, help="Repetitions of crash and stop."
)
@click.option(
    "--moves", type=click.IntRange(1), default=20, show_default=True, help="Repetitions of each handover."
)
@click.option(
    "--window", type=float, default=20.0, show_default=True, help="Seconds of each idle measurement."
)
@click.option("--quiet-window", type=float, default=60.0, show_default=True, help="Seconds of the quiet one.")
@click.option("--advert", "adverts", multiple=True, type=float, default=ADVERTS, show_default=True)
@click.option(
    "--load", "loads", multiple=True, type=(int, float), default=LOADS, help="Instances, interval (s)."
)
@click.option(
    "--arbiter",
    type=click.Choice((*MEMBERS, *COMPOUND)),
    default="etcd",
    show_default=True,
    help="haagent's, for the handovers.",
)
@click.option(
    "--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers here, too."
)
def main(
    *,
    daemons: tuple[str, ...],
    subjects: tuple[str, ...],
    runs: int,
    moves: int,
    window: float,
    quiet_window: float,
    adverts: tuple[float, ...],
    loads: tuple[tuple[int, float], ...],
    arbiter: str,
    out: Path | None,
) -> None:
    """Measure keepalived and haagent in one run, alternating, and print them side by side.

    Failover: min / median / max. Idle: MASTER / BACKUP, all processes of each daemon, percent of one core.
    """
    require_lab_host()
    plan: list[tuple[str, Measure]] = []
    for subject in subjects:
        if subject in ("crash", "stop"):
            plan += failover_rows(subject, adverts, runs)
        elif subject == "handover":
            plan += handover_rows(adverts, moves, arbiter)
        elif subject == "idle":
            plan += idle_rows(loads, from_seconds(window))
        else:
            plan += idle_rows([(idle.MOST_INSTANCES, 0.1)], from_seconds(quiet_window))
    numbers = measure_all(plan, [cast("DaemonKind", one) for one in daemons])
    if out is not None:
        out.write_text(json.dumps(numbers, indent=2) + "\n")


def measure_all(
    plan: Sequence[tuple[str, Measure]], kinds: Sequence[DaemonKind]
) -> dict[str, dict[str, object]]:
    """Measure row by row, all daemons of a row one after the other; print each, and the table at the end."""
    rows: list[tuple[str, ...]] = []
    numbers: dict[str, dict[str, object]] = {}
    for name, measure in plan:
        cells: list[str] = []
        found: dict[str, object] = {}
        for kind in kinds:
            try:
                words, found[kind] = measure(kind)
            except LabError as error:
                words, found[kind] = f"failed: {str(error).splitlines()[0]}", None
            click.echo(f"{name}: {kind}: {words}")
            cells.append(words)
        rows.append((name, *cells))
        numbers[name] = found
    click.echo("\n" + table(rows, ("measurement", *kinds)))
    return numbers


if __name__ == "__main__":
    with clean_exit("bench"):  # a SIGTERM must not leave the lab behind
        main()
