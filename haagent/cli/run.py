"""``haagent run``: the agent in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from haagent.cli.configuration_options import DEFAULT_FILE
from haagent.cli.keepalived_options import check_configuration, keepalived_options
from haagent.config.dump import to_json
from haagent.errors import HaagentError


@click.command()
@click.option(
    "-f", "--use-file", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help=f"Configuration, in keepalived's language; may be given several times.  [default: {DEFAULT_FILE}]",
)  # fmt: skip
@click.option(
    "--arbiter", envvar="HAAGENT_ARBITER", metavar="NAME|URL",
    help="etcd, none, or a URL such as etcd://h1:2379,h2:2379/domain?lease=2s (also HAAGENT_ARBITER).",
)  # fmt: skip
@click.option(
    "-i", "--config-id", metavar="ID", help="Which @ID lines count.  [default: the short host name]"
)
@click.option(
    "--node",
    metavar="NAME",
    help="This node's name at the arbiter.  [default: as the haagent block says, or the short host name]",
)
@click.option(
    "--run-directory", default="/run/haagent", show_default=True, metavar="DIR",
    help="Where the control socket, the status snapshot and the flight recorder live.",
)  # fmt: skip
@click.option(
    "--http", "http", multiple=True, metavar="ADDRESS:PORT",
    help="Answer /primary, /status, /metrics and more here, instead of where the haagent block says. Repeatable.",
)  # fmt: skip
@keepalived_options
def run(  # noqa: PLR0917 - click calls it, by name
    files: tuple[Path, ...],
    arbiter: str | None,
    config_id: str | None,
    node: str | None,
    run_directory: str,
    http: tuple[str, ...],
    pid_file: str | None,
    worker_pid_file: str | None,
    log_file: str | None,
    log_facility: str | None,
    namespace: str | None,
    test: str | None,
    dump: bool,
) -> None:
    """Keep the virtual addresses of the configuration on exactly one node.

    Stays in the foreground and logs to stderr. SIGTERM hands over and ends; SIGHUP reloads; a broken file on
    reload changes nothing. Exit status: 0 stopped, 69 not possible now, 70 a defect, 78 unusable configuration.
    keepalived's options are accepted; those that change nothing here are not listed.
    """
    from haagent.agent.sources import Sources
    from haagent.agent.supervisor import run_agent

    sources = Sources(
        files or (Path(DEFAULT_FILE),), arbiter, config_id, node, run_directory,
        pid_file=pid_file, worker_pid_file=worker_pid_file, namespace=namespace, http=http,
        log_file=log_file, log_facility=log_facility,
    )  # fmt: skip
    try:
        if test is not None:
            sys.exit(check_configuration(sources, test))
        if dump:
            click.echo(to_json(sources.load()))
        status = run_agent(sources)
    except HaagentError as error:
        for line in str(error).splitlines():
            click.echo(f"haagent: {line}", err=True)
        sys.exit(error.exit_code)
    sys.exit(status)
