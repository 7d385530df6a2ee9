"""How the handover bench reads its datagrams."""

from __future__ import annotations

from haagent.core.units import MILLISECOND, SECOND
from haagent.lab.observations import Exchange
from tests.bench.handover import longest_silence


def answered(node: str | None, *milliseconds: int) -> list[Exchange]:
    return [Exchange("udp", at * MILLISECOND, MILLISECOND, node) for at in milliseconds]


def test_the_gap_at_the_move_counts_whoever_was_silent() -> None:
    seen = (
        answered("node1", *range(500))
        + answered(None, *range(500, 507))
        + answered("node2", *range(507, 900))
    )
    assert longest_silence(seen, "node2", 0, SECOND) == 7 * MILLISECOND


def test_a_probe_that_was_not_sent_makes_it_longer() -> None:
    seen = answered("node1", *range(500)) + answered("node2", *range(530, 900))
    assert longest_silence(seen, "node2", 0, SECOND) == 30 * MILLISECOND


def test_what_happened_long_before_the_move_does_not_count() -> None:
    seen = answered("node1", *range(100), *range(150, 500)) + answered("node2", *range(503, 900))
    assert longest_silence(seen, "node2", 0, SECOND) == 3 * MILLISECOND


def test_a_move_that_nobody_saw_is_the_whole_time() -> None:
    assert longest_silence(answered("node1", 1, 2), "node2", 0, SECOND) == SECOND
