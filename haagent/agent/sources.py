"""Where a configuration comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from haagent.agent.parameters import timing
from haagent.config.listening import check_listens, parse_listen
from haagent.config.load import load
from haagent.config.model import ArbiterConfig, Configuration
from haagent.config.votes import check_votes
from haagent.effects.processes import withhold


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the configuration comes from, as given on the command line; a reload reads it again."""

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

    def load(self) -> Configuration:
        """Return what the files mean now. Raises ConfigErrors or ConfigError."""
        configuration = load(self.files, config_id=self.config_id, arbiter=self.arbiter)
        if self.http:
            own = tuple(parse_listen(word, "--http") for word in self.http)
            configuration = replace(configuration, daemon=replace(configuration.daemon, http=own))
            check_listens(configuration)
        if configuration.arbiter is not None:  # scripts do not get a password_env
            withhold(_passwords(configuration.arbiter))
        timing(configuration)
        check_votes(configuration, self.node or configuration.daemon.node)
        return configuration


def _passwords(arbiter: ArbiterConfig) -> Iterator[str]:
    """Yield an arbiter's password, and those of the arbiters it is made of."""
    yield from (text for word, text in arbiter.settings if word == "password")
    for member in arbiter.members:
        yield from _passwords(member)
