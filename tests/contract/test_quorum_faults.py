"""What a quorum of real servers does when one of them is killed, hangs, refuses, or forgets everything."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.quorum import open_arbiter
from arbiters.quorum.acceptor import decode
from haagent.arbiter import Arbiter, ArbiterOptions, Conflict, Misconfigured, Record, Unavailable
from haagent.lab.servers import EtcdCluster, EtcdOptions
from haagent.lab.zookeeper import ZooKeeperEnsemble
from haagent.testing.contract import TIMEOUT, unique, write

pytestmark = [pytest.mark.etcd, pytest.mark.zookeeper]

RENEWAL = 0.25  # seconds a swap may take
KINDS = ("etcd", "etcd", "zookeeper")
TOLD = "stores every register again"  # what the log says of a member that forgot
LEASE = 2.0  # seconds without a renewal that would cost a node its claim
Members = tuple[EtcdCluster, EtcdCluster, ZooKeeperEnsemble]


@pytest.fixture(scope="module")
def servers(etcd_directory: Path, zookeeper_directory: Path) -> Iterator[Members]:
    """Three servers that nobody else uses, since they are wiped."""
    quick = EtcdOptions(heartbeat=50, election=500)
    with (
        EtcdCluster(etcd_directory / "voter1", options=quick) as one,
        EtcdCluster(etcd_directory / "voter2", options=quick) as two,
        ZooKeeperEnsemble(zookeeper_directory / "voter3") as three,
    ):
        yield one, two, three


@asynccontextmanager
async def opened(servers: Members, domain: str, node: str = "a") -> AsyncIterator[Arbiter]:
    members = tuple(
        (kind, ArbiterOptions(server.endpoints, domain, node, 0.5, {}))
        for kind, server in zip(KINDS, servers, strict=True)
    )
    arbiter = await open_arbiter(ArbiterOptions((), domain, node, 0.5, {}, members))
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


async def renew(arbiter: Arbiter, record: Record, times: int = 8) -> Record:
    """Renew again and again; none may take as long as a lease."""
    for _ in range(times):
        record = await renewed(arbiter, record, time.monotonic() + LEASE)
        await asyncio.sleep(0.05)
    return record


async def renewed(arbiter: Arbiter, record: Record, deadline: float) -> Record:
    """Renew as a node does: a call in vain is made again, and what stands there may be its own late success."""
    value = unique()
    while True:
        try:
            return Record(value, await arbiter.swap("sessions/a", value, record, timeout=RENEWAL))
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        except Conflict:
            found = await arbiter.read("sessions/a", timeout=RENEWAL)
            assert found is not None and found.value == value, "somebody else wrote this node's session"
            return found


def kill(server: EtcdCluster | ZooKeeperEnsemble) -> None:
    server.kill(server.members[0])  # type: ignore[arg-type]


def freeze(server: EtcdCluster | ZooKeeperEnsemble) -> None:
    server.freeze(server.members[0])  # type: ignore[arg-type]


def revive(server: EtcdCluster | ZooKeeperEnsemble, *, wiped: bool) -> None:
    (member,) = server.members
    server.kill(member)  # type: ignore[arg-type]
    if wiped:
        data = server.directory / member.name
        shutil.rmtree(data if isinstance(server, EtcdCluster) else data / "version-2")
    server.restart(member)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("loss", [kill, freeze])
async def test_one_lost_member_costs_no_renewal_and_may_come_back_empty(
    servers: Members, number: int, loss, caplog: pytest.LogCaptureFixture
) -> None:
    domain, kind = f"lost-{uuid4().hex[:8]}", KINDS[number]
    async with opened(servers, domain) as arbiter:
        record = await renew(arbiter, await write(arbiter, "sessions/a", None), 3)
        claim = await write(arbiter, "claims/web", None)
        loss(servers[number])
        try:
            record = await renew(arbiter, record)
        finally:
            await asyncio.to_thread(revive, servers[number], wiped=True)
        record = await renew(arbiter, record)
        other = servers[(number + 1) % 3]
        record = await until_told(
            arbiter, record, lambda: f"member {number + 1} ({kind}) {TOLD}" in caplog.text
        )
        loss(other)
        try:
            record = await renew(arbiter, record)
            async with opened(servers, domain, "b") as newcomer:
                assert await newcomer.read("claims/web", timeout=TIMEOUT) == claim
                with pytest.raises(Conflict):
                    await newcomer.swap("claims/web", unique(), None, timeout=TIMEOUT)
                await write(newcomer, "claims/web", claim)
        finally:
            await asyncio.to_thread(revive, other, wiped=False)


async def until_told(arbiter: Arbiter, record: Record, said: Callable[[], bool]) -> Record:
    """Renew, as a node does, until the log says that all is told; then every member has a vote on both registers."""
    until = time.monotonic() + 20
    while not said():
        assert time.monotonic() < until, "the log never said that the member was told everything"
        record = await renew(arbiter, record, 4)
    members = arbiter.members  # type: ignore[attr-defined]
    for member in members:
        for name in ("claims/claims:web", "claims/sessions:a"):
            stored = await member.read(name, 0.5)
            assert stored is not None and decode(stored.value, len(members)).accepted, (
                f"{member.label}: {name}"
            )
    return record


async def test_two_lost_members_are_unavailable_and_named(servers: Members) -> None:
    async with opened(servers, f"two-{uuid4().hex[:8]}") as arbiter:
        record = await write(arbiter, "sessions/a", None)
        kill(servers[0])
        kill(servers[2])
        try:
            with pytest.raises(Unavailable, match=r"member 1 \(etcd\).*member 3 \(zookeeper\)"):
                await arbiter.swap("sessions/a", unique(), record, timeout=1.0)
        finally:
            for number in (0, 2):
                await asyncio.to_thread(revive, servers[number], wiped=False)


async def test_a_misconfigured_minority_is_logged_and_costs_its_vote_only(
    servers: Members, caplog: pytest.LogCaptureFixture
) -> None:
    domain = f"refused-{uuid4().hex[:8]}"
    async with opened(servers, domain) as arbiter:
        record = await write(arbiter, "sessions/a", None)
    members = [
        (kind, ArbiterOptions(s.endpoints, domain, "a", 0.5, {"nonsense": "1"} if refused else {}))
        for kind, s, refused in zip(KINDS, servers, (True, False, False), strict=True)
    ]
    with caplog.at_level(logging.WARNING, "haagent.arbiters.quorum"):
        arbiter = await open_arbiter(ArbiterOptions((), domain, "a", 0.5, {}, tuple(members)))
        try:
            await renew(arbiter, record)
        finally:
            await arbiter.aclose()
    assert "member 1 (etcd) has no vote" in caplog.text
    assert caplog.text.count("nonsense") == 1


async def test_quorums_that_cannot_work_are_refused() -> None:
    one = ("etcd", ArbiterOptions(("127.0.0.1:1",), "d", "a", 0.5, {}))
    other = ("nosuch", one[1])
    for members, said in (((one,), "at least two"), ((one, one), "twice"), ((one, other), "nosuch")):
        with pytest.raises(Misconfigured, match=said):
            await open_arbiter(ArbiterOptions((), "d", "a", 0.5, {}, members))
