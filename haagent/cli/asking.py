"""What every command that asks a running agent has in common: which one, how long to wait, what to say if it cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click

from haagent.control.client import TIMEOUT, find_socket, request
from haagent.control.snapshot import RUN_DIRECTORY
from haagent.errors import ControlError

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--agent", metavar="NAME", help="Which agent of this host, if there are several."),
    click.option("--socket", metavar="PATH", help="The control socket, if it is not in the usual place."),
    click.option("--timeout", default=TIMEOUT, show_default=True, help="Seconds to wait for an answer."),
    click.option("--directory", default=RUN_DIRECTORY, hidden=True),
)


@dataclass(frozen=True, slots=True)
class Asker:
    """One agent that can be asked."""

    agent: str | None
    socket: str | None
    timeout: float
    directory: str

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return the agent's answer. Raises ControlError."""
        path = self.socket or find_socket(self.agent, self.directory)
        return request(path, command, timeout=self.timeout, **arguments)


def asks_agent(command: F) -> Callable[..., Any]:
    """Give a command the options of ``Asker`` and an ``asker``; a ControlError is printed and ends it with 69."""

    @wraps(command)
    def run(*, agent: str | None, socket: str | None, timeout: float, directory: str, **more: Any) -> Any:
        try:
            return command(asker=Asker(agent, socket, timeout, directory), **more)
        except ControlError as error:
            fail(str(error), error.exit_code)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def fail(message: str, status: int) -> NoReturn:
    """Print a message for the operator and end."""
    click.echo(f"haagent: {message}", err=True)
    sys.exit(status)
