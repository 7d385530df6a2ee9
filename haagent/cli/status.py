"""``haagent status``: what the agent on this host says, or what can be said truthfully when it does not answer."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import click

from haagent.cli.render import dead_lines, printable, status_lines
from haagent.control.client import TIMEOUT, NotAnsweringError, NotRunningError, find_socket, request
from haagent.control.document import Status, read_boot_id
from haagent.control.snapshot import RUN_DIRECTORY, read_snapshot, snapshot_path
from haagent.errors import ControlError

EX_DEAD = 3


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the status document instead of a table.")
@click.option(
    "--socket", "socket", metavar="PATH", help="The control socket, if it is not in the usual place."
)
@click.option("--timeout", default=TIMEOUT, show_default=True, help="Seconds to wait for an answer.")
@click.option("--directory", default=RUN_DIRECTORY, hidden=True)
def status(name: str | None, as_json: bool, socket: str | None, timeout: float, directory: str) -> None:
    """Show what the agent (called NAME, if there are several) is doing.

    Exit status: 0 the agent answers; 3 it does not run or does not answer; 69 it cannot be asked.
    """
    try:
        path = socket or find_socket(name, directory)
        answer = request(path, "status", timeout=timeout)
        document = Status.from_json(printable(answer))
    except (NotRunningError, NotAnsweringError) as error:
        _show_dead(socket or _path_or_none(name, directory), error, as_json=as_json)
        sys.exit(EX_DEAD)
    except (ControlError, ValueError) as error:
        click.echo(f"haagent: {error}", err=True)
        sys.exit(ControlError.exit_code)
    if as_json:
        show_json({"running": True, "status": answer})
    else:
        show(status_lines(document, _boottime()))


def _path_or_none(name: str | None, directory: str) -> str | None:
    try:
        return find_socket(name, directory)
    except ControlError:
        return None


def _show_dead(path: str | None, error: ControlError, *, as_json: bool) -> None:
    """Say what the last snapshot proves, and nothing more."""
    last, now, note = None, _boottime(), ""
    try:
        last = read_snapshot(snapshot_path(path)) if path is not None else None
    except (OSError, ValueError) as unreadable:
        note = f"its last snapshot cannot be read: {unreadable}"
    if as_json:
        same_boot = last is not None and last.boot_id == read_boot_id()
        show_json(
            {
                "running": isinstance(error, NotAnsweringError),
                "answering": False,
                "error": str(error),
                "last_seen_ns": now - last.written_boot_ns if last and same_boot else None,
                "gate_closed_by_boot_ns": last.gate_closed_by() if last and same_boot else None,
                "status": last.to_json() if last else None,
            }
        )
    elif last is None:
        show([click.style(str(error), fg="red", bold=True), *([note] if note else [])])
    else:
        show(dead_lines(Status.from_json(printable(last.to_json())), now, read_boot_id(), str(error)))


def show(lines: list[str]) -> None:
    """Print lines; colours only on a terminal, and not if NO_COLOR is set."""
    for line in lines:
        click.echo(line, color=False if os.environ.get("NO_COLOR") else None)


def show_json(document: dict[str, Any]) -> None:
    """Print one JSON document for programs and people."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
