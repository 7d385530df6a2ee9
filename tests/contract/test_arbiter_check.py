"""``haagent arbiter check`` against real arbiters, whole and broken: what it says, what it leaves, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiters.shared_file.making import make_all, plan
from haagent.agent.proposal import propose
from haagent.arbiter import ArbiterOptions, Erasable, Record
from haagent.conformance.demands import write
from haagent.conformance.probe import Verdict, probe
from haagent.conformance.scratch import Target
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.lab.members import Site
from haagent.lab.servers import EtcdCluster
from haagent.lab.witness import Witnesses
from haagent.lab.zookeeper import ZooKeeperEnsemble
from haagent.testing.memory import Faults, MemoryArbiter, MemoryStore
from haagent.witness.store import show


@pytest.fixture(scope="module")
def witnesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnesses]:
    with Witnesses(tmp_path_factory.mktemp("check") / "w", [Site()] * 3) as servers:
        yield servers


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "haagent", "arbiter", "check", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def url(servers: Witnesses, **words: str) -> str:
    query = "&".join(f"{name}={text}" for name, text in (servers.settings | words).items())
    return f"witness://{servers.endpoints[0]}/web?{query}"


def test_a_whole_arbiter_passes_and_nothing_is_left(witnesses: Witnesses) -> None:
    done = check(url(witnesses), "--seconds", "10", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["findings"]
    assert {one["verdict"] for one in report["findings"]} == {"ok"}
    assert report["operations"] > 50
    assert report["swaps"]["p50"] <= report["swaps"]["p99"] <= report["swaps"]["longest"]
    assert {one["fault"] for one in report["recoveries"]} == {"reset", "black hole"}
    for timing in report["proposal"].values():
        assert 3 * timing["renew"] <= timing["lease"]
    assert report["left"] == []
    assert show(witnesses.members[0].file) == []


def test_nobody_there_is_69_and_said_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32)
    done = check(f"witness://127.0.0.1:1/web?key_file={tmp_path}/key", "--seconds", "2")
    assert done.returncode == 69
    assert done.stdout.count("FAILED") == 1
    assert "no proposal" in done.stdout


def test_wrong_key_and_nonsense_are_78(witnesses: Witnesses, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32)
    done = check(url(witnesses, key_file=f"{tmp_path}/key"), "--seconds", "2")
    assert done.returncode == 78
    assert "another key than key_file" in done.stderr
    assert check("none").returncode == 78
    assert "no such arbiter" in check("mystore://h:1/d").stderr


def test_a_quorum_of_a_configuration_is_tried_and_cleaned(witnesses: Witnesses, tmp_path: Path) -> None:
    voting = tmp_path / "voting"
    make_all([str(voting)], plan([str(voting)], "web", ["n1"], spare=0, registers=4))
    before = voting.read_bytes()
    key = witnesses.settings["key_file"]
    members = "".join(
        f"    witness {{ endpoints {one}\n key_file {key} }}\n" for one in witnesses.endpoints[1:]
    )
    file = tmp_path / "keepalived.conf"
    file.write_text(f"arbiter quorum {{\n    domain web\n{members}    file {{ endpoints {voting} }}\n}}\n")
    done = check("-f", str(file), "--seconds", "10", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["findings"]
    assert report["left"] == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert voting.read_bytes() == before
    for member in witnesses.members[1:]:
        assert show(member.file) == []


def test_voting_files_are_tried_next_to_the_configured_ones(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"voting-{n}") for n in range(3)]
    make_all(paths, plan(paths, "web", ["n1", "n2"], spare=0, registers=4))
    done = check(f"file://{','.join(paths)}?domain=web", "--seconds", "8", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["findings"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"voting-{n}" for n in range(3)]


class Careless(MemoryStore):
    """Compares nothing."""

    def swap(self, name: str, value: bytes, expected: Record | None) -> str:
        return super().swap(name, value, self.records.get(name))


async def test_an_arbiter_that_does_not_compare_is_found_out() -> None:
    stores: dict[str, Careless] = {}

    async def open_arbiter(options: ArbiterOptions) -> MemoryArbiter:
        return MemoryArbiter(stores.setdefault(options.domain, Careless()), Faults(delay=0.001))

    options = ArbiterOptions((), "web", "a", 1.0, {})
    report = await probe(Target("careless", options, {"careless": open_arbiter}), 5.0)
    failed = {one.what for one in report.findings if one.verdict is Verdict.FAILED}
    assert "creating what is there is a conflict" in failed
    assert "of concurrent swaps on one record exactly one succeeds" in failed
    assert "the history of concurrent swaps is linearizable" in failed
    assert report.left, "it cannot erase, and that is said"


def test_proposals_keep_the_agents_own_rules() -> None:
    quick = propose(MILLISECOND, 3 * MILLISECOND, 1, failsafe=False)
    assert (quick.lease, quick.renew, quick.guard) == (SECOND, SECOND // 4, 20 * MILLISECOND)
    assert propose(MILLISECOND, 3 * MILLISECOND, 1, failsafe=True).lease == SECOND // 5
    slow = propose(100 * MILLISECOND, 700 * MILLISECOND, 1, failsafe=True)
    assert slow.renew == 700 * MILLISECOND
    assert slow.lease == 4 * slow.renew
    assert propose(MILLISECOND, MILLISECOND, 5, failsafe=True).lease >= 7 * 5 * MILLISECOND


@pytest.mark.etcd
async def test_etcd_is_clean_after_erasing(etcd_single: EtcdCluster) -> None:
    await erases("etcd", etcd_single.endpoints)
    assert etcd_single.etcdctl("get", "--prefix", "/haagent/erased/", "--keys-only").strip() == ""
    assert "claims/web" in etcd_single.etcdctl("get", "--prefix", "/haagent/kept/", "--keys-only")


@pytest.mark.zookeeper
async def test_zookeeper_is_clean_after_erasing(zookeeper_single: ZooKeeperEnsemble) -> None:
    await erases("zookeeper", zookeeper_single.endpoints)


async def erases(kind: str, endpoints: tuple[str, ...]) -> None:
    """Write into two domains and erase one of them."""
    opening = load_plugin(find_plugin(kind))
    kept = await opening(ArbiterOptions(endpoints, "kept", "a", 1.0, {}))
    erased = await opening(ArbiterOptions(endpoints, "erased", "a", 1.0, {}))
    try:
        record = await kept.read("claims/web", timeout=5.0) or await write(kept, "claims/web", None)
        for number in range(3):
            await write(erased, f"claims/{number}", None)
        await write(erased, "sessions/a", None)
        assert isinstance(erased, Erasable)
        await erased.erase()
        assert await erased.read("claims/0", timeout=5.0) is None
        assert await kept.read("claims/web", timeout=5.0) == record
    finally:
        await kept.aclose()
        await erased.aclose()
