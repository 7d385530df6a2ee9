"""track_haproxy with real HAProxies, and the published examples: who has the address, and with which epoch.

The files are those of docs/examples; only advertisements and questions are made more frequent than there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from haagent.core.units import SECOND
from haagent.lab.topology import VIP4
from tests.bench.haproxy_pair import Pair, eventually, frozen, missing, pair

pytestmark = [
    pytest.mark.netns,
    pytest.mark.etcd,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]

PREFIX = "hha"
QUICK = {
    "advert_int 1": "advert_int 0.2",
    "    interval 1\n": "    interval 0.25\n",
    "inter 1s": "inter 250ms",
}
URL = f"http://{VIP4}/"


@pytest.fixture(scope="module")
def passive() -> Iterator[Pair]:
    with pair("active-passive", PREFIX, QUICK) as made:
        made.wait_owner("web-a")
        yield made


@pytest.fixture
def master(passive: Pair) -> Iterator[Pair]:
    """Return the pair with everything well, web-a MASTER; two nodes may never have answered when the test is over."""
    begun = time.monotonic_ns()
    passive.wait_owner("web-a", patience=20)
    eventually(lambda: passive.get(URL).startswith("app"), 15, "an answer")
    yield passive
    for member in passive.members.values():
        if member.haproxy is None or not member.haproxy.alive:
            member.start_haproxy()
    assert passive.dual(begun) == 0


def test_a_dead_haproxy_hands_the_address_over(master: Pair) -> None:
    killed = master.members["web-a"].haproxy
    assert killed is not None
    begun = time.monotonic_ns()
    killed.kill()
    since = master.wait_owner("web-b")
    assert since - begun < 3 * SECOND
    eventually(lambda: master.get(URL), what="an answer by the other node")
    assert "Connection refused" in master.members["web-a"].text()


def test_a_hung_haproxy_hands_the_address_over_and_gets_it_back(master: Pair) -> None:
    hung = master.members["web-a"].haproxy
    assert hung is not None
    with frozen(hung):
        master.wait_owner("web-b")
        assert "does not answer within" in master.members["web-a"].text()
    master.wait_owner("web-a")


def test_a_reload_of_haproxy_moves_nothing(master: Pair) -> None:
    member, begun = master.members["web-a"], time.monotonic_ns()
    old = member.haproxy
    assert old is not None
    pid = member.runtime("show info").partition("\nPid: ")[2].partition("\n")[0]
    member.start_haproxy()
    eventually(lambda: not old.alive, what="the end of the old process")
    assert f"\nPid: {pid}\n" not in member.runtime("show info")
    time.sleep(1.5)  # six questions
    assert master.answered_by(VIP4, begun) == {"web-a"}
    assert master.get(URL)


def test_a_master_without_back_ends_hands_over_to_a_node_that_has_them(master: Pair) -> None:
    """Only web-a loses them, as by a cut behind it: both servers go into maintenance there."""
    member = master.members["web-a"]
    member.runtime("disable server app/app1")
    time.sleep(1)
    assert master.owner() == "web-a"  # one is enough
    member.runtime("disable server app/app2")
    master.wait_owner("web-b")
    assert "backend app is DOWN" in member.text() or "has 0 usable servers" in member.text()
    assert master.get(URL).startswith("app")
    member.runtime("enable server app/app1;enable server app/app2")
    master.wait_owner("web-a")


def test_without_back_ends_anywhere_nobody_serves_and_the_first_one_back_does(master: Pair) -> None:
    for origin in master.origins.values():
        origin.kill()
    master.wait_owner(None)
    master.start_origin("app1")
    eventually(lambda: master.owner() is not None, what="an owner")
    master.start_origin("app2")


def test_requests_carry_the_epoch_of_the_claim_and_it_grows(master: Pair) -> None:
    def epoch() -> int:
        words = master.get(URL).split()
        return int(words[1]) if len(words) == 2 else 0

    first = eventually(epoch, what="an epoch")
    member = master.members["web-a"]
    assert (member.directory / "epoch.map").read_text() == f"web {first}\n"
    member.start_haproxy()  # a reload: the new process reads the file
    time.sleep(0.5)
    assert eventually(epoch, what="an epoch after the reload") == first
    moved = member.cli("switchover", "web")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    second = eventually(lambda: found if (found := epoch()) > first else 0, what="a higher epoch")
    assert second > first
    assert (master.members["web-b"].directory / "epoch.map").read_text() == f"web {second}\n"
