"""What a PostgreSQL arbiter does when servers hang, die, forget, refuse, lag, or take over from each other."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.postgresql import open_arbiter
from arbiters.postgresql.link import Link
from arbiters.postgresql.registers import LINKS
from haagent.arbiter import (
    Arbiter,
    ArbiterError,
    ArbiterOptions,
    Conflict,
    Erasable,
    Misconfigured,
    Record,
    Unavailable,
)
from haagent.lab.members import Site
from haagent.lab.postgresql import PostgresqlServer, PostgresqlServers
from haagent.lab.servers import make_certificates
from haagent.testing.contract import LATENESS, TIMEOUT, collect, hint, unique, write
from tests.contract.faults import (
    Hole,
    first_success,
    namespace,
    no_defects,
    swapping,
    watch_ends_with_the_connection_and_goes_on,
)

pytestmark = pytest.mark.postgresql


@asynccontextmanager
async def opened(
    servers: PostgresqlServers, *endpoints: str, domain: str = "", **words: str
) -> AsyncIterator[Arbiter]:
    """Open an arbiter of a domain of its own."""
    settings = {**servers.settings, "password": servers.options.password, **words}
    arbiter = await open_arbiter(
        ArbiterOptions(
            endpoints or servers.endpoints, domain or f"faults-{uuid4().hex[:8]}", "a", 0.5, settings
        )
    )
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


@contextmanager
def frozen(servers: PostgresqlServers, *members: PostgresqlServer) -> Iterator[None]:
    for member in members:
        servers.freeze(member)
    try:
        yield
    finally:
        for member in members:
            servers.thaw(member)
        servers.wait_until_healthy(members)


async def refusal(servers: PostgresqlServers, *endpoints: str, **words: str) -> str:
    """Return what the operator is told."""
    async with opened(servers, *endpoints, **words) as arbiter:
        with pytest.raises(Misconfigured) as caught:
            await arbiter.read("claims/web", timeout=TIMEOUT)
    return str(caught.value)


# -- servers that hang, die, restart


def test_killed_servers_leave_no_shared_memory_on_the_host() -> None:
    def segments() -> set[str]:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        return {line.split()[1] for line in lines}

    def segment(server: PostgresqlServer) -> str:
        return (server.data / "postmaster.pid").read_text().splitlines()[6].split()[1]

    with PostgresqlServers() as servers:
        (server,) = servers.members
        first = segment(server)
        assert first in segments()
        assert servers.sql(server, "SHOW dynamic_shared_memory_type") == "mmap"  # in the data directory
        servers.kill(server)
        assert first not in segments()
        servers.restart(server)
        second = segment(server)
        assert second in segments()
    assert second not in segments()


async def test_hung_server_is_unavailable_in_time_and_found_again(
    postgresql_single: PostgresqlServers,
) -> None:
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        record = await write(arbiter, "claims/web", None)
        with frozen(postgresql_single, member):
            for timeout in (0.05, 0.25, 0.25, 1.0):
                begun = time.monotonic()
                with pytest.raises(Unavailable):
                    await arbiter.swap("claims/web", unique(), record, timeout=timeout)
                assert time.monotonic() - begun < timeout + LATENESS
        await first_success(arbiter, "claims/web", within=5.0)


async def test_killed_server_is_unavailable_and_found_again(postgresql_single: PostgresqlServers) -> None:
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        record = await write(arbiter, "claims/web", None)
        postgresql_single.kill(member)
        try:
            said = ""
            for _ in range(6):  # each link may still find out that it was cut off
                with pytest.raises(Unavailable) as caught:
                    await arbiter.swap("claims/web", unique(), record, timeout=0.5)
                said += str(caught.value)
            assert "no connection to postgresql" in said
        finally:
            postgresql_single.restart(member)
        again = await first_success(arbiter, "claims/web", within=5.0)
        assert again.version.rpartition(".")[0] == record.version.rpartition(".")[0]


async def test_what_was_acknowledged_survives_a_killed_server(postgresql_single: PostgresqlServers) -> None:
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        record: Record | None = None
        for _ in range(20):
            record = await write(arbiter, "claims/web", record)
        postgresql_single.restart(member)
        assert await first_read(arbiter, "claims/web", within=5.0) == record


async def test_restart_in_order_costs_no_more_than_its_time(postgresql_single: PostgresqlServers) -> None:
    """The server ends our sessions itself; their last words are not taken for an answer."""
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        await write(arbiter, "claims/web", None)
        assert member.process is not None
        member.process.send_signal(2)  # a "fast" shutdown
        member.process.wait(timeout=10)
        with pytest.raises(Unavailable):
            await write(arbiter, "claims/web", None)
        postgresql_single.restart(member)
        await first_success(arbiter, "claims/web", within=5.0)


async def test_every_error_is_one_of_ours(postgresql_single: PostgresqlServers) -> None:
    async with opened(postgresql_single) as arbiter:
        await write(arbiter, "claims/web", None)
        calls = [asyncio.create_task(arbiter.read(f"claims/{n}", timeout=0.5)) for n in range(50)]
        await asyncio.sleep(0)
        (member,) = postgresql_single.members
        postgresql_single.kill(member)
        try:
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            postgresql_single.restart(member)
        foreign = [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, ArbiterError)]
        assert not foreign, foreign


async def test_a_takeover_of_250_claims_is_quick(postgresql_single: PostgresqlServers) -> None:
    async with opened(postgresql_single) as arbiter:
        begun = time.monotonic()
        await asyncio.gather(
            *(arbiter.swap(f"claims/{n}", unique(), None, timeout=TIMEOUT) for n in range(250))
        )
        print(f"250 claims created in {time.monotonic() - begun:.3f} s")


# -- hints


async def test_watch_goes_on_after_a_lost_connection_when_asked_again(
    postgresql_single: PostgresqlServers,
) -> None:
    async with opened(postgresql_single) as arbiter:
        await watch_ends_with_the_connection_and_goes_on(
            arbiter, lambda: postgresql_single.restart(postgresql_single.members[0])
        )


async def test_watch_on_a_hung_server_ends(postgresql_single: PostgresqlServers) -> None:
    async with opened(postgresql_single) as arbiter:
        record = await write(arbiter, "claims/web", None)
        seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, "claims/web", record)
        with no_defects(), frozen(postgresql_single, *postgresql_single.members):
            await asyncio.wait((watching,), timeout=3.0)
            assert watching.done()


# -- data that went back


async def test_wiped_server_is_a_conflict(postgresql_single: PostgresqlServers) -> None:
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        postgresql_single.sql(member, "DROP TABLE IF EXISTS haagent.registers")
        old = await first_success(arbiter, "claims/web", within=5.0)
        postgresql_single.wipe(member)
        new = await first_success(arbiter, "claims/web", within=8.0)
        assert new.version.rpartition(".")[2] == old.version.rpartition(".")[2] == "1", "numbers begin again"
        for expected in (old, Record(old.value, new.version)):
            with pytest.raises(Conflict):
                await arbiter.swap("claims/web", unique(), expected, timeout=TIMEOUT)


async def test_restored_server_is_told_by_the_value(postgresql_single: PostgresqlServers) -> None:
    """An older copy of the data, started as after a crash, has the same history and repeats its numbers."""
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        first = await write(arbiter, "claims/web", None)
        copy = postgresql_single.save(member)
        lost = await first_success(arbiter, "claims/web", within=5.0)
        postgresql_single.restore(member, copy)
        again = await first_success(arbiter, "claims/web", within=5.0)
        assert again.version == lost.version, "a good test repeats the version"
        for expected in (first, lost):
            with pytest.raises(Conflict):
                await arbiter.swap("claims/web", unique(), expected, timeout=TIMEOUT)


async def test_row_edited_or_made_anew_by_hand_is_another_record(
    postgresql_single: PostgresqlServers,
) -> None:
    (member,) = postgresql_single.members
    domain = f"hand-{uuid4().hex[:8]}"
    async with opened(postgresql_single, domain=domain) as arbiter:
        first = await write(arbiter, "claims/web", None)
        postgresql_single.sql(
            member, f"UPDATE haagent.registers SET value = 'by hand' WHERE domain = '{domain}'"
        )
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), first, timeout=TIMEOUT)
        postgresql_single.sql(member, f"DELETE FROM haagent.registers WHERE domain = '{domain}'")
        postgresql_single.sql(
            member,
            "INSERT INTO haagent.registers (domain, name, value) "
            f"VALUES ('{domain}', 'claims/web', '{first.value.decode()}')",
        )
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), first, timeout=TIMEOUT)
        await write(arbiter, "claims/web", await arbiter.read("claims/web", timeout=TIMEOUT))


async def test_a_domain_can_be_erased(postgresql_single: PostgresqlServers) -> None:
    async with opened(postgresql_single) as arbiter, opened(postgresql_single) as other:
        await write(arbiter, "claims/web", None)
        kept = await write(other, "claims/web", None)
        assert isinstance(arbiter, Erasable)
        await arbiter.erase()
        assert await arbiter.read("claims/web", timeout=TIMEOUT) is None
        assert await other.read("claims/web", timeout=TIMEOUT) == kept


async def test_dropped_table_is_made_again(postgresql_single: PostgresqlServers) -> None:
    (member,) = postgresql_single.members
    async with opened(postgresql_single) as arbiter:
        record = await write(arbiter, "claims/web", None)
        postgresql_single.sql(member, "DROP TABLE haagent.registers")
        await first_success(arbiter, "claims/web", within=5.0)
        with pytest.raises(Conflict):
            await arbiter.swap("claims/web", unique(), record, timeout=TIMEOUT)


# -- standbys


async def test_write_that_waits_for_a_standby_is_unknown_and_leaves_no_crowd_of_sessions(
    postgresql_pair: PostgresqlServers,
) -> None:
    primary, standby = postgresql_pair.members
    async with opened(postgresql_pair) as arbiter:
        record = await write(arbiter, "claims/web", None)
        with frozen(postgresql_pair, standby):
            for _ in range(12):
                with pytest.raises(Unavailable):
                    await arbiter.swap("claims/web", unique(), record, timeout=0.25)
            await asyncio.sleep(1.5)  # lock_timeout
            ours = "FROM pg_stat_activity WHERE application_name LIKE 'haagent/%'"
            assert int(postgresql_pair.sql(primary, f"SELECT count(*) {ours}")) <= 4
        await first_success(arbiter, "claims/web", within=5.0)


async def test_commit_that_stopped_waiting_for_its_standby_is_no_success(
    postgresql_pair: PostgresqlServers,
) -> None:
    """PostgreSQL calls it one, with a warning; a failover would lose it."""
    primary, standby = postgresql_pair.members
    async with opened(postgresql_pair) as arbiter:
        record = await write(arbiter, "claims/web", None)
        with frozen(postgresql_pair, standby):
            call = asyncio.create_task(arbiter.swap("claims/web", unique(), record, timeout=TIMEOUT))
            waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            until = time.monotonic() + 3
            while postgresql_pair.sql(primary, f"SELECT count(*) {waiting}") != "1":
                assert time.monotonic() < until
                await asyncio.sleep(0.02)
            postgresql_pair.sql(primary, f"SELECT pg_cancel_backend(pid) {waiting}")
            with pytest.raises(Unavailable, match="canceling wait for synchronous replication"):
                await call


async def test_failover_is_another_history(postgresql: None) -> None:
    """Behind one address, a standby takes over: everything is there, and nothing seen before can be swapped on."""
    with PostgresqlServers([Site()] * 2) as servers:
        primary, standby = servers.members
        moving = Hole(primary.endpoint)
        async with moving.serving() as address, opened(servers, address) as arbiter:
            before = await write(arbiter, "claims/web", None)
            servers.kill(primary)
            servers.promote(standby)
            moving.lead_to(standby.endpoint)
            after = await first_read(arbiter, "claims/web", within=8.0)
            assert after is not None
            assert after.value == before.value
            assert after.version != before.version
            with pytest.raises(Conflict):
                await arbiter.swap("claims/web", unique(), before, timeout=TIMEOUT)
            await write(arbiter, "claims/web", after)
        assert "has no synchronous standby" in await refusal(servers)


async def first_read(arbiter: Arbiter, name: str, within: float) -> Record | None:
    """Read again and again until there is an answer; every failure on the way must be Unavailable."""
    until = time.monotonic() + within
    while True:
        with suppress(Unavailable):
            return await arbiter.read(name, timeout=0.5)
        assert time.monotonic() < until, f"no answer within {within} s"


async def test_standby_is_no_arbiter(postgresql_pair: PostgresqlServers) -> None:
    _, standby = postgresql_pair.members
    async with opened(postgresql_pair, standby.endpoint) as arbiter:
        with pytest.raises(Unavailable, match="is a standby"):
            await arbiter.read("claims/web", timeout=0.5)


# -- servers that are refused, and that refuse


@contextmanager
def altered(servers: PostgresqlServers, *settings: str) -> Iterator[None]:
    """Run the only server with other settings."""
    (member,) = servers.members
    for setting in settings:
        servers.sql(member, f"ALTER SYSTEM SET {setting}", "postgres")
    servers.restart(member)
    try:
        yield
    finally:
        for setting in settings:
            servers.sql(member, f"ALTER SYSTEM RESET {setting.partition(' ')[0]}", "postgres")
        servers.restart(member)


async def test_server_that_would_forget_is_refused(postgresql_single: PostgresqlServers) -> None:
    with altered(postgresql_single, "fsync = off"):
        assert "fsync = off" in await refusal(postgresql_single)
    (member,) = postgresql_single.members
    postgresql_single.sql(member, "CREATE SCHEMA volatile; GRANT USAGE ON SCHEMA volatile TO haagent")
    postgresql_single.sql(member, "CREATE UNLOGGED TABLE volatile.registers (x int)")
    assert "is unlogged" in await refusal(postgresql_single, schema="volatile")


async def test_weak_commits_are_strengthened(postgresql_single: PostgresqlServers) -> None:
    (member,) = postgresql_single.members
    with altered(postgresql_single, "synchronous_commit = off", "client_min_messages = error"):
        async with opened(postgresql_single) as arbiter:
            await write(arbiter, "claims/web", None)
            links = arbiter._links  # type: ignore[attr-defined]
            connection = next(link._server.connection for link in links if link._server is not None)
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
            assert await connection.fetchval("SHOW client_min_messages") == "warning"
    assert postgresql_single.sql(member, "SHOW synchronous_commit") == "on"


async def test_read_only_database_is_unavailable(postgresql_single: PostgresqlServers) -> None:
    """Whatever the role's defaults are, ours count; a server that is read-only for everybody is another matter."""
    (member,) = postgresql_single.members
    postgresql_single.sql(member, "ALTER ROLE haagent SET default_transaction_read_only = on")
    try:
        async with opened(postgresql_single) as arbiter:
            await write(arbiter, "claims/web", None)
    finally:
        postgresql_single.sql(member, "ALTER ROLE haagent RESET default_transaction_read_only")


async def test_wrong_words_are_misconfigured_and_the_password_is_told_to_nobody(
    postgresql_single: PostgresqlServers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = await refusal(postgresql_single, password="s3cret")
    assert "check username and password" in said
    said += await refusal(postgresql_single, username="nobody-here", password="s3cret")
    said += (text := await refusal(postgresql_single, database="nothing", password="lab"))
    assert "check database" in text
    assert "s3cret" not in said + caplog.text


async def test_password_from_a_file_of_postgresql(
    postgresql_single: PostgresqlServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pgpass = tmp_path / "pgpass"
    pgpass.write_text("*:*:*:haagent:lab\n")
    pgpass.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(pgpass))
    options = ArbiterOptions(
        postgresql_single.endpoints, f"pgpass-{uuid4().hex[:8]}", "a", 0.5, postgresql_single.settings
    )
    arbiter = await open_arbiter(options)
    try:
        await write(arbiter, "claims/web", None)
    finally:
        await arbiter.aclose()


LEAST = """CREATE ROLE least LOGIN PASSWORD 'lab';
CREATE SCHEMA small;
CREATE TABLE small.registers (
    domain text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (domain, name)) WITH (fillfactor = 50);
GRANT USAGE ON SCHEMA small TO least;"""


async def test_least_privileges_suffice_and_missing_ones_are_named(
    postgresql_single: PostgresqlServers,
) -> None:
    (member,) = postgresql_single.members
    postgresql_single.sql(member, LEAST)
    words = {"username": "least", "schema": "small"}
    assert "grant what the page" in await refusal(postgresql_single, **words)
    assert "grant what the page" in await refusal(postgresql_single, **{**words, "schema": "other"})
    postgresql_single.sql(member, "GRANT SELECT, INSERT, UPDATE ON small.registers TO least")
    async with opened(postgresql_single, **words) as arbiter:
        await write(arbiter, "claims/web", await write(arbiter, "claims/web", None))


async def test_tls_is_checked(
    postgresql_secure: PostgresqlServers, postgresql_single: PostgresqlServers, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path, ["127.0.0.1"])
    async with opened(postgresql_secure, ca=str(other.ca)) as arbiter:
        with pytest.raises(Unavailable, match="check ca"):
            await arbiter.read("claims/web", timeout=1.0)
    async with opened(postgresql_single, ca=str(other.ca)) as arbiter:
        with pytest.raises(Unavailable, match="speaks no TLS"):
            await arbiter.read("claims/web", timeout=1.0)
    async with opened(postgresql_secure, tls="no") as arbiter:
        assert await arbiter.read("claims/web", timeout=TIMEOUT) is None
    options = postgresql_secure.options
    naked = ArbiterOptions(
        postgresql_secure.endpoints,
        "naked",
        "a",
        0.5,
        {"username": options.user, "password": options.password},
    )
    arbiter = await open_arbiter(naked)
    try:
        with pytest.raises(Misconfigured, match="check username, password, tls"):
            await arbiter.read("claims/web", timeout=TIMEOUT)
    finally:
        await arbiter.aclose()


# -- the network in between


async def test_black_hole_costs_one_call(postgresql_single: PostgresqlServers) -> None:
    """The present connections of both links swallow everything from now on; new ones work."""
    hole = Hole(postgresql_single.endpoints[0])
    async with hole.serving() as endpoint, opened(postgresql_single, endpoint) as arbiter:
        record = await write(arbiter, "claims/web", None)
        hole.swallow()
        with pytest.raises(Unavailable):
            await arbiter.swap("claims/web", unique(), record, timeout=0.25)
        for _ in range(3):
            value = unique()
            record = Record(value, await arbiter.swap("claims/web", value, record, timeout=TIMEOUT))


async def test_cancelled_call_keeps_its_connection(postgresql_single: PostgresqlServers) -> None:
    """A quorum cancels its slowest member's calls all day."""
    async with opened(postgresql_single) as arbiter:
        record = await write(arbiter, "claims/web", None)
        links = arbiter._links  # type: ignore[attr-defined]
        until = time.monotonic() + 5
        while not all(link.free for link in links):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        connections = {link._server.connection for link in links}
        for _ in range(20):
            call = asyncio.create_task(arbiter.read("claims/web", timeout=TIMEOUT))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))
        await arbiter.swap("claims/web", unique(), record, timeout=TIMEOUT)
        assert {link._server.connection for link in links} == connections


async def test_call_that_is_cancelled_while_its_connection_ends_costs_no_link(
    postgresql_single: PostgresqlServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = Link._drop
    async with opened(postgresql_single) as arbiter:
        await write(arbiter, "claims/web", None)
        for _ in range(LINKS):
            with frozen(postgresql_single, *postgresql_single.members), monkeypatch.context() as patch:
                call = asyncio.create_task(arbiter.read("claims/web", timeout=0.2))
                patch.setattr(Link, "_drop", lambda link, call=call: (call.cancel(), drop(link)))
                await asyncio.wait((call,))
                assert call.cancelled()
            await first_success(arbiter, "claims/web", within=5.0)


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="no pgbouncer on PATH; Debian's package has it")
async def test_connection_pooler_is_refused(postgresql_single: PostgresqlServers) -> None:
    (member,) = postgresql_single.members
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="haagent-pgbouncer-"))
    (directory / "users").write_text('"haagent" "lab"\n')
    (directory / "ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={member.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = plain\nauth_file = {directory}/users\npool_mode = session\n"
        "unix_socket_dir =\nignore_startup_parameters = search_path, client_min_messages, idle_session_timeout, "
        "default_transaction_isolation, default_transaction_read_only, statement_timeout, lock_timeout, "
        "tcp_keepalives_idle, tcp_keepalives_interval, tcp_keepalives_count\n"
    )
    shutil.chown(directory, "nobody")
    drop = ("setpriv", "--reuid=nobody", "--clear-groups", "--") if os.geteuid() == 0 else ()
    process = subprocess.Popen([*drop, "pgbouncer", "-q", str(directory / "ini")])
    try:
        await asyncio.sleep(1.0)
        assert "connection pooler" in await refusal(postgresql_single, f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(directory)


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_swallowed_packets(postgresql: None) -> None:
    """No packet of the server's port passes for a while: calls end in time, nothing is believed, it comes back."""
    with namespace("hbk-pg") as inside, PostgresqlServers([Site("127.0.0.1", inside.name)]) as servers:
        words = {
            "endpoints": servers.endpoints,
            "domain": "hole",
            "node": "a",
            "lease": 0.5,
            "settings": {**servers.settings, "password": servers.options.password},
        }
        client = swapping(inside, "arbiters.postgresql", 7.0, words)
        time.sleep(2.0)
        inside.swallow(servers.members[0].port)
        swallowed = time.monotonic()
        time.sleep(1.5)
        healed = time.monotonic()
        inside.heal()
        output, _ = client.communicate(timeout=30)
    outcomes = [json.loads(line) for line in output.splitlines()]
    # a conflict: a write of ours that nothing was known of did happen, and we went on with what we had read before
    assert {outcome for _, outcome, _ in outcomes} - {"conflict"} == {"ok", "unavailable"}
    assert max(duration for _, _, duration in outcomes) < 2 * (0.25 + LATENESS)
    assert not [at for at, outcome, _ in outcomes if swallowed < at < healed and outcome == "ok"]
    assert outcomes[-1][1] == "ok", "it never came back"
    print(
        f"back {min(a for a, o, _ in outcomes if o == 'ok' and a > healed) - healed:.2f} s after the network"
    )
