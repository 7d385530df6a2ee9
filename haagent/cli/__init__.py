"""The command line: one module per command or group. It formats what others answer and decides nothing."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from haagent import __version__

# name -> (module, attribute): a command's module is imported when the command is used, so that each starts fast.
COMMANDS = {
    "run": ("haagent.cli.run", "run"),
    "check": ("haagent.cli.check", "check"),
    "status": ("haagent.cli.status", "status"),
    "why": ("haagent.cli.why", "why"),
    "switchover": ("haagent.cli.switchover", "switchover"),
    "pause": ("haagent.cli.pause", "pause"),
    "resume": ("haagent.cli.pause", "resume"),
    "declare-down": ("haagent.cli.pause", "declare_down"),
    "plan": ("haagent.cli.plan", "plan"),
    "migrate": ("haagent.cli.migrate", "migrate"),
    "replay": ("haagent.cli.replay", "replay_command"),
    "verify": ("haagent.cli.verify", "verify"),
    "arbiter": ("haagent.cli.arbiter", "arbiter"),
    "witness": ("haagent.cli.witness", "witness"),
    "gate": ("haagent.cli.gate", "gate"),
    "lab": ("haagent.cli.lab", "lab"),
    "torture": ("haagent.cli.torture", "torture"),
    "rehearse": ("haagent.cli.rehearse", "rehearse"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run; called by keepalived's name (a symbolic link), every argument is one of ``haagent run``."""
        if args is None and os.path.basename(sys.argv[0]) == "keepalived":
            args = ["run", *sys.argv[1:]]
        return super().main(args, *rest, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name="haagent")
def main() -> None:
    """Haagent keeps a virtual IP on exactly one healthy node."""
