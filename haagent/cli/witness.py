"""``haagent witness``: the arbiter for a third place that has nothing else, in the foreground.

Formats what haagent.witness does; decides nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import click

from haagent.cli.asking import fail
from haagent.cli.render import table
from haagent.cli.status import show, show_json
from haagent.errors import ConfigError, HaagentError

DEFAULT_FILE = Path("/var/lib/haagent-witness/registers")


@click.command()
@click.option(
    "--file", "path", type=click.Path(path_type=Path), default=DEFAULT_FILE, show_default=True,
    help="Where the registers are kept, on a local disk; made if it is not there.",
)  # fmt: skip
@click.option(
    "--listen", multiple=True, metavar="HOST:PORT", default=("[::]:7419",), show_default=True,
    help="Repeatable. [::] is every address of both families, port 0 a free one.",
)  # fmt: skip
@click.option(
    "--key-file", metavar="FILE", help="The key of at least 16 characters that the nodes have, too."
)
@click.option("--tls-cert", metavar="PEM", help="Encrypt, with this certificate (and what it is signed by).")
@click.option("--tls-key", metavar="PEM", help="The certificate's private key.")
@click.option("--show", "show_file", is_flag=True, help="Print what the file holds, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --show: as JSON.")
def witness(
    path: Path,
    listen: tuple[str, ...],
    key_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    *,
    show_file: bool,
    as_json: bool,
) -> None:
    """Serve as the arbiter of any number of clusters, in a place that none of their nodes is in.

    Stays in the foreground and logs to stderr; SIGTERM ends it. Exit status: 0 ended, 69 cannot listen, 74 the file is in
    use or the disk fails, 78 unusable options.
    """
    try:
        if show_file:
            _show(path, as_json=as_json)
        else:
            _serve(path, listen, key_file, tls_cert, tls_key)
    except HaagentError as error:
        fail(str(error), error.exit_code)


def _serve(
    path: Path, listen: tuple[str, ...], key_file: str | None, tls_cert: str | None, tls_key: str | None
) -> None:
    from haagent.witness.keys import read_key, server_tls
    from haagent.witness.server import Options, serve

    if key_file is None:
        raise ConfigError(
            "witness: no --key-file", remedy="a file with at least 16 characters that nobody guesses"
        )
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("witness: --tls-cert and --tls-key go together; only one of them is given")
    key, warnings = read_key(key_file, "--key-file")
    tls = server_tls(tls_cert, tls_key) if tls_cert and tls_key else None
    options = Options(tuple(_address(one) for one in listen), key, tls)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    for warning in warnings:
        click.echo(f"haagent: {warning}", err=True)
    asyncio.run(serve(path, options))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535 or (":" in host and host[0] != "["):
        raise ConfigError(f"--listen {text!r}", remedy="HOST:PORT, for example 192.0.2.7:7419 or [::]:7419")
    return host.strip("[]"), int(port)


def _show(path: Path, *, as_json: bool) -> None:
    from haagent.witness.store import show as rows_of

    rows = rows_of(path)
    if as_json:
        registers = [
            {"domain": r.domain, "name": r.name, "version": r.version, "value": _value(r.value)} for r in rows
        ]
        show_json({"registers": registers})
        return
    cells = [(r.domain, r.name, r.version, r.value.decode(errors="replace").replace("\n", " ")) for r in rows]
    show(table([("DOMAIN", "REGISTER", "VERSION", "VALUE"), *cells]) if cells else ["no registers"])


def _value(value: bytes) -> object:
    """Return a value as JSON, which haagent's own are, else as text."""
    try:
        return json.loads(value)
    except ValueError:
        return value.decode(errors="replace")
