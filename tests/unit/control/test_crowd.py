"""Who is dropped for a newcomer."""

from __future__ import annotations

import pytest

from haagent.control.crowd import Crowd, host_of


class Writer:
    """The end of a connection that says where it came from."""

    def __init__(self, *peer: object) -> None:
        self._peer = peer

    def get_extra_info(self, _name: str) -> tuple[object, ...]:
        return self._peer


def test_the_host_with_most_places_loses_its_oldest() -> None:
    crowd: Crowd[str] = Crowd(4)
    assert [crowd.enter(f"flood{n}", "192.0.2.66") for n in range(3)] == [None] * 3
    assert crowd.enter("check", "192.0.2.1") is None
    assert [crowd.enter(f"flood{n}", "192.0.2.66") for n in range(3, 6)] == ["flood0", "flood1", "flood2"]
    assert len(crowd) == 4
    crowd.leave("check")
    crowd.leave("check")
    assert len(crowd) == 3


def test_among_hosts_with_one_place_each_the_oldest_goes() -> None:
    crowd: Crowd[int] = Crowd(2)
    assert [crowd.enter(n, f"192.0.2.{n}") for n in range(4)] == [None, None, 0, 1]


def test_one_place_is_the_newcomers() -> None:
    crowd: Crowd[int] = Crowd(1)
    assert [crowd.enter(n, "192.0.2.1") for n in range(3)] == [None, 0, 1]


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        (("192.0.2.1", 40000), "192.0.2.1"),
        (("::ffff:192.0.2.1", 40000, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2::3", 40000, 0, 0), "20010db800010002"),
        (("2001:db8:1:2:ffff::9", 40000, 0, 0), "20010db800010002"),
        (("fe80::1%eth0", 40000, 0, 2), "fe80000000000000"),
        ((), ""),
    ],
)
def test_a_host_is_an_address_or_the_64_it_may_choose_from(peer, host) -> None:
    assert host_of(Writer(*peer)) == host  # type: ignore[arg-type]
