"""``haagent run``: the agent in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from haagent.errors import HaagentError

DEFAULT = Path("/etc/keepalived/keepalived.conf")


@click.command()
@click.option(
    "-f", "--use-file", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help=f"Configuration, in keepalived's language; may be given several times.  [default: {DEFAULT}]",
)  # fmt: skip
@click.option(
    "--arbiter", envvar="HAAGENT_ARBITER", metavar="NAME|URL",
    help="etcd, none, or a URL such as etcd://h1:2379,h2:2379/domain?lease=2s (also HAAGENT_ARBITER).",
)  # fmt: skip
@click.option(
    "-i", "--config-id", metavar="ID", help="Which @ID lines count.  [default: the short host name]"
)
@click.option(
    "--node", metavar="NAME", help="This node's name at the arbiter.  [default: the short host name]"
)
@click.option(
    "--run-directory", default="/run/haagent", show_default=True, metavar="DIR",
    help="Where the control socket, the status snapshot and the flight recorder live.",
)  # fmt: skip
def run(
    files: tuple[Path, ...], arbiter: str | None, config_id: str | None, node: str | None, run_directory: str
) -> None:
    """Keep the virtual addresses of the configuration on exactly one node.

    Stays in the foreground and logs to stderr. SIGTERM hands over and ends; SIGHUP reloads; a broken file on
    reload changes nothing. Exit status: 0 stopped, 69 not possible now, 70 a defect, 78 unusable configuration.
    """
    from haagent.agent.supervisor import run_agent
    from haagent.agent.worker import Sources

    sources = Sources(files or (DEFAULT,), arbiter, config_id, node, run_directory)
    try:
        status = run_agent(sources)
    except HaagentError as error:
        for line in str(error).splitlines():
            click.echo(f"haagent: {line}", err=True)
        sys.exit(error.exit_code)
    sys.exit(status)
