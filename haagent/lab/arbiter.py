"""The arbiters of a lab, seen as faults and clusters need them: servers in the arbiter namespaces, or voting files.

Each promises to answer when its constructor returns, and to remove its data when stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from haagent.lab.faults import ArbiterServers
from haagent.lab.members import Site
from haagent.lab.namespaces import LabError
from haagent.lab.postgresql import PostgresqlServers
from haagent.lab.servers import EtcdCluster, EtcdOptions
from haagent.lab.topology import Node, Topology
from haagent.lab.voting_files import FileArbiter
from haagent.lab.witness import Witnesses
from haagent.lab.zookeeper import ZooKeeperEnsemble

Part = Literal[
    "one", "leader", "all"
]  # of an arbiter's members; "one" does not lead, if there is one that does not


class Servers(Protocol):
    """What etcd clusters and ZooKeeper ensembles have in common."""

    @property
    def members(self) -> tuple[Any, ...]: ...
    @property
    def endpoints(self) -> tuple[str, ...]: ...
    def start(self) -> None: ...
    def close(self) -> None: ...
    def freeze(self, member: Any) -> None: ...
    def thaw(self, member: Any) -> None: ...
    def kill(self, member: Any) -> None: ...
    def revive(self) -> None: ...
    def leader(self) -> Any: ...
    def serves(self, member: Any) -> bool: ...
    def log(self, member: Any) -> Path: ...


class ServerArbiter:
    """What arbiters made of servers share. ``kind`` is the word in the configuration."""

    kind = ""
    secret: Path | None = None  # the file whose contents let a node in, where the lab's servers ask for one

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        try:
            servers.start()
        except BaseException:
            servers.close()
            raise

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of every member."""
        return self._servers.endpoints

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self._servers.members)

    @property
    def serving(self) -> bool:
        """Say whether every member answers clients."""
        return all(self._servers.serves(member) for member in self._servers.members)

    @property
    def logs(self) -> dict[str, Path]:
        """What every member wrote, by its name."""
        return {member.name: self._servers.log(member) for member in self._servers.members}

    def block(self, words: str = "") -> str:
        """Return the arbiter block that reaches it; ``words`` are more lines of it."""
        return f"arbiter {self.kind} {{\n    endpoints {' '.join(self.endpoints)}\n{words}}}\n"

    def freeze(self, members: int) -> None:
        """SIGSTOP the first ``members``."""
        for member in self._servers.members[:members]:
            self._servers.freeze(member)

    def thaw(self) -> None:
        """SIGCONT all."""
        for member in self._servers.members:
            self._servers.thaw(member)

    def kill(self, members: int) -> None:
        """SIGKILL the first ``members``."""
        for member in self._servers.members[:members]:
            self._servers.kill(member)

    def kill_leader(self) -> None:
        """SIGKILL whoever leads. Raises ServerError when nobody says that it does."""
        self._servers.kill(self._servers.leader())

    def freeze_part(self, part: Part) -> None:
        """SIGSTOP the members that are meant."""
        for member in self._members(part):
            self._servers.freeze(member)

    def kill_part(self, part: Part) -> None:
        """SIGKILL the members that are meant."""
        for member in self._members(part):
            self._servers.kill(member)

    def _members(self, part: Part) -> tuple[Any, ...]:
        members = self._servers.members
        if part == "all" or len(members) == 1:
            return members
        leader = self._servers.leader()
        return (leader,) if part == "leader" else next((m,) for m in members if m is not leader)

    def restart(self) -> None:
        """Start what ``kill`` ended, on its old data."""
        self._servers.revive()

    def wipe(self) -> None:
        """Delete every record."""
        raise NotImplementedError

    def save(self) -> None:
        """Keep a copy of all data as it is now; the servers may be away for a moment."""
        raise NotImplementedError

    def restore(self) -> None:
        """Put back what ``save`` kept below servers that were killed, and start them on it."""
        raise NotImplementedError

    def stop(self) -> None:
        """End all members and remove their data."""
        self._servers.close()


def _secret(file: Path, text: str) -> Path:
    """Write a secret where only its owner reads it, and return the file."""
    file.touch(mode=0o600)
    file.write_text(text)
    return file


def _sites(nodes: Sequence[Node]) -> list[Site]:
    return [Site(str(node.mgmt), node.namespace) for node in nodes]


class EtcdArbiter(ServerArbiter):
    """An etcd cluster on the lab's mgmt network, on ``nodes`` (default: every arbiter namespace)."""

    kind = "etcd"

    def __init__(
        self,
        topology: Topology,
        nodes: Sequence[Node] | None = None,
        options: EtcdOptions | None = None,
    ) -> None:
        self.cluster = EtcdCluster(topology.workdir / "etcd", _sites(nodes or topology.arbiters), options)
        if options is not None and options.user is not None:
            self.secret = _secret(topology.workdir / "etcd.password", options.password)
        super().__init__(self.cluster)

    def block(self, words: str = "") -> str:
        login = f"    username {self.cluster.options.user}\n    password_file {self.secret}\n"
        return super().block((login if self.secret is not None else "") + words)

    def wipe(self) -> None:
        self.cluster.etcdctl("del", "", "--prefix")

    def save(self) -> None:
        self.cluster.save()

    def restore(self) -> None:
        self.cluster.restore()


class ZooKeeperArbiter(ServerArbiter):
    """A ZooKeeper ensemble on the lab's mgmt network, on ``nodes`` (default: every arbiter namespace)."""

    kind = "zookeeper"

    def __init__(
        self, topology: Topology, nodes: Sequence[Node] | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self.cluster = ZooKeeperEnsemble(topology.workdir / "zookeeper", _sites(nodes or topology.arbiters))
        self._user = ""
        if login is not None:  # ZooKeeper keeps no list of users: the first one to make a znode owns it
            self._user = login[0]
            self.secret = _secret(topology.workdir / "zookeeper.password", login[1])
        super().__init__(self.cluster)

    def block(self, words: str = "") -> str:
        login = f"    username {self._user}\n    password_file {self.secret}\n"
        return super().block((login if self.secret is not None else "") + words)

    def wipe(self) -> None:
        self.cluster.wipe()

    def save(self) -> None:
        self.cluster.save()

    def restore(self) -> None:
        self.cluster.restore()


class PostgresqlArbiter(ServerArbiter):
    """A PostgreSQL server on the lab's mgmt network, on the first of ``nodes`` (default: of the arbiter namespaces).

    ``standbys`` more on the next ones, if asked for: who promotes one, and when, is no business of haagent's.
    """

    kind = "postgresql"

    def __init__(self, topology: Topology, nodes: Sequence[Node] | None = None, *, standbys: int = 0) -> None:
        self.cluster = PostgresqlServers(_sites(nodes or topology.arbiters)[: 1 + standbys])
        self.secret = _secret(topology.workdir / "postgresql.password", self.cluster.options.password)
        self._copy: Path | None = None
        super().__init__(self.cluster)

    def block(self, words: str = "") -> str:
        login = {**self.cluster.settings, "password_file": str(self.secret)}
        return super().block("".join(f"    {word} {value}\n" for word, value in login.items()) + words)

    def wipe(self) -> None:
        self.cluster.sql(self.cluster.leader(), "DELETE FROM haagent.registers")

    def save(self) -> None:
        self._copy = self.cluster.save(self.cluster.members[0])

    def restore(self) -> None:
        if self._copy is None:
            raise LabError("nothing was saved")
        self.cluster.restore(self.cluster.members[0], self._copy)


class WitnessArbiter(ServerArbiter):
    """One ``haagent witness`` on the lab's mgmt network, on the first of ``nodes`` (default: arbiter namespaces)."""

    kind = "witness"

    def __init__(self, topology: Topology, nodes: Sequence[Node] | None = None) -> None:
        self.witnesses = Witnesses(topology.workdir / "witness", _sites(nodes or topology.arbiters)[:1])
        self.secret = self.witnesses.key_file
        self._copy = topology.workdir / "witness.saved"
        super().__init__(self.witnesses)

    def block(self, words: str = "") -> str:
        return super().block(f"    key_file {self.witnesses.key_file}\n{words}")

    def wipe(self) -> None:
        self.witnesses.wipe()

    def save(self) -> None:
        self.witnesses.save(self.witnesses.members[0], self._copy)
        self.witnesses.revive()

    def restore(self) -> None:
        (member,) = self.witnesses.members
        self.witnesses.remove(member)
        shutil.copy(self._copy, member.file)
        self.witnesses.revive()


class QuorumArbiter:
    """Several arbiters as one; its members are whole arbiters."""

    kind = "quorum"

    def __init__(self, parts: Sequence[ServerArbiter | FileArbiter]) -> None:
        self.parts = tuple(parts)
        self._breakable = tuple(part for part in parts if part.size)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Everything any part listens on."""
        return tuple(endpoint for part in self.parts for endpoint in part.endpoints)

    @property
    def size(self) -> int:
        """How many parts can be broken."""
        return len(self._breakable)

    @property
    def serving(self) -> bool:
        """Say whether every part answers clients."""
        return all(part.serving for part in self.parts)

    @property
    def logs(self) -> dict[str, Path]:
        """What every member of every part wrote."""
        return {f"{part.kind}-{name}": log for part in self.parts for name, log in part.logs.items()}

    def block(self, words: str = "") -> str:
        """Return the arbiter block that names every part."""
        inner = "".join(part.block().removeprefix("arbiter ") for part in self.parts)
        return f"arbiter {self.kind} {{\n{inner}{words}}}\n"

    def freeze(self, members: int) -> None:
        """SIGSTOP the first ``members`` parts."""
        for part in self._breakable[:members]:
            part.freeze(part.size)

    def thaw(self) -> None:
        """SIGCONT all."""
        for part in self._breakable:
            part.thaw()

    def kill(self, members: int) -> None:
        """SIGKILL the first ``members`` parts."""
        for part in self._breakable[:members]:
            part.kill(part.size)

    def freeze_part(self, part: Part) -> None:
        """SIGSTOP the first member, or all: a quorum has no leader."""
        self.freeze(self.size if part == "all" else 1)

    def kill_part(self, part: Part) -> None:
        """SIGKILL the first member, or all."""
        self.kill(self.size if part == "all" else 1)

    def restart(self) -> None:
        """Start what ``kill`` ended."""
        for part in self._breakable:
            part.restart()

    def stop(self) -> None:
        """End all parts."""
        for part in self.parts:
            part.stop()


LabArbiter = ServerArbiter | FileArbiter | QuorumArbiter
MEMBERS = {
    "etcd": 3,
    "zookeeper": 3,
    "postgresql": 1,
    "file": 0,
    "witness": 1,
}  # namespaces each takes by default
COMPOUND = {"quorum": ("etcd", "zookeeper", "witness")}  # arbiters made of others, and of which


def start_arbiter(kinds: Sequence[str], topology: Topology, domain: str) -> LabArbiter:
    """Start one arbiter, or a quorum of several ``kinds``, on the topology's arbiter namespaces in turn.

    Of several, each has one server. Raises LabError for a kind the lab has no server of.
    """
    if len(kinds) == 1:
        return _start(kinds[0], topology, topology.arbiters, domain)
    free = iter(topology.arbiters)
    parts: list[ServerArbiter | FileArbiter] = []
    try:
        for kind in kinds:
            nodes = (next(free),) if MEMBERS.get(kind) else ()
            parts.append(_start(kind, topology, nodes, domain))
    except BaseException:
        for part in parts:
            part.stop()
        raise
    return QuorumArbiter(parts)


def _start(kind: str, topology: Topology, nodes: Sequence[Node], domain: str) -> ServerArbiter | FileArbiter:
    if kind == "etcd":
        return EtcdArbiter(topology, nodes)
    if kind == "zookeeper":
        return ZooKeeperArbiter(topology, nodes)
    if kind == "postgresql":
        return PostgresqlArbiter(topology, nodes)
    if kind == "witness":
        return WitnessArbiter(topology, nodes)
    if kind == "file":
        return FileArbiter(topology, domain)
    raise LabError(f"no arbiter {kind!r} in the lab; there are {', '.join(MEMBERS)}")


def breakable(servers: ArbiterServers | None) -> ServerArbiter | None:
    """Return ``servers`` if it is made of servers with a leader and records that can be deleted."""
    return servers if isinstance(servers, ServerArbiter) else None
