"""``haagent replay``: what an agent did and why, from its flight recording, and whether it would do the same again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from haagent.agent.recordings import RecordingError, codec
from haagent.agent.replay import Decision, as_recorded, obstacle, other_parameters, recordings, replay
from haagent.cli.asking import fail
from haagent.cli.render import bold, printable
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.core.actions import Action, ExtendGate, ReadRegister, SendAdvertisement, SendToPeer, SwapRegister
from haagent.core.events import AdvertisementReceived, DeadlineReached
from haagent.core.records import CLAIMS
from haagent.core.units import SECOND
from haagent.effects.recording import Recording
from haagent.errors import EX_CONFIG, ConfigError

EX_DIFFERENT, EX_DATA = 1, RecordingError.exit_code


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--node-config", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="What if: decide under this configuration instead of the recorded one; repeatable.",
)  # fmt: skip
@click.option(
    "--from", "start", type=float, default=0.0, metavar="SECONDS",
    help="Print from here on, counted from the run's beginning; negative: from its end.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Print renewals, advertisements and reads too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def replay_command(
    file: Path, files: tuple[Path, ...], start: float, *, everything: bool, as_json: bool
) -> None:
    """Feed the flight recording FILE to a fresh core, print its decisions, and compare them with the recorded ones.

    FILE is NODE.events.jsonl in the run directory; FILE.1, the older part, is read with it. Every start of a worker is a
    run of its own. Exit status: 0 the same decisions; 1 a difference (the first one is printed); 65 the file is no
    recording, or a run's beginning has been rotated away (it is printed as recorded); 78 --node-config is unusable.
    """
    try:
        runs = recordings(file)
        other = load(files) if files else None
        printer = _Printer(start, everything=everything, as_json=as_json)
        worst = max([printer.run(recording, other) for recording in runs], key=_severity)
    except RecordingError as error:
        fail(str(error), EX_DATA)
    except (ConfigErrors, ConfigError) as error:
        fail(str(error), EX_CONFIG)
    sys.exit(worst)


def _severity(status: int) -> int:
    return (0, EX_DATA, EX_DIFFERENT).index(status)


class _Printer:
    """Prints runs; ``run`` returns the exit status of one."""

    def __init__(self, start: float, *, everything: bool, as_json: bool) -> None:
        self._start, self._everything, self._as_json = round(start * SECOND), everything, as_json
        self._codec = codec()

    def run(self, recording: Recording, other: Configuration | None) -> int:
        about = recording.about
        title = f"{about.get('node', '?')} run {str(about.get('run', '?'))[:8]} started {about.get('started', '?')}"
        self._say(
            {"run": about.get("run"), "node": about.get("node"), "started": about.get("started")}, bold(title)
        )
        parameters = None if other is None else other_parameters(recording, other)
        reason = obstacle(recording)
        if not recording.entries:
            self._say({"note": reason}, reason)
            return 0
        if reason:
            note = f"shown as recorded, not decided again: {reason}"
            self._say({"note": note}, click.style(note, fg="yellow"))
            self._print(recording, as_recorded(recording))
            return EX_DATA
        if recording.unreadable:
            self._say(
                {"note": "unreadable", "lines": recording.unreadable},
                f"{recording.unreadable} lines cannot be read",
            )
        return self._print(recording, replay(recording, parameters))

    def _print(self, recording: Recording, decisions: Iterable[Decision]) -> int:
        begin, end = recording.entries[0].now.fast, recording.entries[-1].now.fast
        shown_from = (end if self._start < 0 else begin) + self._start
        gap, count = "", 0
        for decision in decisions:
            count += 1
            if decision.missing:
                gap = f"{decision.missing} events before number {decision.number} are not in the recording"
                self._say({"note": gap}, click.style(gap, fg="yellow"))
            if not decision.same:
                self._difference(decision, begin, gap)
                return EX_DIFFERENT
            if decision.now.fast >= shown_from:
                self._decision(decision, begin)
        self._say({"events": count, "same": True}, f"{count} events, the same decisions")
        return 0

    def _decision(self, decision: Decision, begin: int) -> None:
        actions = [a for a in decision.replayed if self._everything or not _routine(a)]
        if not actions and not self._everything:
            return
        document = {
            "n": decision.number,
            "at_ns": decision.now.fast - begin,
            "event": self._codec.encode(decision.event),
            "actions": [self._codec.encode(action) for action in actions],
        }
        head = f"{_at(decision, begin)}  {_described(decision.event)}"
        self._say(document, "\n".join([head, *(f"{'':>14}-> {_described(action)}" for action in actions)]))

    def _difference(self, decision: Decision, begin: int, gap: str) -> None:
        document = {
            "n": decision.number,
            "at_ns": decision.now.fast - begin,
            "same": False,
            "event": self._codec.encode(decision.event),
            "recorded": [self._codec.encode(action) for action in decision.recorded],
            "replayed": [self._codec.encode(action) for action in decision.replayed],
            "gap": gap,
        }
        lines = [
            click.style(f"{_at(decision, begin)}  DIFFERENT, event {decision.number}: ", fg="red")
            + _described(decision.event),
            *_compared(decision),
        ]
        if gap:
            lines.append(f"this may be why: {gap}")
        self._say(document, "\n".join(lines))

    def _say(self, document: dict[str, Any], text: str) -> None:
        click.echo(json.dumps(document) if self._as_json else text)


def _compared(decision: Decision) -> Iterator[str]:
    for label, actions in (("recorded", decision.recorded), ("now", decision.replayed)):
        yield f"  {label}:" + ("" if actions else " nothing")
        yield from (f"    {_described(action)}" for action in actions)


def _routine(action: Action) -> bool:
    """Tell whether a healthy node does this all the time."""
    if isinstance(action, SendAdvertisement):
        return action.priority > 0
    if isinstance(action, SwapRegister):
        return not action.name.startswith(CLAIMS)
    if isinstance(action, ExtendGate):
        return action.until != 0
    return isinstance(action, ReadRegister | SendToPeer)


def _at(decision: Decision, begin: int) -> str:
    return f"+{(decision.now.fast - begin) / SECOND:11.6f}"


def _described(thing: object) -> str:
    """Return an event or action in one line; what others wrote cannot steer the terminal."""
    if isinstance(thing, DeadlineReached):
        return "a deadline"
    if isinstance(thing, AdvertisementReceived):
        return f"advertisement for {thing.instance} from {thing.source}, priority {thing.priority}"
    if type(thing).__name__ == "Tell":
        return str(printable(str(getattr(thing, "report", thing))))
    return str(printable(str(thing)))
