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
from typing import TypeVar

from haagent.config.addresses import read_addresses
from haagent.config.announcing import read_paces
from haagent.config.arbiters import override, read_arbiter
from haagent.config.crosscheck import check, unique
from haagent.config.daemon import read_daemon, read_peers
from haagent.config.defaults import InstanceDefaults, read_defaults
from haagent.config.expand import Expander
from haagent.config.groups import join_groups, read_group
from haagent.config.haproxy import read_track_haproxy
from haagent.config.instances import read_instance
from haagent.config.lexer import Line
from haagent.config.messages import Messages
from haagent.config.model import ArbiterConfig, Configuration, LinkDelay, SyncGroup, VrrpInstance
from haagent.config.routing import read_routes, read_rules
from haagent.config.sections import Section
from haagent.config.tracking import Trackable, Tracked, read_script
from haagent.config.tracking_model import VrrpScript
from haagent.config.tree import Statement, parse
from haagent.config.values import interface, seconds
from haagent.config.virtual_macs import place
from haagent.config.votes import read_track_peer
from haagent.config.watched import read_track_file, read_track_process
from haagent.errors import ConfigError

N = TypeVar("N", bound=Tracked)

_PID_DIRECTORY = "/run/keepalived"


def short_host_name() -> str:
    """Return the host's name up to the first dot: keepalived's default configuration id, and a node's default name."""
    return platform.node().partition(".")[0] or "localhost"


def load(
    paths: Sequence[Path],
    *,
    config_id: str | None = None,
    arbiter: str | None = None,
    node: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Return what the files mean together, in their order.

    ``config_id`` decides about ``@ID`` lines (None: the short host name). ``arbiter`` is a name or a URL that
    overrides the arbiter block, see ``arbiters.override``. ``node`` overrides this node's name. Raises ConfigErrors.
    """
    messages = Messages()
    statements = read_statements(paths, config_id or short_host_name(), messages, environ)
    return understand(statements, messages, arbiter=arbiter, node=node, environ=environ)


def read_statements(
    paths: Sequence[Path], config_id: str, messages: Messages, environ: Mapping[str, str] = os.environ
) -> list[Statement]:
    """Return the top-level statements of the files, in their order; what cannot be read is in ``messages``."""
    return parse(_lines(paths, config_id, environ, messages), messages)


def understand(
    statements: Iterable[Statement],
    messages: Messages,
    *,
    arbiter: str | None = None,
    node: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Return what top-level statements mean together, as ``load`` does. Raises ConfigErrors."""
    configuration = _build(Section("top", statements, messages), arbiter, node, environ, messages)
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
    top: Section, arbiter: str | None, node: str | None, environ: Mapping[str, str], messages: Messages
) -> Configuration:
    global_defs = top.section("global_defs")
    namespace = top.value("net_namespace", _namespace, "")
    name = top.value("instance", _namespace, "")
    defaults = read_defaults(global_defs, "_".join(one for one in (namespace, name) if one))
    scripts = unique("vrrp_script", _scripts(top, defaults, messages), messages)
    files = unique(
        "track_file", _present(read_track_file(s, messages) for s in top.all("track_file")), messages
    )
    processes = unique(
        "vrrp_track_process",
        _present(read_track_process(s, messages) for s in top.all("vrrp_track_process")),
        messages,
    )
    haproxies = unique(
        "track_haproxy", _present(read_track_haproxy(s, messages) for s in top.all("track_haproxy")), messages
    )
    votes = unique("track_peer", (read_track_peer(s, messages) for s in top.all("track_peer")), messages)
    trackable = Trackable(
        _by_name(scripts), _by_name(files), _by_name(processes), _by_name(haproxies), _by_name(votes)
    )
    instances = unique("vrrp_instance", _instances(top, defaults, trackable, messages), messages)
    instances = place(instances, defaults.vmac_prefix, defaults.vmac_address_prefix, messages)
    groups = unique("vrrp_sync_group", _groups(top, defaults, trackable, messages), messages)
    daemon = read_daemon(top.section("haagent"), short_host_name(), node)
    configuration = Configuration(
        globals=defaults.globals,
        instances=tuple(join_groups(instances, groups, messages)),
        groups=tuple(groups),
        scripts=tuple(scripts),
        arbiter=_arbiter(top, arbiter, environ, messages),
        peers=read_peers(top.section("peers"), top.all("peers"), daemon.node),
        daemon=daemon,
        files=tuple(files),
        processes=tuple(processes),
        haproxies=tuple(haproxies),
        peer_votes=tuple(votes),
        link_delays=tuple(_link_delays(top)),
        announce_paces=read_paces(top, global_defs),
        static_addresses=tuple(
            read_addresses(top.lines("static_ipaddress"), defaults.default_interface, messages)
        ),
        static_routes=read_routes(top.lines("static_routes"), messages),
        static_rules=read_rules(top.lines("static_rules"), messages),
        net_namespace=namespace,
        pid_files=_pid_files(top, name),
    )
    if not configuration.instances and not messages.errors:
        messages.warning("there is no vrrp_instance: nothing is kept available")
    check(configuration, messages)
    return _with_messages(configuration, messages)


def _scripts(top: Section, defaults: InstanceDefaults, messages: Messages) -> Iterable[VrrpScript]:
    return _present(
        read_script(statement, defaults.globals, messages) for statement in top.all("vrrp_script")
    )


def _present(found: Iterable[N | None]) -> Iterable[N]:
    return (one for one in found if one is not None)


def _by_name(found: Iterable[N]) -> dict[str, N]:
    return {one.name: one for one in found}


def _instances(
    top: Section, defaults: InstanceDefaults, trackable: Trackable, messages: Messages
) -> Iterable[VrrpInstance]:
    return (read_instance(statement, defaults, trackable, messages) for statement in top.all("vrrp_instance"))


def _groups(
    top: Section, defaults: InstanceDefaults, trackable: Trackable, messages: Messages
) -> Iterable[SyncGroup]:
    return (
        read_group(statement, defaults.globals, trackable, messages)
        for statement in top.all("vrrp_sync_group")
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


def _link_delays(top: Section) -> Iterator[LinkDelay]:
    for line in top.lines("interface_up_down_delays"):
        try:
            if len(line.words) not in (2, 3):
                raise ConfigError(
                    f"{line.keyword!r} needs its delays", line.place, "IF DOWN [UP], in seconds"
                )
            down, up = ([seconds(word, 0, 255, "delay") for word in line.values] + [0])[:2]
            yield LinkDelay(interface(line.words[0]), down, up, line.place)
        except ConfigError as error:
            top.messages.warning(f"{error.message}: the line is left out", error.place, error.remedy)


def _pid_files(top: Section, name: str) -> tuple[str, str] | None:
    """Return keepalived's places for pid files, if it is told to use them; its plain default is not ours."""
    if "instance" not in top and "use_pid_dir" not in top:
        return None
    suffix = f"_{name}.pid" if name else ".pid"
    return f"{_PID_DIRECTORY}/keepalived{suffix}", f"{_PID_DIRECTORY}/vrrp{suffix}"


def _namespace(statement: Statement) -> str:
    name = statement.values[0].text
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(
            f"{statement.keyword} is {name!r}", statement.place, "a name without / and leading dot"
        )
    return name


def _with_messages(configuration: Configuration, messages: Messages) -> Configuration:
    return replace(configuration, warnings=tuple(messages.warnings), notes=tuple(messages.notes))
