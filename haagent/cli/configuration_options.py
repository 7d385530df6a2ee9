"""The options that commands share which read a configuration without running it: files, @ID lines, the arbiter.

Promises the same letters, defaults and variable for all of them, and the agent's own file where none is named. What a
command makes of the files is its own affair, so it brings the words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

DEFAULT_FILE = "/etc/keepalived/keepalived.conf"
F = TypeVar("F", bound=Callable[..., Any])


def file_option(text: str) -> Callable[[F], F]:
    """Return ``-f FILE``, given as ``files``: one path or more, as strings."""
    return click.option(
        "-f", "--file", "files", multiple=True, default=(DEFAULT_FILE,), show_default=True, metavar="FILE", help=text
    )  # fmt: skip


def arbiter_option(text: str) -> Callable[[F], F]:
    """Return ``--arbiter NAME|URL``, given as ``arbiter``: None for what the files say, also from HAAGENT_ARBITER."""
    return click.option("--arbiter", envvar="HAAGENT_ARBITER", metavar="NAME|URL", help=text)


def config_id_option(command: F) -> F:
    """Add ``--config-id ID``, given as ``config_id``: None for the short host name."""
    words = "Which @ID lines count.  [default: the short host name]"
    return click.option("--config-id", metavar="ID", help=words)(command)
