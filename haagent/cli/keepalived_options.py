"""keepalived's command line, as far as ``haagent run`` takes it: what works, what is accepted, what is refused.

Promises that a unit file or script written for keepalived starts haagent instead. ``haagent`` called by the name
``keepalived`` is ``haagent run`` (see ``cli.main``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from haagent import __version__
from haagent.effects.log_targets import DEFAULT_FILE, FACILITIES

if TYPE_CHECKING:
    from haagent.agent.sources import Sources

F = TypeVar("F", bound=Callable[..., Any])
VERSION = f"""haagent {__version__}, with the configuration and command line of Keepalived v2.2.7

configure options: --enable-json
"""

# Options that change nothing here: letters, names, whether a value follows, and why nothing is lost.
_ACCEPTED = (
    ("-P", "--vrrp", False, "there is nothing but VRRP"),
    ("-B", "--no_bfd", False, "there is no BFD"),
    ("", "--all", False, "one worker does everything"),
    ("-l", "--log-console", False, "it always logs to standard error"),
    ("-D", "--log-detail", False, "see log_level in the haagent block"),
    ("-G", "--no-syslog", False, "there is no syslog without -S"),
    ("", "--flush-log-file", False, "every line is flushed"),
    ("-X", "--release-vips", False, "addresses are always let go of"),
    ("-I", "--dont-release-ipvs", False, "there is no IPVS"),
    ("-n", "--dont-fork", False, "it always stays in the foreground"),
    ("-a", "--address-monitoring", False, "only changes that matter are logged"),
    ("-c", "--checkers_pid", True, "there is no checker"),
    ("-b", "--bfd_pid", True, "there is no BFD"),
    ("-m", "--core-dump", False, "it is written in Python"),
    ("-M", "--core-dump-pattern", True, "it is written in Python"),
    ("-R", "--dont-respawn", False, "a worker that died is always replaced"),
)
# Options that change nothing here either, but whoever gives them loses something: what, and what there is instead.
_WARNED = (
    (
        "-V",
        "--dont-release-vrrp",
        False,
        "a stop always lets go of the addresses, and hands them over: another node may hold them a moment later",
    ),
    ("-x", "--snmp", False, "there is no SNMP; use the metrics, --http"),
    ("-A", "--snmp-agent-socket", True, "there is no SNMP; use the metrics, --http"),
    (
        "-e",
        "--all-config",
        False,
        "files that are missing are only warned about; write include_check into global_defs to insist on them",
    ),
)


def keepalived_options(command: F) -> F:
    """Add keepalived's options to ``haagent run``; the accepted ones are hidden and get no parameter."""
    for rows, callback in ((_ACCEPTED, None), (_WARNED, _without_effect)):
        for letter, name, valued, reason in rows:
            names = [word for word in (letter, name) if word]
            command = click.option(
                *names, is_flag=not valued, hidden=True, expose_value=False, callback=callback, help=f"Accepted: {reason}."
            )(command)  # fmt: skip
    options = (
        click.option("-p", "--pid", "pid_file", metavar="FILE", help="Write the supervisor's pid."),
        click.option("-r", "--vrrp_pid", "worker_pid_file", metavar="FILE", help="Write the worker's pid."),
        click.option(
            "-u",
            "--umask",
            "umask",
            metavar="MASK",
            help="For the files it makes, e.g. 0177.",
            callback=_umask,
            expose_value=False,
        ),
        click.option(
            "-g",
            "--log-file",
            "log_file",
            is_flag=False,
            flag_value=DEFAULT_FILE,
            metavar="[FILE]",
            help=f"Log to a file, too.  [without FILE: {DEFAULT_FILE}]",
        ),
        click.option(
            "-S",
            "--log-facility",
            "log_facility",
            type=click.Choice(list(FACILITIES)),
            metavar="FACILITY",
            help="Log to syslog, too: user, daemon, local0 to local7, or 0 to 7.",
        ),
        click.option("-s", "--namespace", "namespace", metavar="NAME", help="Run in this network namespace."),
        click.option(
            "-t",
            "--config-test",
            "test",
            is_flag=False,
            flag_value="-",
            metavar="[LOG]",
            help="Check the configuration and end: 0 usable, 2 a value is missing, 4 a file is missing, "
            "5 anything else.",
        ),
        click.option(
            "-d", "--dump-conf", "dump", is_flag=True, help="Print the configuration as JSON first."
        ),
        click.option(
            "--signum",
            metavar="NAME",
            is_eager=True,
            expose_value=False,
            callback=_signum,
            help="Print the number of a signal: STOP, RELOAD, DATA, STATS, STATS_CLEAR, JSON.",
        ),
        click.option("-C", "--check", is_flag=True, hidden=True, expose_value=False, callback=_no_checkers),
        click.option(
            "-v", "--version", is_flag=True, is_eager=True, hidden=True, expose_value=False, callback=_version
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _without_effect(_context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:
    """Say what somebody who gave the option does not get."""
    if value:
        reason = {name: reason for _, name, _, reason in _WARNED}[parameter.opts[-1]]
        click.echo(f"haagent: warning: {'/'.join(parameter.opts)} has no effect: {reason}", err=True)


def _umask(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    try:
        os.umask(int(value, 0 if value.lower().startswith("0x") else 8))
    except ValueError:
        raise click.BadParameter("an octal number, such as 0177") from None


def _signum(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    from haagent.agent.dumps import SIGNALS

    if value.upper() not in SIGNALS:
        click.echo(f"Unknown sigfunc {value}", err=True)
        context.exit(1)
    click.echo(SIGNALS[value.upper()])
    context.exit(0)


def _no_checkers(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo("haagent has no health checkers for load balancing; leave out -C", err=True)
        context.exit(1)


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(VERSION, err=True)
        context.exit(0)


def check_configuration(sources: Sources, log: str) -> int:
    """Check the files as ``-t`` does; return keepalived's exit status. ``log`` is where the messages go, "-" stderr."""
    from haagent.config.messages import ConfigErrors

    missing = [file for file in sources.files if not file.is_file()]
    try:
        configuration = sources.load()
    except ConfigErrors as errors:
        _write(
            log, [*(f"warning: {text}" for text in errors.warnings), *(f"error: {e}" for e in errors.errors)]
        )
        if missing:
            return 4
        return 2 if any("missing its value" in str(error) for error in errors.errors) else 5
    _write(log, [f"warning: {text}" for text in configuration.warnings])
    return 0


def _write(log: str, lines: list[str]) -> None:
    if log == "-":
        for line in lines:
            click.echo(line, err=True)
        return
    with open(log, "a", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{line}\n" for line in lines)
