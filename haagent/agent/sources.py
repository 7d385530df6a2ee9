"""Where a configuration comes from, and what an agent refuses to start with.

Promise: what ``load`` returns is not refused later for anything the files and options say. ``haagent check`` asks it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from haagent.agent.parameters import arbitrated, failsafe, guards, timing
from haagent.config.listening import check_listens, parse_listen
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.model import ArbiterConfig, Configuration
from haagent.control.snapshot import socket_path
from haagent.effects.gate.model import check_guards
from haagent.effects.plugins import find_plugin
from haagent.effects.processes import withhold
from haagent.errors import ConfigError, EffectError, PluginError


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the configuration comes from, as given on the command line; a reload reads it again.

    ``control_socket`` is a running agent's: whatever the files say meanwhile, all its processes go on using that one.
    """

    files: tuple[Path, ...]
    arbiter: str | None = None
    config_id: str | None = None
    node: str | None = None
    run_directory: str = "/run/haagent"
    record: str | None = None
    pid_file: str | None = None
    worker_pid_file: str | None = None
    namespace: str | None = None
    http: tuple[str, ...] = ()
    log_file: str | None = None
    log_facility: str | None = None
    control_socket: str | None = None

    def load(self) -> Configuration:
        """Return what the files mean now. Raises ConfigErrors or ConfigError."""
        configuration = load(self.files, config_id=self.config_id, arbiter=self.arbiter, node=self.node)
        if self.http:
            own = tuple(parse_listen(word, "--http") for word in self.http)
            configuration = replace(configuration, daemon=replace(configuration.daemon, http=own))
            check_listens(configuration)
        if self.control_socket is not None:
            daemon = replace(configuration.daemon, control_socket=self.control_socket)
            configuration = replace(configuration, daemon=daemon)
        if configuration.arbiter is not None:  # scripts do not get a password_env
            withhold(_passwords(configuration.arbiter))
        if refused := tuple(refusals(configuration)):
            raise ConfigErrors(refused, configuration.warnings, configuration.notes)
        return replace(configuration, warnings=(*configuration.warnings, *_warnings(configuration)))

    def of_a_run(self, configuration: Configuration) -> Sources:
        """Return the sources of an agent that starts with ``configuration``: what no reload changes is settled."""
        daemon = configuration.daemon
        node = self.node or daemon.node
        ours, worker = configuration.pid_files or (None, None)
        return replace(
            self,
            node=node,
            pid_file=self.pid_file or ours,
            worker_pid_file=self.worker_pid_file or worker,
            control_socket=daemon.control_socket or socket_path(node, self.run_directory),
        )


def refusals(configuration: Configuration) -> Iterator[ConfigError]:
    """Yield why an agent does not start with a configuration that could be read; asks nothing of the host but what is installed."""
    try:
        timing(configuration)
    except ConfigError as error:
        yield error
    try:
        check_guards(guards(configuration))
    except EffectError as error:
        yield ConfigError(str(error), None, "a sync group makes one claim of several instances")
    if configuration.arbiter is not None and arbitrated(configuration):
        yield from _not_installed(configuration.arbiter)


def _not_installed(arbiter: ArbiterConfig) -> Iterator[ConfigError]:
    """Yield why an arbiter, or one that it is made of, cannot be loaded. Imports none of them."""
    for one in (arbiter, *arbiter.members):
        try:
            find_plugin(one.kind)
        except PluginError as error:
            yield ConfigError(str(error), one.place)


def _warnings(configuration: Configuration) -> Iterator[str]:
    """Yield what only shows when it is known which node the files are for."""
    peers, own = configuration.peers, configuration.daemon.node
    if peers is not None and failsafe(configuration) and not peers.lists_this_node:
        others = ", ".join(peer.node for peer in peers.nodes)
        text = f"peers lists {others}, but not this node, {own}; if it is one of them under another name, failsafe never works"
        yield str(
            ConfigError(text, peers.place, "list it, or say its name: node in the haagent block, or --node")
        )


def _passwords(arbiter: ArbiterConfig) -> Iterator[str]:
    """Yield an arbiter's password, and those of the arbiters it is made of."""
    yield from (text for word, text in arbiter.settings if word == "password")
    for member in arbiter.members:
        yield from _passwords(member)
