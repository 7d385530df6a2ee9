"""compose/nemesis.py: its pure half on hand-made lines, and a bounded sample against real containers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from haagent.config.load import load
from tests.containers.campaign import deployment
from tests.containers.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"
PROJECT = "haacsample"
A, B = "02:42:c0:00:02:0b", "02:42:c0:00:02:0c"


def import_file(name: str) -> ModuleType:
    """Import one file of compose/, which is no package."""
    found = importlib.util.spec_from_file_location(f"compose_{name}", COMPOSE / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


campaign = import_file("campaign")


def checker(*lines):
    made = campaign.Checker({A: "node1", B: "node2"})
    for line in lines:
        made.take(line)
    made.finish(lines[-1]["at"])
    return made


def question(number, arp, echo=(), at=None):
    return {"round": number, "at": number * 0.05 if at is None else at, "arp": list(arp), "echo": list(echo)}


def test_a_seed_names_one_campaign():
    assert campaign.generate(5, 30) == campaign.generate(5, 30)
    assert campaign.generate(5, 30)[:10] == campaign.generate(5, 10)


@pytest.mark.parametrize("arbiter", ["etcd", "zookeeper", "files", "quorum"])
def test_a_long_campaign_has_every_fault_of_its_arbiter(arbiter):
    shots = campaign.generate(1, 2000, arbiter)
    assert {(s.fault, s.role) for s in shots} == set(campaign.WEIGHTS[arbiter])


@pytest.mark.parametrize("profiles", ["etcd", "zookeeper", "files", "quorum,three"])
def test_every_profile_has_its_files(profiles, tmp_path):
    """start-agent.sh makes names of files from COMPOSE_PROFILES."""
    (tmp_path / "peers.key").write_text("0" * 64)
    arbiter, _, three = profiles.partition(",")
    files = []
    for name in (f"arbiter-{arbiter}.conf", f"peers-{three or 'two'}.conf", "keepalived.conf"):
        files.append(tmp_path / name)
        text = (COMPOSE / "config" / name).read_text()
        files[-1].write_text(text.replace("/etc/haagent/peers.key", f'"{tmp_path}/peers.key"'))
    configuration = load(files, config_id="node1")
    assert configuration.arbiter.domain == "compose"
    assert len(configuration.peers.nodes) == (3 if three else 2)


def test_one_after_the_other_is_no_dual_ownership():
    made = checker(question(1, [A], [A]), question(2, [], []), question(3, [B], [B]), question(4, [B]))
    assert (made.dual, made.rounds, made.owners) == (0, 4, frozenset({"node2"}))


@pytest.mark.parametrize(("arp", "echo"), [([A, B], []), ([A], [A, B]), ([A, "02:00:00:00:00:99"], [])])
def test_two_answers_to_one_question_are_dual_ownership(arp, echo):
    made = checker(question(1, [A]), question(2, arp, echo), question(3, [A]))
    assert made.dual == pytest.approx(0.05)
    assert made.dual_at == [pytest.approx(0.1)]


def test_a_sleeping_witness_does_not_stretch_what_it_saw():
    assert checker(question(1, [A, B], at=1.0), question(2, [A], at=9.0)).dual == pytest.approx(0.1)


def test_an_outage_is_from_the_first_lost_request_to_the_next_good_one():
    answers = [None, "node1", "node1", None, None, "node2", None]
    made = checker(
        *({"http": who, "at": float(at), "took": 0.01} for at, who in enumerate(answers)),
        question(9, [], at=8.0),
    )
    made.finish(8.0)
    assert made.outages == [(3.0, 5.0), (6.0, 8.0)]


def test_a_silence_is_from_the_first_round_without_an_answer_to_the_next_with_one():
    rounds = [[], [], [A], [], [], [B], [B], [], []]
    made = checker(*(question(number, arp, at=float(number)) for number, arp in enumerate(rounds)))
    assert made.silences == [(3.0, 5.0), (7.0, 8.0)], (
        "not before the first answer; the last ends with the watch"
    )
    assert checker(question(1, [A]), question(2, [], [A]), question(3, [A])).silences == []


@pytest.fixture
def project():
    """Bring the deployment up for one test, under a name of its own."""
    if "HAAGENT_CONTAINERS" not in os.environ:
        pytest.skip("needs an engine and images of its own: make containers")
    with deployment(Engine(), Path(os.environ["HAAGENT_CONTAINERS"]), PROJECT):
        yield PROJECT


@pytest.mark.timeout(400)
def test_five_random_faults_leave_one_owner_and_never_two(project):
    argv = [sys.executable, str(COMPOSE / "nemesis.py"), "--project", project, "--seed", "3", "--faults", "5"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["faults"], said["dual_ms"], said["no_owner_after_fault"]) == (5, 0, None)
    assert said["rounds"] > 300
    assert said["requests"] > 100
    assert set(said["adverts"]) == {"node1", "node2"}
