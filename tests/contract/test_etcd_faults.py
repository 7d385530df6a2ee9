"""What an etcd arbiter does when members hang, die, restart, forget, or refuse."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.etcd import open_arbiter
from arbiters.etcd.endpoint import SHORTEST_LOGIN
from haagent.arbiter import (
    Arbiter,
    ArbiterError,
    ArbiterOptions,
    Conflict,
    Misconfigured,
    Record,
    Unavailable,
)
from haagent.lab.servers import EtcdCluster, EtcdMember, EtcdOptions, make_certificates
from haagent.testing.contract import LATENESS, TIMEOUT, collect, hint, unique, write
from tests.contract.faults import Hole, first_success

pytestmark = pytest.mark.etcd


@asynccontextmanager
async def opened(
    cluster: EtcdCluster, first: EtcdMember | None = None, **words: str
) -> AsyncIterator[Arbiter]:
    """Open an arbiter of a domain of its own on ``cluster``, ``first`` being its first endpoint."""
    endpoints = sorted(cluster.endpoints, key=lambda endpoint: first is None or endpoint != first.endpoint)
    settings = {**cluster.settings, **words}
    options = ArbiterOptions(tuple(endpoints), f"faults-{uuid4().hex[:8]}", "a", 0.5, settings)
    arbiter = await open_arbiter(options)
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


@contextmanager
def frozen(cluster: EtcdCluster, *members: EtcdMember) -> Iterator[None]:
    for member in members:
        cluster.freeze(member)
    try:
        yield
    finally:
        for member in members:
            cluster.thaw(member)
        cluster.wait_until_healthy()


def follower(cluster: EtcdCluster) -> EtcdMember:
    leader = cluster.leader()
    return next(member for member in cluster.members if member is not leader)


async def test_hung_member_costs_one_hedge_and_no_call(etcd_trio: EtcdCluster) -> None:
    hung = follower(etcd_trio)
    async with opened(etcd_trio, first=hung) as arbiter:
        record = await write(arbiter, "claims/web", None)
        with frozen(etcd_trio, hung):
            durations = []
            for _ in range(10):
                begun, value = time.monotonic(), unique()
                record = Record(value, await arbiter.swap("claims/web", value, record, timeout=1.0))
                durations.append(time.monotonic() - begun)
        assert max(durations) < 0.5, durations


async def test_conflict_next_to_a_hung_attempt_says_that_nothing_is_known(etcd_trio: EtcdCluster) -> None:
    """The hung member may have our write in its socket: only its answer would make the conflict certain."""
    hung = follower(etcd_trio)
    async with opened(etcd_trio, first=hung) as arbiter:
        first = await write(arbiter, "claims/web", None)
        await write(arbiter, "claims/web", first)
        with frozen(etcd_trio, hung), pytest.raises(Unavailable):
            await arbiter.swap("claims/web", unique(), first, timeout=0.5)
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), first, timeout=TIMEOUT)


async def test_changes_move_on_from_a_hung_member(etcd_trio: EtcdCluster) -> None:
    hung = follower(etcd_trio)
    async with opened(etcd_trio, first=hung) as arbiter:
        seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
        record = await write(arbiter, "claims/web", None)
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, "claims/web", record)
        with frozen(etcd_trio, hung):
            await hint(seen, "claims/web", await write(arbiter, "claims/web", record))
        watching.cancel()
        await asyncio.wait((watching,))


async def test_changes_tell_what_went_away_while_not_connected(etcd_trio: EtcdCluster) -> None:
    hung = follower(etcd_trio)
    async with opened(etcd_trio, first=hung) as arbiter:
        seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
        record = await write(arbiter, "claims/web", None)
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, "claims/web", record)
        alive = [member.endpoint for member in etcd_trio.members if member is not hung]
        with frozen(etcd_trio, hung):
            etcd_trio.etcdctl("del", "--prefix", "/haagent/faults-", endpoints=alive)
            async with asyncio.timeout(3.0):
                while await seen.get() != ("claims/web", None):
                    pass
        watching.cancel()
        await asyncio.wait((watching,))


async def test_killed_member_costs_no_call(etcd_trio: EtcdCluster) -> None:
    killed = follower(etcd_trio)
    async with opened(etcd_trio, first=killed) as arbiter:
        record = await write(arbiter, "claims/web", None)
        etcd_trio.kill(killed)
        try:
            for _ in range(10):
                record = await write(arbiter, "claims/web", record)
        finally:
            etcd_trio.restart(killed)


async def test_lost_leader_is_survived(etcd_trio: EtcdCluster) -> None:
    leader = etcd_trio.leader()
    async with opened(etcd_trio, first=leader) as arbiter:
        await write(arbiter, "claims/web", None)
        with frozen(etcd_trio, leader):
            await first_success(arbiter, "claims/web", within=8.0)


async def test_all_members_hung_is_unavailable_in_time(etcd_trio: EtcdCluster) -> None:
    async with opened(etcd_trio) as arbiter:
        record = await write(arbiter, "claims/web", None)
        with frozen(etcd_trio, *etcd_trio.members):
            for timeout in (0.05, 0.25, 0.25, 1.0):
                begun = time.monotonic()
                with pytest.raises(Unavailable):
                    await arbiter.swap("claims/web", unique(), record, timeout=timeout)
                assert time.monotonic() - begun < timeout + LATENESS
        await first_success(arbiter, "claims/web", within=8.0)


async def test_stopped_server_is_unavailable_at_once_and_found_again(etcd_single: EtcdCluster) -> None:
    async with opened(etcd_single) as arbiter:
        await write(arbiter, "claims/web", None)
        (member,) = etcd_single.members
        etcd_single.kill(member)
        try:
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                await write(arbiter, "claims/web", None)
            assert time.monotonic() - begun < 1.0
        finally:
            etcd_single.restart(member)
        await first_success(arbiter, "claims/web", within=3.0)


async def test_black_hole_costs_one_call(etcd_single: EtcdCluster) -> None:
    hole = Hole(etcd_single.endpoints[0])
    async with hole.serving() as endpoint:
        arbiter = await open_arbiter(ArbiterOptions((endpoint,), f"hole-{uuid4().hex[:8]}", "a", 0.5, {}))
        try:
            record = await write(arbiter, "claims/web", None)
            await asyncio.sleep(1.1)  # a connection younger than a second is not given up
            hole.swallow()
            with pytest.raises(Unavailable):
                await arbiter.swap("claims/web", unique(), record, timeout=0.25)
            await arbiter.swap("claims/web", unique(), record, timeout=0.25)
        finally:
            await arbiter.aclose()


@pytest.mark.parametrize("kind", ["etcd_users", "etcd_secure"])
async def test_refused_token_is_renewed_inside_the_call(kind: str, request: pytest.FixtureRequest) -> None:
    """Setting a password, even the same one, makes every token void, as a token's own expiry does."""
    cluster: EtcdCluster = request.getfixturevalue(kind)
    async with opened(cluster) as arbiter:
        record = await write(arbiter, "claims/web", None)
        for _ in range(2):
            cluster.etcdctl("user", "passwd", "ha", "--interactive=false", stdin=cluster.options.password)
            record = await write(arbiter, "claims/web", record)


async def test_restarted_server_with_users_is_found_again(etcd_secure: EtcdCluster) -> None:
    async with opened(etcd_secure) as arbiter:
        await write(arbiter, "claims/web", None)
        etcd_secure.restart(etcd_secure.members[0])
        await first_success(arbiter, "claims/web", within=3.0)


async def test_restored_server_with_users_is_found_again(etcd_directory: Path) -> None:
    """A token names a raft index that the restored server has not reached: it is silent about it, for minutes."""
    options = EtcdOptions(heartbeat=50, election=500, user="ha", password="secret")
    with EtcdCluster(etcd_directory / "restored", options=options) as cluster:
        cluster.save()
        async with opened(cluster) as busy:
            record = await write(busy, "claims/web", None)
            for _ in range(200):
                record = await write(busy, "claims/web", record)
        async with opened(cluster) as arbiter:
            await write(arbiter, "claims/web", None)
            await asyncio.to_thread(cluster.restore)
            await first_success(arbiter, "claims/web", within=SHORTEST_LOGIN + 3.0)


async def refusal(cluster: EtcdCluster, **words: str) -> str:
    """Return what the operator is told."""
    async with opened(cluster, **words) as arbiter:
        with pytest.raises(Misconfigured) as caught:
            await arbiter.read("claims/web", timeout=TIMEOUT)
    return str(caught.value)


async def test_wrong_password_is_misconfigured(etcd_secure: EtcdCluster) -> None:
    assert "check username and password" in await refusal(etcd_secure, password="wrong")


async def test_missing_permission_is_misconfigured(etcd_secure: EtcdCluster) -> None:
    etcd_secure.etcdctl("user", "add", "nobody:secret")
    said = await refusal(etcd_secure, username="nobody", password="secret")
    assert "permission denied" in said
    assert "grant this user" in said


async def test_untrusted_server_is_misconfigured(etcd_secure: EtcdCluster, tmp_path: Path) -> None:
    other = make_certificates(tmp_path, ["127.0.0.1"])
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(etcd_secure, ca=str(other.ca))


async def test_wrong_server_name_is_misconfigured_and_the_right_one_works(etcd_secure: EtcdCluster) -> None:
    assert "server_name" in await refusal(etcd_secure, server_name="other.lab")
    async with opened(etcd_secure, server_name="etcd.lab") as arbiter:
        await write(arbiter, "claims/web", None)


async def test_tls_towards_a_plain_server_says_so(etcd_single: EtcdCluster) -> None:
    """A server that dies during the handshake looks the same, so this may pass: Unavailable."""
    async with opened(etcd_single, tls="yes") as arbiter:
        with pytest.raises(Unavailable, match="does this endpoint speak TLS"):
            await arbiter.read("claims/web", timeout=TIMEOUT)


async def test_user_is_wanted_where_authentication_is_on(etcd_users: EtcdCluster) -> None:
    arbiter = await open_arbiter(ArbiterOptions(etcd_users.endpoints, "d", "a", 0.5, {}))
    try:
        with pytest.raises(Misconfigured, match="give username and password"):
            await arbiter.read("claims/web", timeout=TIMEOUT)
    finally:
        await arbiter.aclose()


async def test_user_is_harmless_where_authentication_is_off(etcd_single: EtcdCluster) -> None:
    async with opened(etcd_single, username="ha", password="secret") as arbiter:
        await write(arbiter, "claims/web", None)


async def test_repeated_revision_of_a_wiped_store_is_a_conflict(etcd_directory: Path) -> None:
    """Revisions begin again in a new store; only the value shows that it is another record."""
    with EtcdCluster(etcd_directory / "wiped", options=EtcdOptions(heartbeat=50, election=500)) as cluster:
        (member,) = cluster.members
        async with opened(cluster) as arbiter:
            old = await write(arbiter, "claims/web", None)
            cluster.kill(member)
            shutil.rmtree(cluster.directory / member.name)
            cluster.restart(member)
            new = await first_success(arbiter, "claims/web", within=3.0)
            assert new.version == old.version
            with pytest.raises(Conflict):
                await arbiter.swap("claims/web", unique(), old, timeout=TIMEOUT)


async def test_the_same_value_put_back_by_somebody_is_a_conflict(etcd_single: EtcdCluster) -> None:
    """An operator who restores a register by hand makes a new record of it."""
    options = ArbiterOptions(etcd_single.endpoints, f"faults-{uuid4().hex[:8]}", "a", 0.5, {})
    arbiter = await open_arbiter(options)
    try:
        old = await write(arbiter, "claims/web", None)
        etcd_single.etcdctl("put", f"/haagent/{options.domain}/claims/web", old.value.decode())
        with pytest.raises(Conflict):
            await write(arbiter, "claims/web", old)
    finally:
        await arbiter.aclose()


def lease_of(cluster: EtcdCluster, record: Record) -> str:
    """Return the id in hex of the lease that the key holding ``record`` is attached to; "0" for none."""
    held = json.loads(cluster.etcdctl("get", "--prefix", "/haagent/faults-", "-w", "json")).get("kvs", [])
    (lease,) = (pair.get("lease", 0) for pair in held if b64decode(pair["value"]) == record.value)
    return f"{lease:x}"


async def attached_session(arbiter: Arbiter, cluster: EtcdCluster) -> tuple[Record, str]:
    """Renew the session until it hangs on an etcd lease; return the record and the lease's id in hex."""
    record: Record | None = None
    for _ in range(100):
        record = await write(arbiter, "sessions/a", record)
        if (lease := lease_of(cluster, record)) != "0":
            return record, lease
        await asyncio.sleep(0.05)
    raise AssertionError("the session was never attached to a lease")


async def test_revoking_the_lease_removes_the_session_only_and_the_next_one_gets_another(
    etcd_single: EtcdCluster,
) -> None:
    async with opened(etcd_single) as arbiter:
        session, lease = await attached_session(arbiter, etcd_single)
        claim = await write(arbiter, "claims/web", None)
        etcd_single.etcdctl("lease", "revoke", lease)
        assert await arbiter.read("sessions/a", timeout=TIMEOUT) is None
        assert await arbiter.read("claims/web", timeout=TIMEOUT) == claim
        assert lease_of(etcd_single, claim) == "0"
        with pytest.raises(Conflict):
            await write(arbiter, "sessions/a", session)
        _, another = await attached_session(arbiter, etcd_single)
        assert another != lease


async def test_lost_lease_is_replaced_before_anybody_needs_it(etcd_single: EtcdCluster) -> None:
    async with opened(etcd_single) as arbiter:
        _, lease = await attached_session(arbiter, etcd_single)
        before = set(etcd_single.etcdctl("lease", "list").split()[3:])
        etcd_single.etcdctl("lease", "revoke", lease)
        until = time.monotonic() + 3.0
        while set(etcd_single.etcdctl("lease", "list").split()[3:]) <= before:
            assert time.monotonic() < until, "no other lease was granted"
            await asyncio.sleep(0.1)


async def test_session_of_a_live_node_stays_and_of_a_dead_one_is_collected(etcd_single: EtcdCluster) -> None:
    async with opened(etcd_single) as arbiter, opened(etcd_single) as bystander:
        session, lease = await attached_session(arbiter, etcd_single)
        await asyncio.sleep(3.0)  # longer than the ttl of 2 s
        assert await arbiter.read("sessions/a", timeout=TIMEOUT) == session
        await arbiter.aclose()
        assert lease in etcd_single.etcdctl("lease", "list"), "aclose released something"
        until = time.monotonic() + 5.0
        while lease in etcd_single.etcdctl("lease", "list"):
            assert time.monotonic() < until, "the session of a dead node stays"
            await asyncio.sleep(0.2)
        await write(bystander, "claims/web", None)


NOISE = """
import asyncio, logging, sys
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
logging.getLogger("asyncio").setLevel(logging.WARNING)
from arbiters.etcd import open_arbiter
from haagent.arbiter import ArbiterOptions, Unavailable

async def main(plain, secure, ca):
    arbiter = await open_arbiter(ArbiterOptions(("127.0.0.1:1", plain), "noise", "a", 0.5, {}))
    async def watch():
        async for change in arbiter.changes():
            pass
    watching = asyncio.create_task(watch())
    await arbiter.read("claims/web", timeout=2.0)
    late = asyncio.create_task(arbiter.read("claims/web", timeout=2.0))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.sleep(0.1)
    watching.cancel()
    await arbiter.aclose()
    naked = await open_arbiter(ArbiterOptions((secure,), "noise", "a", 0.5, {"ca": ca}))
    try:
        await naked.read("claims/web", timeout=2.0)
    except Unavailable as error:
        print(error)
    await naked.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_no_noise_and_a_clean_end(etcd_single: EtcdCluster, etcd_secure: EtcdCluster) -> None:
    """A program that meets a dead member and a server that refuses it writes nothing to standard error."""
    arguments = (etcd_single.endpoints[0], etcd_secure.endpoints[0], etcd_secure.settings["ca"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", NOISE, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")
    assert b"does this server want a client certificate" in out


async def test_every_error_is_one_of_ours(etcd_single: EtcdCluster) -> None:
    """Whatever the arbiter raises while a server goes away under load is an ArbiterError."""
    async with opened(etcd_single) as arbiter:
        (member,) = etcd_single.members
        calls = [asyncio.create_task(arbiter.read(f"claims/{n}", timeout=0.5)) for n in range(50)]
        await asyncio.sleep(0)
        etcd_single.kill(member)
        try:
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            etcd_single.restart(member)
        foreign = [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, ArbiterError)]
        assert not foreign, foreign
