"""Tracked files in the core: a value times a weight, and when that is FAULT."""

from __future__ import annotations

import pytest

from haagent.core.tracking import Tracker, TrackerParameters, TrackUse, effective_priority, faults


def tracker(value: int | None) -> dict[str, Tracker]:
    made = Tracker(TrackerParameters("file F"))
    if value is not None:
        made.result(0, passed=True, value=value)
    return {"file F": made}


@pytest.mark.parametrize(
    ("value", "weight", "reverse", "priority", "fault"),
    [
        (10, 2, False, 120, False), (10, 2, True, 80, False), (-10, 2, False, 80, False), (500, 1, False, 254, False),
        (-253, 1, False, 1, False), (-254, 1, False, 100, True), (127, -2, False, 100, True), (254, 1, True, 100, True),
        (0, 0, False, 100, False), (1, 0, False, 100, True), (0, 0, True, 100, True), (-1, 0, True, 100, False),
        (None, 1, False, 100, True), (None, 0, True, 100, True),
    ],
)  # fmt: skip
def test_priority_and_fault(value, weight, reverse, priority, fault) -> None:
    uses = (TrackUse("file F", weight, reverse, scaled=True),)
    assert effective_priority(100, uses, tracker(value)) == priority
    assert bool(faults(uses, tracker(value))) is fault


def test_a_file_that_becomes_unreadable_is_a_fault_and_its_value_counts_no_more() -> None:
    trackers, uses = tracker(20), (TrackUse("file F", 1, scaled=True),)
    assert trackers["file F"].result(0, passed=False)
    assert (effective_priority(100, uses, trackers), faults(uses, trackers)) == (100, ("file F",))
    assert trackers["file F"].result(0, passed=True, value=20)
    assert (effective_priority(100, uses, trackers), faults(uses, trackers)) == (120, ())


def test_a_change_of_value_alone_is_a_change() -> None:
    made = tracker(3)["file F"]
    assert made.result(0, passed=True, value=4)
    assert not made.result(0, passed=True, value=4)
