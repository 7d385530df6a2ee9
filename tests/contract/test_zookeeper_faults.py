"""What a ZooKeeper arbiter does when servers hang, die, forget, or refuse, and znodes are changed by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from kazoo.client import KazooClient

from arbiters.zookeeper import open_arbiter
from haagent.arbiter import (
    Arbiter,
    ArbiterError,
    ArbiterOptions,
    Conflict,
    Misconfigured,
    Record,
    Unavailable,
)
from haagent.lab.servers import make_certificates
from haagent.lab.zookeeper import ZooKeeperEnsemble, ZooKeeperServer
from haagent.testing.contract import LATENESS, TIMEOUT, unique, write
from tests.contract.faults import first_success, watch_ends_with_the_connection_and_goes_on

pytestmark = pytest.mark.zookeeper


@asynccontextmanager
async def opened(ensemble: ZooKeeperEnsemble, domain: str = "", **words: str) -> AsyncIterator[Arbiter]:
    """Open an arbiter of a domain of its own."""
    settings = {**ensemble.settings, **words}
    arbiter = await open_arbiter(
        ArbiterOptions(ensemble.endpoints, domain or f"faults-{uuid4().hex[:8]}", "a", 0.5, settings)
    )
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


@contextmanager
def frozen(ensemble: ZooKeeperEnsemble, *members: ZooKeeperServer) -> Iterator[None]:
    for member in members:
        ensemble.freeze(member)
    try:
        yield
    finally:
        for member in members:
            ensemble.thaw(member)
        ensemble.wait_until_healthy()


@contextmanager
def kazoo(ensemble: ZooKeeperEnsemble) -> Iterator[KazooClient]:
    """An independent client, as an operator's."""
    client = KazooClient(",".join(f"{m.site.address}:{m.plain}" for m in ensemble.members))
    client.start(timeout=10)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def connected_to(ensemble: ZooKeeperEnsemble, arbiter: Arbiter) -> ZooKeeperServer:
    port = arbiter._connection._client._connection._socket.getpeername()[1]  # type: ignore[attr-defined]
    return next(member for member in ensemble.members if port in {member.plain, member.secure})


async def test_hung_server_costs_no_call(zookeeper_trio: ZooKeeperEnsemble) -> None:
    """kazoo alone would never notice: each request sent counts as a sign of life."""
    leader = zookeeper_trio.leader()
    for _ in range(10):  # servers are taken at random, and this is about a follower
        async with opened(zookeeper_trio) as arbiter:
            record = await write(arbiter, "claims/web", None)
            hung = connected_to(zookeeper_trio, arbiter)
            if hung is leader:
                continue
            with frozen(zookeeper_trio, hung):
                for _ in range(8):
                    value = unique()
                    version = await arbiter.swap("claims/web", value, record, timeout=0.5)
                    record = Record(value, version)
            return
    raise AssertionError("no connection to a follower in ten")


async def test_an_answer_just_before_the_connection_is_lost_stands(zookeeper_trio: ZooKeeperEnsemble) -> None:
    """Counterexample: both in one turn of the loop was an error nobody caught, and ended the worker."""
    async with opened(zookeeper_trio) as arbiter:
        await write(arbiter, "claims/web", None)
        connection = arbiter._connection  # type: ignore[attr-defined]
        answer = asyncio.get_running_loop().create_future()
        connection._open.add(answer)
        answer.set_result("answer")
        connection._on_state(connection._client, "SUSPENDED")
        assert answer.result() == "answer"
        connection._on_state(connection._client, "CONNECTED")


async def test_lost_leader_is_survived(zookeeper_trio: ZooKeeperEnsemble) -> None:
    leader = zookeeper_trio.leader()
    async with opened(zookeeper_trio) as arbiter:
        await write(arbiter, "claims/web", None)
        zookeeper_trio.kill(leader)
        try:
            await first_success(arbiter, "claims/web", within=10.0)
        finally:
            zookeeper_trio.restart(leader)


async def test_all_servers_hung_is_unavailable_in_time(zookeeper_trio: ZooKeeperEnsemble) -> None:
    async with opened(zookeeper_trio) as arbiter:
        record = await write(arbiter, "claims/web", None)
        with frozen(zookeeper_trio, *zookeeper_trio.members):
            for timeout in (0.05, 0.25, 0.25, 1.0):
                begun = time.monotonic()
                with pytest.raises(Unavailable):
                    await arbiter.swap("claims/web", unique(), record, timeout=timeout)
                assert time.monotonic() - begun < timeout + LATENESS
        await first_success(arbiter, "claims/web", within=10.0)


@asynccontextmanager
async def delayed(target: str, delay: float) -> AsyncIterator[str]:
    """Serve at a port of its own what ``target`` serves, the greeting ``delay`` seconds later."""
    host, _, port = target.rpartition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                delay = 0
                writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, there_writer, 0), copy(there_reader, writer, delay))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def test_servers_that_are_slow_to_greet_are_waited_for(zookeeper_single: ZooKeeperEnsemble) -> None:
    """Counterexample: each of three had two thirds of a second for ever; slower ones were never connected to."""
    async with AsyncExitStack() as stack:
        (target,) = zookeeper_single.endpoints
        slow = [await stack.enter_async_context(delayed(target, 0.9)) for _ in range(3)]
        arbiter = await open_arbiter(ArbiterOptions(tuple(slow), "slow", "a", 3.0, zookeeper_single.settings))
        stack.push_async_callback(arbiter.aclose)
        until = time.monotonic() + 15.0
        while time.monotonic() < until:
            with suppress(Unavailable):
                assert await arbiter.read("claims/web", timeout=3.0) is None
                return
        raise AssertionError("never connected")


async def test_server_that_was_killed_is_found_again(zookeeper_single: ZooKeeperEnsemble) -> None:
    async with opened(zookeeper_single) as arbiter:
        await write(arbiter, "claims/web", None)
        (member,) = zookeeper_single.members
        zookeeper_single.kill(member)
        try:
            with pytest.raises(Unavailable, match="no connection to zookeeper"):
                await arbiter.swap("claims/web", unique(), None, timeout=0.5)
        finally:
            zookeeper_single.restart(member)
        await first_success(arbiter, "claims/web", within=5.0)


async def test_register_made_anew_is_another_one_though_its_version_repeats(
    zookeeper_single: ZooKeeperEnsemble,
) -> None:
    domain = f"anew-{uuid4().hex[:8]}"
    async with opened(zookeeper_single, domain) as arbiter:
        first = await write(arbiter, "claims/web", None)
        with kazoo(zookeeper_single) as client:
            client.delete(f"/haagent/{domain}/claims/web", recursive=True)
        second = await write(arbiter, "claims/web", None)
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), first, timeout=TIMEOUT)
        forged = Record(first.value, second.version)  # even with the version of the new one
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), forged, timeout=TIMEOUT)
        assert await arbiter.read("claims/web", timeout=TIMEOUT) == second


async def test_register_edited_by_hand_is_another_record_and_can_be_swapped(
    zookeeper_single: ZooKeeperEnsemble,
) -> None:
    domain = f"hand-{uuid4().hex[:8]}"
    async with opened(zookeeper_single, domain) as arbiter:
        first = await write(arbiter, "claims/web", None)
        with kazoo(zookeeper_single) as client:
            client.set(f"/haagent/{domain}/claims/web", b"by hand")
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), first, timeout=TIMEOUT)
        edited = await arbiter.read("claims/web", timeout=TIMEOUT)
        assert edited is not None
        assert edited.value == b"by hand"
        await write(arbiter, "claims/web", await write(arbiter, "claims/web", edited))


async def test_node_announces_itself_while_it_is_there(zookeeper_single: ZooKeeperEnsemble) -> None:
    domain = f"here-{uuid4().hex[:8]}"
    with kazoo(zookeeper_single) as client:
        async with opened(zookeeper_single, domain) as arbiter:
            await write(arbiter, "claims/web", None)
            until = time.monotonic() + 3
            while not (stat := client.exists(f"/haagent/{domain}/nodes/a")):
                assert time.monotonic() < until
                await asyncio.sleep(0.02)
            assert stat.ephemeralOwner
        assert not client.exists(f"/haagent/{domain}/nodes/a")
        assert client.exists(f"/haagent/{domain}/claims/web")


async def test_other_user_is_misconfigured(zookeeper_single: ZooKeeperEnsemble) -> None:
    domain = f"acl-{uuid4().hex[:8]}"
    async with opened(zookeeper_single, domain, username="ha", password="secret") as arbiter:
        record = await write(arbiter, "claims/web", None)
        for words in ({}, {"username": "ha", "password": "wrong"}):
            async with opened(zookeeper_single, domain, **words) as stranger:
                for call in (
                    stranger.read("claims/web", timeout=TIMEOUT),
                    stranger.swap("claims/web", unique(), record, timeout=TIMEOUT),
                    stranger.swap("claims/new", unique(), None, timeout=TIMEOUT),
                ):
                    with pytest.raises(Misconfigured, match="check username and password"):
                        await call
        assert await arbiter.read("claims/web", timeout=TIMEOUT) == record


async def test_untrusted_server_is_misconfigured(zookeeper_secure: ZooKeeperEnsemble, tmp_path: Path) -> None:
    other = make_certificates(tmp_path, ["127.0.0.1"])
    async with opened(zookeeper_secure, ca=str(other.ca)) as arbiter:
        with pytest.raises(Misconfigured, match="CERTIFICATE_VERIFY_FAILED"):
            await arbiter.read("claims/web", timeout=2.0)


async def test_wiped_store_is_a_conflict(tmp_path: Path, zookeeper_directory: Path) -> None:
    with ZooKeeperEnsemble(zookeeper_directory / "wiped") as ensemble:
        async with opened(ensemble) as arbiter:
            old = await write(arbiter, "claims/web", None)
            ensemble.wipe()
            new = await first_success(arbiter, "claims/web", within=8.0)
            assert new.version.partition("-")[0] == old.version.partition("-")[0]
            with pytest.raises(Conflict):
                await arbiter.swap("claims/web", unique(), old, timeout=TIMEOUT)


async def test_watch_goes_on_after_a_lost_connection_when_asked_again(
    zookeeper_single: ZooKeeperEnsemble,
) -> None:
    async with opened(zookeeper_single) as arbiter:
        await watch_ends_with_the_connection_and_goes_on(
            arbiter, lambda: zookeeper_single.restart(zookeeper_single.members[0])
        )


async def test_no_thread_is_left(zookeeper_single: ZooKeeperEnsemble) -> None:
    before = set(threading.enumerate())
    async with opened(zookeeper_single) as arbiter:
        await write(arbiter, "claims/web", None)
        assert len(set(threading.enumerate()) - before) >= 3
    until = time.monotonic() + 5  # closing does not wait for a server's last word
    while left := [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]:
        assert time.monotonic() < until, left
        await asyncio.sleep(0.05)


async def test_a_takeover_of_250_claims_is_quick_and_every_error_is_ours(
    zookeeper_single: ZooKeeperEnsemble,
) -> None:
    async with opened(zookeeper_single) as arbiter:
        begun = time.monotonic()
        outcomes = await asyncio.gather(
            *(arbiter.swap(f"claims/{n}", unique(), None, timeout=TIMEOUT) for n in range(250)),
            return_exceptions=True,
        )
        assert not [o for o in outcomes if isinstance(o, BaseException)]
        print(f"250 claims created in {time.monotonic() - begun:.3f} s")
        calls = [asyncio.create_task(arbiter.read(f"claims/{n}", timeout=0.5)) for n in range(50)]
        await asyncio.sleep(0)
        (member,) = zookeeper_single.members
        zookeeper_single.kill(member)
        try:
            answers = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            zookeeper_single.restart(member)
        foreign = [o for o in answers if isinstance(o, BaseException) and not isinstance(o, ArbiterError)]
        assert not foreign, foreign
