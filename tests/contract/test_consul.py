"""Consul obeys the contract: a stand-in with its semantics everywhere, and the real server where there is one on PATH."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from arbiters.consul import open_arbiter
from arbiters.consul.keys import decode, encode, key, name_of
from haagent.arbiter import Arbiter, ArbiterOptions, Conflict, Erasable, Misconfigured, Record, Unavailable
from haagent.testing.contract import LATENESS, TIMEOUT, ArbiterContract, collect, hint, unique, write
from tests.contract.consul_double import ConsulDouble


class ConsulContract(ArbiterContract):
    endpoint: str

    async def open(self, node: str) -> Arbiter:
        return await open_arbiter(self.options(node, (self.endpoint,)))

    async def open_at(self, endpoint: str) -> Arbiter:
        return await open_arbiter(self.options("a", (endpoint,)))


class TestConsulStandIn(ConsulContract):
    @pytest.fixture(autouse=True)
    async def _double(self) -> AsyncIterator[None]:
        async with ConsulDouble().serving() as self.endpoint:
            yield


class TestRealConsul(ConsulContract):
    @pytest.fixture(autouse=True)
    def _consul(self, consul_endpoint: str) -> None:
        self.endpoint = consul_endpoint


@pytest.fixture(scope="module")
def consul_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server in development mode."""
    if shutil.which("consul") is None:
        pytest.skip("no consul on PATH; Debian 12 and the package registries have none")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    log = tmp_path_factory.mktemp("consul") / "log"
    others = ("-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-serf-lan-port=0")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["consul", "agent", "-dev", "-bind=127.0.0.1", f"-http-port={port}", *others],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for_leader(port, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def _wait_for_leader(port: int, log: Path) -> None:
    until = time.monotonic() + 20
    while "cluster leadership acquired" not in log.read_text(errors="replace"):
        assert time.monotonic() < until, log.read_text(errors="replace")[-2000:]
        time.sleep(0.1)
    socket.create_connection(("127.0.0.1", port), 2).close()


@asynccontextmanager
async def opened(*endpoints: str, **words: str) -> AsyncIterator[Arbiter]:
    arbiter = await open_arbiter(ArbiterOptions(endpoints, f"faults-{uuid4().hex[:8]}", "a", 0.5, words))
    try:
        yield arbiter
    finally:
        await arbiter.aclose()


async def test_late_answer_is_unknown_and_one_s_own_write_is_found() -> None:
    """The write was made and its answer lost; asking again is a success and no conflict."""
    double = ConsulDouble()
    async with double.serving() as endpoint, opened(endpoint) as arbiter:
        record = await write(arbiter, "claims/web", None)
        double.broken = "late"
        value = unique()
        with pytest.raises(Unavailable):
            await arbiter.swap("claims/web", value, record, timeout=1.0)
        double.broken = ""
        version = await arbiter.swap("claims/web", value, record, timeout=TIMEOUT)
        assert await arbiter.read("claims/web", timeout=TIMEOUT) == Record(value, version)


async def test_no_write_is_sent_twice() -> None:
    """aiohttp by itself repeats a PUT whose kept connection turns out to be closed."""
    double = ConsulDouble()
    async with double.serving() as endpoint, opened(endpoint) as arbiter:
        await write(arbiter, "claims/web", None)
        double.broken = "late"
        double.requests.clear()
        with pytest.raises(Unavailable):
            await write(arbiter, "claims/other", None)
        assert double.requests == [("PUT", "/v1/txn")]


async def test_hung_member_costs_a_hedge_and_makes_a_conflict_unknown() -> None:
    hung, well = ConsulDouble(), ConsulDouble()
    async with hung.serving() as first, well.serving() as second, opened(first, second) as arbiter:
        hung.broken = "hung"
        record = await write(arbiter, "claims/web", None)
        begun = time.monotonic()
        record = await write(arbiter, "claims/web", record)
        assert time.monotonic() - begun < 0.5
    async with hung.serving() as first, well.serving() as second, opened(first, second) as arbiter:
        await write(arbiter, "claims/taken", None)
        arbiter._rotation._preferred = 0  # type: ignore[attr-defined]
        with pytest.raises(Unavailable):
            await arbiter.swap("claims/taken", unique(), None, timeout=0.5)


async def test_no_leader_is_unavailable_and_silence_ends_in_time() -> None:
    double = ConsulDouble()
    async with double.serving() as endpoint, opened(endpoint) as arbiter:
        record = await write(arbiter, "claims/web", None)
        double.broken = "500"
        with pytest.raises(Unavailable, match="No cluster leader"):
            await write(arbiter, "claims/web", record)
        double.broken = "hung"
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await arbiter.swap("claims/web", unique(), record, timeout=0.2)
        assert time.monotonic() - begun < 0.2 + LATENESS
        double.broken = ""
        await write(arbiter, "claims/web", record)


async def test_index_that_repeats_after_a_restore_is_a_conflict() -> None:
    double = ConsulDouble()
    async with double.serving() as endpoint, opened(endpoint) as arbiter:
        first = await write(arbiter, "claims/web", None)
        saved = double.snapshot()
        lost = await write(arbiter, "claims/web", first)
        double.state = saved
        again = await write(arbiter, "claims/web", first)
        assert again.version == lost.version, "a good test repeats the index"
        with pytest.raises(Conflict, match="Consul was restored"):
            await write(arbiter, "claims/web", lost)
        assert await arbiter.read("claims/web", timeout=TIMEOUT) == again


async def test_changes_notice_what_goes_away_and_another_history() -> None:
    double = ConsulDouble()
    async with double.serving() as endpoint, opened(endpoint) as arbiter:
        seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
        record = await write(arbiter, "claims/web", None)
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, "claims/web", record)
        double.state = (2, {})
        await write(arbiter, "claims/other", None)
        async with asyncio.timeout(3.0):
            while await seen.get() != ("claims/web", None):
                pass
        watching.cancel()
        await asyncio.wait((watching,))


async def test_wrong_token_is_misconfigured_and_told_to_nobody() -> None:
    double = ConsulDouble(token="right")
    async with double.serving() as endpoint:
        async with opened(endpoint, password="right") as arbiter:
            record = await write(arbiter, "claims/web", None)
        async with opened(endpoint, password="s3cret") as arbiter:
            for call in (
                arbiter.read("claims/web", timeout=TIMEOUT),
                arbiter.swap("claims/new", unique(), None, timeout=TIMEOUT),
                arbiter.swap("claims/web", unique(), record, timeout=TIMEOUT),
            ):
                with pytest.raises(Misconfigured, match="check password_file") as caught:
                    await call
                assert "s3cret" not in str(caught.value)


async def test_something_else_on_the_port_is_misconfigured() -> None:
    double = ConsulDouble()
    double.broken = "404"
    async with double.serving() as endpoint, opened(endpoint) as arbiter:
        with pytest.raises(Misconfigured, match="is this a Consul"):
            await arbiter.read("claims/web", timeout=TIMEOUT)


@pytest.mark.parametrize(
    "name", ["claims/VI_1", "claims/www.example.com", "sessions/a,b:c@d é", "claims/../x"]
)
def test_names_become_keys_that_consul_takes_and_back(name: str) -> None:
    written = key("haagent/web/", name)
    assert written.count("/") == 3
    assert set(written) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,_-/")
    assert name_of("haagent/web/", written) == name
    assert decode(encode(name)) == name


async def test_a_domain_can_be_erased() -> None:
    double = ConsulDouble()
    async with double.serving() as endpoint, opened(endpoint) as arbiter, opened(endpoint) as other:
        await write(arbiter, "claims/web", None)
        kept = await write(other, "claims/web", None)
        assert isinstance(arbiter, Erasable)
        await arbiter.erase()
        assert await arbiter.read("claims/web", timeout=TIMEOUT) is None
        assert await other.read("claims/web", timeout=TIMEOUT) == kept
