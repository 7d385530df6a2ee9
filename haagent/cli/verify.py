"""``haagent verify``: whether the recordings of several nodes contradict the promise of one MASTER at a time."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from haagent.agent.recordings import RecordingError
from haagent.agent.replay import recordings
from haagent.agent.verify import Verdict
from haagent.agent.verify import verify as inquire
from haagent.cli.asking import fail
from haagent.cli.render import printable
from haagent.cli.status import show, show_json

EX_VIOLATED = 1


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check the flight recordings of several nodes (one FILE each, FILE.1 is read with it) against each other.

    Says what was checked and what could not be. Exit status: 0 nothing contradicts the promise; 1 something does; 65
    a file is not a recording.
    """
    try:
        verdict = inquire([recording for file in files for recording in recordings(file)])
    except RecordingError as error:
        fail(str(error), error.exit_code)
    if as_json:
        show_json(dataclasses.asdict(verdict))
    else:
        show(verdict_lines(verdict))
    sys.exit(EX_VIOLATED if verdict.violations else 0)


def verdict_lines(verdict: Verdict) -> list[str]:
    """Return a verdict for people."""
    lines = [click.style(f"VIOLATED  {printable(text)}", fg="red") for text in verdict.violations]
    lines += [f"checked   {printable(text)}" for text in verdict.checked]
    lines += [f"unchecked {printable(text)}" for text in verdict.unchecked]
    conclusion = (
        f"{len(verdict.violations)} violations" if verdict.violations else "nothing contradicts the promise"
    )
    return [*lines, conclusion]
