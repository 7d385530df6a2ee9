"""Kubernetes' leases obey the contract: a stand-in with their semantics, and a real cluster where one is named."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from arbiters.kubernetes import open_arbiter
from arbiters.kubernetes import settings as kubernetes_settings
from arbiters.kubernetes.objects import lease_name
from haagent.arbiter import Arbiter, ArbiterOptions, Conflict, Erasable, Misconfigured, Record, Unavailable
from haagent.lab.servers import Certificates, make_certificates
from haagent.testing.contract import LATENESS, TIMEOUT, ArbiterContract, collect, hint, unique, write
from tests.contract.kubernetes_double import KubernetesDouble


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("kubernetes"), ["127.0.0.1"])


def tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    return context


class TestKubernetesStandIn(ArbiterContract):
    endpoint: str
    ca: str

    @pytest.fixture(autouse=True)
    async def _double(self, certificates: Certificates) -> AsyncIterator[None]:
        self.ca = str(certificates.ca)
        async with KubernetesDouble(tls(certificates)).serving() as self.endpoint:
            yield

    async def open(self, node: str) -> Arbiter:
        return await self.at(node, self.endpoint)

    async def open_at(self, endpoint: str) -> Arbiter:
        return await self.at("a", endpoint)

    async def at(self, node: str, endpoint: str) -> Arbiter:
        return await open_arbiter(self.options(node, (endpoint,), ca=self.ca, password="right"))


@pytest.mark.skipif(
    "HAAGENT_TEST_KUBECONFIG" not in os.environ, reason="HAAGENT_TEST_KUBECONFIG names no cluster"
)
class TestRealKubernetes(ArbiterContract):
    async def open(self, node: str) -> Arbiter:
        return await open_arbiter(self.options(node, (), kubeconfig=os.environ["HAAGENT_TEST_KUBECONFIG"]))


@asynccontextmanager
async def pair(
    certificates: Certificates, domain: str = "", **words: str
) -> AsyncIterator[tuple[KubernetesDouble, Arbiter]]:
    """Yield a stand-in and an arbiter of a domain of its own on it."""
    double = KubernetesDouble(tls(certificates))
    async with double.serving() as endpoint:
        settings = {"ca": str(certificates.ca), "password": "right", **words}
        arbiter = await open_arbiter(
            ArbiterOptions((endpoint,), domain or f"faults-{uuid4().hex[:8]}", "a", 0.5, settings)
        )
        try:
            yield double, arbiter
        finally:
            await arbiter.aclose()


async def test_late_answer_is_unknown_and_one_s_own_write_is_found(certificates: Certificates) -> None:
    async with pair(certificates) as (double, arbiter):
        for expected in (None, await write(arbiter, "claims/web", None)):
            name = "claims/web" if expected else "claims/new"
            value = unique()
            double.broken = "late"
            with pytest.raises(Unavailable):
                await arbiter.swap(name, value, expected, timeout=1.0)
            double.broken = ""
            version = await arbiter.swap(name, value, expected, timeout=TIMEOUT)
            assert await arbiter.read(name, timeout=TIMEOUT) == Record(value, version)


async def test_errors_of_the_server_are_unavailable_and_silence_ends_in_time(
    certificates: Certificates,
) -> None:
    async with pair(certificates) as (double, arbiter):
        record = await write(arbiter, "claims/web", None)
        for status in ("500", "503", "504", "429"):
            double.broken = status
            with pytest.raises(Unavailable):
                await write(arbiter, "claims/web", record)
        double.broken = "hung"
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await arbiter.swap("claims/web", unique(), record, timeout=0.2)
        assert time.monotonic() - begun < 0.2 + LATENESS
        double.broken = ""
        await write(arbiter, "claims/web", record)


async def test_version_that_repeats_after_a_restore_is_a_conflict(certificates: Certificates) -> None:
    async with pair(certificates) as (double, arbiter):
        first = await write(arbiter, "claims/web", None)
        saved = double.snapshot()
        lost = await write(arbiter, "claims/web", first)
        double.restore(saved)
        again = await write(arbiter, "claims/web", first)
        assert again.version == lost.version, "a good test repeats the version"
        with pytest.raises(Conflict):
            await write(arbiter, "claims/web", lost)


async def test_changes_tell_what_was_deleted(certificates: Certificates) -> None:
    async with pair(certificates, "gone") as (double, arbiter):
        seen: asyncio.Queue[tuple[str, Record | None]] = asyncio.Queue()
        record = await write(arbiter, "claims/web", None)
        watching = asyncio.create_task(collect(arbiter, seen))
        await hint(seen, "claims/web", record)
        await double.delete(lease_name("gone", "claims/web"))
        async with asyncio.timeout(3.0):
            assert await seen.get() == ("claims/web", None)
        watching.cancel()
        await asyncio.wait((watching,))


async def test_refusals_name_what_is_missing(certificates: Certificates) -> None:
    async with pair(certificates) as (double, arbiter):
        record = await write(arbiter, "claims/web", None)
        double.denied = {"patch"}
        with pytest.raises(Misconfigured, match="grant get, list, watch, create and patch"):
            await write(arbiter, "claims/web", record)
        double.tokens = {"s3cret"}
        with pytest.raises(Misconfigured, match="check the token") as caught:
            await arbiter.read("claims/web", timeout=TIMEOUT)
        assert "right" not in str(caught.value)
        double.broken = "404"
        with pytest.raises(Misconfigured, match="is this a Kubernetes API server"):
            await arbiter.read("claims/web", timeout=TIMEOUT)


async def test_untrusted_server_is_misconfigured(certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path, ["127.0.0.1"])
    async with pair(certificates, ca=str(other.ca)) as (_, arbiter):
        with pytest.raises(Misconfigured, match="check ca"):
            await arbiter.read("claims/web", timeout=TIMEOUT)


async def test_service_account_of_a_pod_whose_token_is_replaced(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_bytes(certificates.ca.read_bytes())
    (tmp_path / "namespace").write_text("site")
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(kubernetes_settings, "ACCOUNT", tmp_path)
    double = KubernetesDouble(tls(certificates), tokens=("first",))
    async with double.serving() as endpoint:
        host, _, port = endpoint.rpartition(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        arbiter = await open_arbiter(ArbiterOptions((), "web", "a", 0.5, {}))
        try:
            record = await write(arbiter, "claims/web", None)
            assert double.requests[-1][1].startswith("/apis/coordination.k8s.io/v1/namespaces/site/")
            double.tokens = {"second"}
            (tmp_path / "token").write_text("second\n")
            with pytest.raises(
                Misconfigured
            ):  # the one we know was refused; that is when the file is read again
                await write(arbiter, "claims/web", record)
            await write(arbiter, "claims/web", record)
        finally:
            await arbiter.aclose()


def kubeconfig(path: Path, endpoint: str, certificates: Certificates, user: dict[str, object]) -> str:
    cluster = {
        "server": f"https://{endpoint}/",
        "certificate-authority-data": b64encode(certificates.ca.read_bytes()).decode(),
    }
    content = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "ha"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


async def test_kubeconfig_with_token_and_client_certificate(
    certificates: Certificates, tmp_path: Path
) -> None:
    double = KubernetesDouble(tls(certificates))
    async with double.serving() as endpoint:
        user = {
            "token": "right",
            "client-certificate": str(certificates.client_cert),
            "client-key-data": b64encode(certificates.client_key.read_bytes()).decode(),
        }
        path = kubeconfig(tmp_path / "config", endpoint, certificates, user)
        arbiter = await open_arbiter(ArbiterOptions((), "web", "a", 0.5, {"kubeconfig": path}))
        try:
            await write(arbiter, "claims/web", None)
            assert "/namespaces/ha/" in double.requests[-1][1]
        finally:
            await arbiter.aclose()


async def test_refused_settings(certificates: Certificates, tmp_path: Path) -> None:
    runs = kubeconfig(tmp_path / "exec", "h:1", certificates, {"exec": {"command": "login"}})
    (tmp_path / "text").write_text("- no")
    for endpoints, words, said in (
        ((), {}, "no pod with a service account"),
        (("h:1",), {"kubeconfig": runs}, "accepted: one of them"),
        ((), {"kubeconfig": runs}, "a user with exec"),
        ((), {"kubeconfig": runs, "context": "there"}, "no context 'there'"),
        ((), {"kubeconfig": str(tmp_path / "text")}, "not a kubeconfig"),
        ((), {"kubeconfig": str(tmp_path / "none")}, "No such file"),
        (("h:1",), {"namespace": "Web"}, "namespace 'Web'"),
        (("h:1",), {"cert": "/c"}, "cert and key go together"),
    ):
        with pytest.raises(Misconfigured, match=said):
            await open_arbiter(ArbiterOptions(endpoints, "web", "a", 0.5, words))


def test_names_of_objects_are_distinct_and_accepted_by_kubernetes() -> None:
    names = [
        lease_name("web", name)
        for name in ("claims/VI_1", "claims/vi-1", "sessions/x", f"claims/{'n' * 200}")
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) < 64 and name.replace("-", "").isalnum() and name == name.lower() for name in names)


async def test_a_domain_can_be_erased(certificates: Certificates) -> None:
    async with pair(certificates) as (double, arbiter):
        await write(arbiter, "claims/web", None)
        await write(arbiter, "sessions/a", None)
        assert isinstance(arbiter, Erasable)
        await arbiter.erase()
        assert not double.leases
