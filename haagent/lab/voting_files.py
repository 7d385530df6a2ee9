"""Voting files as a lab's arbiter: it has no servers, so nothing here can be killed.

Promises complete files when its constructor returns, and to remove them when stopped.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from haagent.lab.topology import Topology

VOTING_FILES = 3


class FileArbiter:
    """Voting files in the lab's directory. Nothing can cut a node of this machine from them, so ``size`` is 0."""

    kind = "file"
    size = 0

    def __init__(self, topology: Topology, domain: str = "haagent", files: int = VOTING_FILES) -> None:
        directory = topology.workdir / "voting"
        directory.mkdir()
        self._paths = tuple(str(directory / f"{number}.vote") for number in range(1, files + 1))
        making = import_module("arbiters.shared_file.making")  # by name: haagent imports no arbiter
        headers = making.plan(self._paths, domain, [node.name for node in topology.nodes])
        making.make_all(self._paths, headers)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The files' paths."""
        return self._paths

    @property
    def serving(self) -> bool:
        """Say that it is there: files have nothing to start."""
        return True

    @property
    def logs(self) -> dict[str, Path]:
        """Nothing: files write no logs."""
        return {}

    def block(self, words: str = "") -> str:
        """Return the arbiter block that reaches it."""
        return f"arbiter {self.kind} {{\n    endpoints {' '.join(self._paths)}\n{words}}}\n"

    def freeze(self, members: int) -> None:
        """Nothing: there are no members."""

    def thaw(self) -> None:
        """Nothing."""

    def kill(self, members: int) -> None:
        """Nothing: there are no members."""

    def restart(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Remove the files."""
        for path in self._paths:
            Path(path).unlink(missing_ok=True)
