"""Commands: ``script`` and the notify lines, split into argv, user and group as keepalived splits them.

Word 1 is the command (with its arguments if it is quoted as a whole), word 2 the user, word 3 the group. No shell is
involved, except for ``"<path"``, which keepalived gives to one to see whether the path can be opened.
"""

from __future__ import annotations

from haagent.config.command_model import Command, Notify, VetoScript
from haagent.config.lexer import split_command
from haagent.config.messages import Messages
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.core.units import SECOND
from haagent.errors import ConfigError

_OPERATORS = frozenset(
    {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1", "2>/dev/null", ">/dev/null", "&>/dev/null"}
)
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})


def read_command(
    statement: Statement, messages: Messages, user: str | None = None, group: str | None = None
) -> Command:
    """Return the command of a statement such as ``notify_master "/path arg" user group``. Raises ConfigError."""
    place = statement.values[0].place
    words = split_command(statement.raw, place)
    if len(words) > 3 or (
        len(words) > 1 and not statement.values[0].quoted and words[1].startswith(("-", "/"))
    ):
        messages.warning(
            f"{statement.keyword} runs {words[0]} alone, as user {words[1]}",
            place,
            "quote a command that has arguments",
        )
    if "\0" in statement.raw or "\0" in "".join(words):
        raise ConfigError(f"{statement.keyword} contains a NUL byte", place)
    command = words[0].strip() if words else ""
    argv = ["/bin/sh", "-c", command] if command.startswith("<") else split_command(command, place)
    if not argv or not argv[0]:
        raise ConfigError(f"{statement.keyword} names no program", place)
    _check_operators(argv, statement, messages)
    if len(words) > 1:
        user, group = words[1], words[2].lstrip(":") if len(words) > 2 else None
    return Command(tuple(argv), user, group, statement.place)


def _check_operators(argv: list[str], statement: Statement, messages: Messages) -> None:
    if argv[0].rpartition("/")[2] in _SHELLS:
        if "/dev/tcp/" in argv[-1] and argv[0].endswith("/sh"):
            messages.warning("/dev/tcp works only where /bin/sh is bash", statement.place)
        return
    operator = next((word for word in argv if word in _OPERATORS), None)
    if operator:
        messages.warning(
            f"{operator} in {statement.keyword} is handed to {argv[0]} as an argument: there is no shell",
            statement.place,
            "put the line into a script, or run /bin/sh -c '...'",
        )


def read_veto(section: Section, user: str | None, group: str | None) -> VetoScript | None:
    """Return the veto script of an instance or a group, None if there is none."""

    def read(statement: Statement) -> VetoScript | None:
        return VetoScript(
            read_command(statement, section.messages, user, group),
            timeout=section.seconds("veto_timeout", 0.1, 60, 5 * SECOND),
            pause=section.seconds("veto_pause", 0.1, 3600, 3 * SECOND),
        )

    found = section.value("veto_script", read, None)
    for keyword in ("veto_timeout", "veto_pause"):
        if found is None and keyword in section:
            section.messages.warning(f"{keyword} without veto_script", section.all(keyword)[0].place)
    return found


def read_notify(section: Section, user: str | None, group: str | None) -> Notify:
    """Return the notify commands of an instance or a group; of repeated ones the first counts."""

    def command(keyword: str) -> Command | None:
        return section.value(keyword, read, None)

    def read(statement: Statement) -> Command | None:
        # A bare notify_deleted asks for the notification alone.
        return read_command(statement, section.messages, user, group) if statement.values else None

    return Notify(
        generic=command("notify"),
        master=command("notify_master"),
        backup=command("notify_backup"),
        fault=command("notify_fault"),
        stop=command("notify_stop"),
        deleted=command("notify_deleted"),
        master_rx_lower_pri=command("notify_master_rx_lower_pri"),
    )
