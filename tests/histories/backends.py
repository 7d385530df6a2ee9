"""The arbiters a campaign can run against, each with the faults it can suffer. A new one is a line in ``BACKENDS``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from arbiters.quorum import open_arbiter as open_quorum
from arbiters.shared_file import SharedFileArbiter
from arbiters.shared_file import open_arbiter as open_files
from arbiters.shared_file.making import make_all, plan
from haagent.arbiter import Arbiter, ArbiterOptions, OpenArbiter
from haagent.conformance.relay import Relay
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.lab.members import Members, Site
from haagent.lab.postgresql import PostgresqlServers, require_postgresql
from haagent.lab.servers import EtcdCluster, EtcdOptions, require_etcd
from haagent.lab.witness import Witnesses
from haagent.lab.zookeeper import ZooKeeperEnsemble, require_zookeeper
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore

DOMAIN = "histories"
TTL = 1.0
NODES = tuple("abcdef")  # as many as voting files take

Step: TypeAlias = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Breakage:
    """One fault: what to do, how long it lasts, what to do then. Steps that block run in a thread."""

    inject: Step
    heal: Step = lambda: None


class Backend:
    """A running arbiter. ``fresh_reads``: it promises that reads are linearizable."""

    fresh_reads = False
    clients = len(NODES)

    def __init__(self) -> None:
        self.faults: dict[str, Breakage] = {}

    async def open(self, node: str) -> Arbiter:
        """Return a new arbiter for ``node``."""
        raise NotImplementedError


class MemoryBackend(Backend):
    """A store in this process; what goes wrong is switched on."""

    fresh_reads = True

    def __init__(self) -> None:
        super().__init__()
        self._store, self._faults = MemoryStore(), Faults()
        for kind in ("before", "after", "late", "hang"):
            self.faults[kind] = Breakage(self._setter(kind, -1), self._setter(kind, 0))

    async def open(self, node: str) -> Arbiter:
        self._faults.delay = 0.001
        return MemoryArbiter(self._store, self._faults)

    def _setter(self, kind: str, number: int) -> Step:
        return lambda: setattr(self._faults, kind, number)


class ServerBackend(Backend):
    """Servers of the lab behind relays; ``kind`` is the plugin that speaks to them."""

    def __init__(
        self, kind: str, servers: Any, relays: Sequence[Relay], *, fresh_reads: bool, **secrets: str
    ) -> None:
        super().__init__()
        self.fresh_reads = fresh_reads
        self._opening: OpenArbiter = load_plugin(find_plugin(kind))
        self._settings, self._relays = {**servers.settings, **secrets}, tuple(relays)
        self.faults = server_faults(servers) | relay_faults(relays)

    @property
    def options(self) -> dict[str, Any]:
        """The endpoints and words that reach it, through the relays."""
        return {
            "endpoints": tuple(relay.endpoint for relay in self._relays),
            "settings": self._settings,
        }

    async def open(self, node: str) -> Arbiter:
        return await self._opening(options_of(node, **self.options))


class FileBackend(Backend):
    """Voting files on this machine; a hung server is a stopped helper process of every client."""

    clients = 4

    def __init__(self, directory: Path, files: int = 3) -> None:
        super().__init__()
        self._paths = [str(directory / f"voting-{number}") for number in range(files)]
        make_all(self._paths, plan(self._paths, DOMAIN, NODES, spare=0, registers=32))
        self._opened: list[SharedFileArbiter] = []
        self._stopped: set[int] = set()
        self.faults = {
            "hang a file": Breakage(lambda: self._stop(1), self._go_on),
            "hang the majority": Breakage(lambda: self._stop(2), self._go_on),
            "kill the helpers of a file": Breakage(lambda: _each(_signal(signal.SIGKILL), self._pids(1))),
        }

    async def open(self, node: str) -> Arbiter:
        arbiter = await open_files(options_of(node, tuple(self._paths)))
        assert isinstance(arbiter, SharedFileArbiter)
        self._opened.append(arbiter)
        return arbiter

    def _pids(self, files: int) -> list[int]:
        """Return every client's helper process of the first ``files``."""
        return [file.pid for one in self._opened for file in one.files.files[:files] if file.pid]

    def _stop(self, files: int) -> None:
        pids = self._pids(files)
        self._stopped.update(pids)
        _each(_signal(signal.SIGSTOP), pids)

    def _go_on(self) -> None:
        """Let all go on that were stopped, also those a client has replaced since."""
        _each(_signal(signal.SIGCONT), tuple(self._stopped))
        self._stopped.clear()


class QuorumBackend(Backend):
    """etcd, ZooKeeper and voting files, one of each."""

    clients = 4

    def __init__(self, parts: Mapping[str, ServerBackend], paths: Sequence[str]) -> None:
        super().__init__()
        self._parts, self._paths = parts, tuple(paths)
        for name, part in parts.items():
            self.faults |= {f"{name}: {fault}": step for fault, step in part.faults.items()}

    async def open(self, node: str) -> Arbiter:
        members = [(kind, options_of(node, **part.options)) for kind, part in self._parts.items()]
        members.append(("file", options_of(node, self._paths)))
        return await open_quorum(ArbiterOptions((), DOMAIN, node, TTL, {}, tuple(members)))


def options_of(
    node: str, endpoints: tuple[str, ...], settings: Mapping[str, str] | None = None
) -> ArbiterOptions:
    """Return what haagent would open the arbiter with."""
    return ArbiterOptions(endpoints, DOMAIN, node, TTL, settings or {}, keep=60.0)


def server_faults(servers: Any) -> dict[str, Breakage]:
    """Return what can be done to the processes; servers that follow no leader have only one way to be killed."""
    every = servers.members
    faults = {
        "freeze one": Breakage(lambda: servers.freeze(every[-1]), lambda: servers.thaw(every[-1])),
        "freeze all": Breakage(lambda: _each(servers.freeze, every), lambda: _each(servers.thaw, every)),
        "kill one": Breakage(lambda: servers.kill(every[-1]), servers.revive),
        "kill all": Breakage(lambda: _each(servers.kill, every), servers.revive),
        "restart one": Breakage(lambda: servers.restart(every[0])),
    }
    if len(every) > 1 and hasattr(servers, "leader"):
        faults["freeze the leader"] = Breakage(
            lambda: servers.freeze(servers.leader()), lambda: _each(servers.thaw, every)
        )
        faults["kill the leader"] = Breakage(lambda: servers.kill(servers.leader()), servers.revive)
    return faults


def relay_faults(relays: Sequence[Relay]) -> dict[str, Breakage]:
    """Return what can be done to the connections."""
    return {
        "reset connections": Breakage(lambda: _each(Relay.cut, relays)),
        "lose the state of connections": Breakage(lambda: _each(Relay.swallow, relays)),
        "black hole": Breakage(lambda: _each(Relay.silence, relays), lambda: _each(Relay.heal, relays)),
    }


def _signal(number: signal.Signals) -> Callable[[int], None]:
    def send(pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    return send


def _each(action: Callable[[Any], object], things: Sequence[Any]) -> None:
    for thing in things:
        action(thing)


# -- starting them


@asynccontextmanager
async def _serving(
    kind: str, servers: Members[Any], *, fresh_reads: bool, **secrets: str
) -> AsyncIterator[ServerBackend]:
    await asyncio.to_thread(servers.__enter__)
    try:
        async with AsyncExitStack() as stack:
            relays = [await stack.enter_async_context(Relay(endpoint)) for endpoint in servers.endpoints]
            yield ServerBackend(kind, servers, relays, fresh_reads=fresh_reads, **secrets)
    finally:
        await asyncio.to_thread(servers.__exit__, None, None, None)


@asynccontextmanager
async def _memory(_directory: Path) -> AsyncIterator[Backend]:
    yield MemoryBackend()


@asynccontextmanager
async def _file(directory: Path) -> AsyncIterator[Backend]:
    yield FileBackend(directory)


@asynccontextmanager
async def _etcd(directory: Path) -> AsyncIterator[Backend]:
    require_etcd()
    cluster = EtcdCluster(directory / "etcd", [Site()] * 3, EtcdOptions(heartbeat=50, election=500))
    async with _serving("etcd", cluster, fresh_reads=True) as backend:
        yield backend


@asynccontextmanager
async def _zookeeper(directory: Path) -> AsyncIterator[Backend]:
    require_zookeeper()
    async with _serving(
        "zookeeper", ZooKeeperEnsemble(directory / "zookeeper", [Site()] * 3), fresh_reads=False
    ) as backend:
        yield backend


@asynccontextmanager
async def _witness(directory: Path) -> AsyncIterator[Backend]:
    async with _serving("witness", Witnesses(directory / "witness"), fresh_reads=True) as backend:
        yield backend


@asynccontextmanager
async def _postgresql(_directory: Path) -> AsyncIterator[Backend]:
    require_postgresql()
    servers = PostgresqlServers()
    password = servers.options.password
    async with _serving("postgresql", servers, fresh_reads=False, password=password) as backend:
        yield backend


@asynccontextmanager
async def _quorum(directory: Path) -> AsyncIterator[Backend]:
    require_etcd()
    require_zookeeper()
    etcd = EtcdCluster(directory / "etcd", options=EtcdOptions(heartbeat=50, election=500))
    paths = [str(directory / "voting")]
    make_all(paths, plan(paths, DOMAIN, NODES, spare=0, registers=32))
    async with AsyncExitStack() as stack:
        parts = {
            "etcd": await stack.enter_async_context(_serving("etcd", etcd, fresh_reads=True)),
            "zookeeper": await stack.enter_async_context(
                _serving("zookeeper", ZooKeeperEnsemble(directory / "zookeeper"), fresh_reads=False)
            ),
        }
        yield QuorumBackend(parts, paths)


BACKENDS = {
    "memory": _memory,
    "witness": _witness,
    "etcd": _etcd,
    "zookeeper": _zookeeper,
    "file": _file,
    "quorum": _quorum,
    "postgresql": _postgresql,
}
