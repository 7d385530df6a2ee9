"""What an arbiter costs, per kind: how long a renewal and a swap take, how soon a dead MASTER is replaced, how often it is asked.

Each measurement builds a lab of its own, with the kind's servers in namespaces (three of etcd and of ZooKeeper), and
removes it. Times are CLOCK_MONOTONIC of this machine under its present load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from haagent.arbiter import Arbiter, ArbiterError, Record
from haagent.config.load import load
from haagent.core.units import SECOND, Duration, to_seconds
from haagent.effects.arbitration import arbiter_options
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.lab.arbiter import MEMBERS, LabArbiter, start_arbiter
from haagent.lab.cluster import DOMAIN, Cluster, ClusterOptions
from haagent.lab.daemons import ClusterSpec, Haagent
from haagent.lab.faults import Kill
from haagent.lab.namespaces import LabError, inside
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import Topology, build
from tests.bench import counting
from tests.bench.failover import PACE, repeat, taken_over
from tests.bench.idle import many_instances, wait_for_addresses

QUORUM = ("etcd", "zookeeper", "witness")
KINDS = ("etcd", "zookeeper", "postgresql", "witness", "file", "quorum")
ADVERT = SECOND
LEASE = 2 * SECOND
CALL = 5.0  # seconds a measured call may take
BETWEEN = 0.01  # seconds between measured calls, so that they do not measure each other
WARMING = 10  # calls before the first one that counts
NODES = ("node1", "node2")


def parts(kind: str) -> tuple[str, ...]:
    """Return the kinds of arbiter that ``kind`` is made of."""
    return QUORUM if kind == "quorum" else (kind,)


def machines(kind: str) -> int:
    """Return how many machines its servers take: one each in a quorum."""
    return len(QUORUM) if kind == "quorum" else MEMBERS[kind]


@contextmanager
def running(kind: str) -> Iterator[tuple[Topology, LabArbiter]]:
    """Start an arbiter of ``kind`` next to two idle nodes."""
    with ExitStack() as stack:
        topology = stack.enter_context(build(2, machines(kind)))
        arbiter = start_arbiter(parts(kind), topology, DOMAIN)
        stack.callback(arbiter.stop)
        yield topology, arbiter


# -- how long calls take


@dataclass(frozen=True, slots=True)
class Latency:
    """Of ``count`` calls that were answered."""

    count: int
    p50: Duration
    p99: Duration

    @classmethod
    def of(cls, took: Sequence[Duration]) -> Latency:
        """Return the percentiles. Raises LabError for none."""
        if not took:
            raise LabError("no call was answered")
        ordered = sorted(took)
        return cls(len(ordered), *(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 99)))


@dataclass(frozen=True, slots=True)
class Latencies:
    """``renewal``: a swap on one's own last write. ``swap``: on another node's, as at a takeover. ``read``: of either."""

    renewal: Latency
    swap: Latency
    read: Latency


def latencies(kind: str, calls: int) -> Latencies:
    """Measure ``calls`` of each with the plugins that agents use, on one node, one call at a time."""
    with running(kind) as (topology, arbiter), inside(topology.nodes[0].namespace):
        configuration = topology.workdir / "arbiter.conf"
        configuration.write_text(arbiter.block())
        return asyncio.run(_measure(configuration, calls))


async def _measure(configuration: Path, calls: int) -> Latencies:
    configured = load([configuration]).arbiter
    if configured is None:
        raise LabError(f"no arbiter in {configuration}")
    opening = load_plugin(find_plugin(configured.kind))
    opened = [await opening(arbiter_options(configured, node, LEASE, LEASE)) for node in NODES]
    try:
        renewal = await _swaps(opened[:1], "sessions/node1", calls)
        swap = await _swaps(opened, "claims/VI_1", calls)
        read = await _timed(lambda: opened[0].read("claims/VI_1", timeout=CALL), calls)
        return Latencies(renewal, swap, read)
    finally:
        for one in opened:
            await one.aclose()


async def _swaps(writers: Sequence[Arbiter], register: str, calls: int) -> Latency:
    """Let ``writers`` write one register in turn, each onto what the one before it wrote."""
    held: list[Record | None] = [await writers[0].read(register, timeout=CALL)]
    turn = 0

    async def swap() -> None:
        nonlocal turn
        writer, turn = writers[turn % len(writers)], turn + 1
        value = f'{{"seq": "{uuid4().hex}", "filling": "{"." * 200}"}}'.encode()  # about a session's size
        held[0] = Record(value, await writer.swap(register, value, held[0], timeout=CALL))

    return await _timed(swap, calls)


async def _timed(call: Callable[[], object], calls: int) -> Latency:
    took: list[Duration] = []
    for number in range(WARMING + calls):
        begun = time.monotonic_ns()
        try:
            await call()  # type: ignore[misc]
        except ArbiterError as error:
            raise LabError(f"call {number}: {type(error).__name__}: {error}") from error
        if number >= WARMING:
            took.append(time.monotonic_ns() - begun)
        await asyncio.sleep(BETWEEN)
    return Latency.of(took)


# -- how soon a dead MASTER is replaced


def takeovers(kind: str, runs: int) -> list[Duration]:
    """Return the times from kill -9 of everything on the MASTER to the other node's first answer, without failsafe."""
    options = ClusterOptions(
        kinds=("haagent", "haagent"),
        spec=ClusterSpec(advert=ADVERT, vip6=None),
        arbiters=machines(kind),
        arbiter=lambda topology: start_arbiter(parts(kind), topology, DOMAIN),
        pace=PACE,
    )
    verdict = repeat(Cluster(options), runs, lambda built: Kill(built.daemons["node1"]))
    if verdict.dual_total:
        raise LabError(f"two owners at once for {verdict.dual_total / SECOND:.3f} s")
    return taken_over(verdict)


# -- how often it is asked


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls of each node's agent per second, nothing happening."""

    master_swaps: float
    master_reads: float
    backup_swaps: float
    backup_reads: float

    @property
    def total(self) -> float:
        """All calls of both nodes per second."""
        return self.master_swaps + self.master_reads + self.backup_swaps + self.backup_reads


class CountedAgent(Haagent):
    """haagent with a plugin on its path that is not installed."""

    def start(self) -> None:
        if self._process is None or not self._process.alive:
            found = counting.environment(self.directory)
            self._process = NodeProcess(self.node.namespace, self.argv(), self.log, found)


def rate(kind: str, instances: int, window: Duration, settle: Duration = 5 * SECOND) -> Rate:
    """Count the calls of two agents with ``instances`` each over ``window``, after ``settle`` of rest. No failsafe."""
    with running(kind) as (topology, arbiter), ExitStack() as stack:
        files: list[Path] = []
        for node in topology.nodes:
            block, file = counting.block(topology.workdir, node.name, arbiter.block())
            text = many_instances(instances, ADVERT, node.name)
            agent = CountedAgent(node, topology.workdir / node.name, text, block)
            stack.callback(agent.stop)
            agent.start()
            files.append(file)
        wait_for_addresses(topology, instances, ADVERT)
        time.sleep(to_seconds(settle))
        before, begun = [counting.Counts.read(file) for file in files], time.monotonic_ns()
        time.sleep(to_seconds(window))
        after, length = [counting.Counts.read(file) for file in files], time.monotonic_ns() - begun
    counted = [late - early for late, early in zip(after, before, strict=True)]
    master, backup = ((one.swaps * SECOND / length, one.reads * SECOND / length) for one in counted)
    return Rate(*master, *backup)
