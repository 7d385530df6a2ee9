"""Reading a configuration: files in, one checked ``Configuration`` out, or every error at once.

Promise: nothing on this machine is changed, no program is run, no name is resolved. Files read: those given, those
they include, and the files that hold secrets. The same files and environment give the same Configuration.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from haagent.config.arbiters import override, read_arbiter
from haagent.config.crosscheck import check, unique
from haagent.config.daemon import read_daemon, read_peers
from haagent.config.defaults import InstanceDefaults, read_defaults
from haagent.config.expand import Expander
from haagent.config.groups import join_groups, read_group
from haagent.config.instances import read_instance
from haagent.config.lexer import Line
from haagent.config.messages import Messages
from haagent.config.model import ArbiterConfig, Configuration, SyncGroup, VrrpInstance, VrrpScript
from haagent.config.sections import Section
from haagent.config.tracking import read_script
from haagent.config.tree import parse
from haagent.errors import ConfigError


def short_host_name() -> str:
    """Return the host's name up to the first dot: keepalived's default configuration id, and a node's default name."""
    return platform.node().partition(".")[0] or "localhost"


def load(
    paths: Sequence[Path],
    *,
    config_id: str | None = None,
    arbiter: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Return what the files mean together, in their order.

    ``config_id`` decides about ``@ID`` lines (None: the short host name). ``arbiter`` is a name or a URL that
    overrides the arbiter block, see ``arbiters.override``. Raises ConfigErrors.
    """
    messages = Messages()
    lines = _lines(paths, config_id or short_host_name(), environ, messages)
    top = Section("top", parse(lines, messages), messages)
    configuration = _build(top, arbiter, environ, messages)
    messages.raise_errors()
    return configuration


def _lines(
    paths: Sequence[Path], config_id: str, environ: Mapping[str, str], messages: Messages
) -> Iterator[Line]:
    expander = Expander(config_id, environ, messages)
    for path in paths:
        try:
            yield from expander.read(path)
        except OSError as error:
            messages.error(f"cannot read {path}: {error.strerror}")
        except ConfigError as error:
            messages.add(error)


def _build(
    top: Section, arbiter: str | None, environ: Mapping[str, str], messages: Messages
) -> Configuration:
    defaults = read_defaults(top.section("global_defs"))
    scripts = unique("vrrp_script", _scripts(top, defaults, messages), messages)
    by_name = {script.name: script for script in scripts}
    instances = unique("vrrp_instance", _instances(top, defaults, by_name, messages), messages)
    groups = unique("vrrp_sync_group", _groups(top, defaults, by_name, messages), messages)
    daemon = read_daemon(top.section("haagent"), short_host_name())
    configuration = Configuration(
        globals=defaults.globals,
        instances=tuple(join_groups(instances, groups, messages)),
        groups=tuple(groups),
        scripts=tuple(scripts),
        arbiter=_arbiter(top, arbiter, environ, messages),
        peers=read_peers(top.section("peers"), top.all("peers"), daemon.node),
        daemon=daemon,
    )
    if not configuration.instances and not messages.errors:
        messages.warning("there is no vrrp_instance: nothing is kept available")
    check(configuration, messages)
    return _with_messages(configuration, messages)


def _scripts(top: Section, defaults: InstanceDefaults, messages: Messages) -> Iterable[VrrpScript]:
    found = (read_script(statement, defaults.globals, messages) for statement in top.all("vrrp_script"))
    return (script for script in found if script is not None)


def _instances(
    top: Section, defaults: InstanceDefaults, scripts: Mapping[str, VrrpScript], messages: Messages
) -> Iterable[VrrpInstance]:
    return (read_instance(statement, defaults, scripts, messages) for statement in top.all("vrrp_instance"))


def _groups(
    top: Section, defaults: InstanceDefaults, scripts: Mapping[str, VrrpScript], messages: Messages
) -> Iterable[SyncGroup]:
    return (
        read_group(statement, defaults.globals, scripts, messages) for statement in top.all("vrrp_sync_group")
    )


def _arbiter(
    top: Section, text: str | None, environ: Mapping[str, str], messages: Messages
) -> ArbiterConfig | None:
    blocks = top.all("arbiter")
    for surplus in blocks[1:]:
        messages.error(
            "a second arbiter block", surplus.place, "put several arbiters into arbiter quorum { ... }"
        )
    block = read_arbiter(blocks[0], environ, messages) if blocks else None
    return override(block, text, environ, messages) if text else block


def _with_messages(configuration: Configuration, messages: Messages) -> Configuration:
    return replace(configuration, warnings=tuple(messages.warnings), notes=tuple(messages.notes))
