"""``python -m tests.bench.arbiters``: the arbiters side by side, in three tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from haagent.cli.building import clean_exit
from haagent.core.units import MILLISECOND, from_seconds
from haagent.lab.members import ServerError
from haagent.lab.namespaces import LabError, require_lab_host
from haagent.lab.report import table
from tests.bench import stores
from tests.bench.__main__ import spread

SUBJECTS = ("latency", "takeover", "rate")
INSTANCES = (1, 50, 250)
Measure = Callable[[str], tuple[Sequence[str], object]]


@click.command()
@click.option(
    "--arbiter", "kinds", multiple=True, type=click.Choice(stores.KINDS), default=stores.KINDS, show_default=True
)  # fmt: skip
@click.option(
    "--only", "subjects", multiple=True, type=click.Choice(SUBJECTS), default=SUBJECTS, show_default=True
)
@click.option(
    "--calls", type=click.IntRange(1), default=300, show_default=True, help="Of each sort, for percentiles."
)
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Takeovers of each.")
@click.option("--window", type=float, default=20.0, show_default=True, help="Seconds of counting.")
@click.option("--instances", "counts", multiple=True, type=click.IntRange(1), default=INSTANCES)
@click.option(
    "--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers, too."
)
def main(
    *,
    kinds: tuple[str, ...],
    subjects: tuple[str, ...],
    calls: int,
    runs: int,
    window: float,
    counts: tuple[int, ...],
    out: Path | None,
) -> None:
    """Measure every arbiter: latency of calls, takeover at the same lease (2 s), calls per second with many instances.

    Without failsafe: every renewal goes to the arbiter. Exit status 1 if anything could not be measured.
    """
    require_lab_host()
    tables: dict[str, tuple[tuple[str, ...], Measure]] = {
        "latency": (("arbiter", "renewal p50/p99", "swap p50/p99", "read p50/p99"), latency_cells(calls)),
        "takeover": (("arbiter", "kill -9 of all on the MASTER, lease 2 s"), takeover_cells(runs)),
        "rate": (("arbiter", *(f"{n} instances" for n in counts)), rate_cells(counts, from_seconds(window))),
    }
    numbers: dict[str, dict[str, object]] = {}
    for subject in subjects:
        columns, measure = tables[subject]
        numbers[subject] = measure_all(subject, columns, measure, kinds)
    if out is not None:
        out.write_text(json.dumps(numbers, indent=2) + "\n")
    if any(found is None for one in numbers.values() for found in one.values()):
        raise SystemExit(1)


def measure_all(
    subject: str, columns: tuple[str, ...], measure: Measure, kinds: Sequence[str]
) -> dict[str, object]:
    """Measure one subject of each kind, and print the table. None where it could not be measured."""
    rows, numbers = list[tuple[str, ...]](), dict[str, object]()
    click.echo(f"{subject}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the beginning")
    for kind in kinds:
        try:
            cells, numbers[kind] = measure(kind)
        except (LabError, ServerError) as error:
            cells, numbers[kind] = (f"failed: {str(error).splitlines()[0]}",), None
        click.echo(f"  {kind}: {', '.join(cells)}")
        rows.append((kind, *cells, *[""] * (len(columns) - 1 - len(cells))))
    click.echo(f"\n{table(rows, columns)}\n")
    return numbers


def latency_cells(calls: int) -> Measure:
    """Return what measures calls; in milliseconds."""

    def measure(kind: str) -> tuple[Sequence[str], object]:
        found = stores.latencies(kind, calls)
        three = (found.renewal, found.swap, found.read)
        cells = [f"{one.p50 / MILLISECOND:.1f} / {one.p99 / MILLISECOND:.1f} ms" for one in three]
        return cells, asdict(found)

    return measure


def takeover_cells(runs: int) -> Measure:
    """Return what measures takeovers; min / median / max."""

    def measure(kind: str) -> tuple[Sequence[str], object]:
        found = stores.takeovers(kind, runs)
        return [spread(found)], found

    return measure


def rate_cells(counts: Sequence[int], window: int) -> Measure:
    """Return what counts calls per second of both nodes: swaps and reads."""

    def measure(kind: str) -> tuple[Sequence[str], object]:
        found = {count: stores.rate(kind, count, window) for count in counts}
        cells = [
            f"{one.total:.1f}/s (swaps {one.master_swaps:.1f} + {one.backup_swaps:.1f}, "
            f"reads {one.master_reads:.1f} + {one.backup_reads:.1f})"
            for one in found.values()
        ]
        return cells, {str(count): asdict(one) for count, one in found.items()}

    return measure


if __name__ == "__main__":
    with clean_exit("bench"):  # a SIGTERM must not leave the lab behind
        main()
