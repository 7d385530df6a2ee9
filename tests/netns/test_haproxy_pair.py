"""The published active/active pair: each node MASTER of one address, both on the survivor, and back.

And what clients of the active/passive pair see of a handover that was announced to them; tests/bench measures more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from haagent.lab.topology import VIP4
from tests.bench.connections import drained, heal, measure
from tests.bench.haproxy_pair import SECOND_VIP, Pair, eventually, missing, pair

pytestmark = [
    pytest.mark.netns,
    pytest.mark.etcd,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]

QUICK = {
    "advert_int 1": "advert_int 0.2",
    "    interval 1\n": "    interval 0.25\n",
    "inter 1s": "inter 250ms",
}


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair("active-active", "hha", QUICK) as made:
        yield made
        assert made.dual() == 0


def test_each_node_has_one_address_the_survivor_both_and_the_one_that_returns_its_own(both: Pair) -> None:
    both.wait_owner("web-a", VIP4)
    both.wait_owner("web-b", SECOND_VIP)
    for vip in (VIP4, SECOND_VIP):
        eventually(lambda vip=vip: both.get(f"http://{vip}/").startswith("app"), what=f"an answer at {vip}")
    killed = both.members["web-b"]
    for process in (killed.agent, killed.haproxy):
        assert process is not None
        process.kill()
    both.wait_owner("web-a", SECOND_VIP)
    begun = time.monotonic_ns()
    assert both.owner(VIP4) == "web-a"
    words = eventually(lambda: both.get(f"http://{SECOND_VIP}/").split(), what="an answer by the survivor")
    assert int(words[1]) >= 2  # the survivor's epoch of an address that the other one had before
    killed.start_haproxy()
    killed.start_agent()
    both.wait_owner("web-b", SECOND_VIP, patience=25)
    assert both.answered_by(VIP4, begun) == {"web-a"}
    eventually(
        lambda: int((both.get(f"http://{SECOND_VIP}/").split() or ["", "0"])[1]) > int(words[1]),
        what="the next epoch",
    )


def test_what_clients_see_of_a_drained_handover() -> None:
    """A pool's idle connection is never cut, a used stream is reset, and a stream that only listens hears nothing."""
    with pair("active-passive", "hha", QUICK | {"advert_int 1": "advert_int 0.2\n    nopreempt"}) as both:
        heal(both)
        both.wait_backup("web-b")
        lives, kept = measure(both, drained, after=5.5)
        assert both.dual() == 0
    assert kept, "the stick table's entry is not at the new MASTER"
    assert (lives["idle"].failed, len(lives["idle"].servers)) == (0, 1)
    assert (lives["stream"].failed, lives["stream"].how) == (1, "reset")
    assert "silence" in lives["listener"].how
    assert lives["new"].servers == lives["idle"].servers  # the same server before and after, by the table
