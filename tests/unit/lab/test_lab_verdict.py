"""The verdict on hand-made observations: a judge must be right before it may judge."""

import pytest

from haagent.core.units import MILLISECOND as MS
from haagent.lab.observations import AddressChange, Answer, Exchange, FaultSpan, Record, Round
from haagent.lab.verdict import Interval, judge, outage_intervals

PERIOD = 20 * MS


def record(owners, faults=(), exchanges=(), addresses=()):
    """One round per entry of ``owners``: the names that answered it, ``a+b`` for two."""
    made = Record(nodes=("a", "b"), begin=0, end=len(owners) * PERIOD, round_period=PERIOD)
    for number, names in enumerate(owners):
        made.rounds.append(Round(number, number * PERIOD))
        for name in filter(None, names.split("+")):
            made.answers.append(Answer(number, "arp", name, number * PERIOD + MS))
    made.faults.extend(faults)
    made.exchanges.extend(exchanges)
    made.addresses.extend(addresses)
    return made


def test_one_owner_after_the_other_is_not_dual():
    verdict = judge(record(["a"] * 5 + [""] * 3 + ["b"] * 5))
    assert verdict.dual_total == 0
    assert verdict.lanes == {"a": (Interval(0, 5 * PERIOD),), "b": (Interval(8 * PERIOD, 13 * PERIOD),)}


def test_two_answers_to_one_question_are_dual_for_that_round():
    verdict = judge(record(["a", "a+b", "a+b", "b"]))
    assert verdict.dual == (Interval(PERIOD, 3 * PERIOD),)


def test_different_probes_of_one_round_are_not_compared():
    """They are sent one after the other, and a handover may fall in between."""
    made = record(["a", "", "b"])
    made.answers += [Answer(1, "arp", "a", PERIOD), Answer(1, "echo", "b", PERIOD)]
    assert judge(made).dual_total == 0


def test_dual_in_ipv6_alone_counts():
    made = record(["a"] * 3)
    made.answers += [Answer(1, "nd", "a", PERIOD), Answer(1, "nd", "b", PERIOD)]
    assert judge(made).dual_total == PERIOD


def test_a_stalled_observer_does_not_stretch_what_it_saw():
    made = record(["a+b", "a"])
    made.rounds[1] = Round(1, 500 * MS)
    assert judge(made).dual_total == 2 * PERIOD


def test_a_single_missed_answer_does_not_end_a_lane():
    assert judge(record(["a", "a", "", "a"])).lanes["a"] == (Interval(0, 4 * PERIOD),)


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ("aaaa", []),
        ("a..b", [(10, 30)]),
        ("a...", [(10, 40)]),
        ("..aa", []),
        ("a.a.a", [(10, 20), (30, 40)]),
    ],
)
def test_outage_runs_from_the_first_lost_request_to_the_next_answered_one(answered, expected):
    exchanges = [
        Exchange("udp", i * 10 * MS, MS, None if node == "." else node) for i, node in enumerate(answered)
    ]
    found = outage_intervals(exchanges, len(answered) * 10 * MS)
    assert [(o.begin // MS, o.end // MS) for o in found] == expected


def test_outage_needs_lost_requests_not_a_silent_observer():
    exchanges = [Exchange("udp", 0, MS, "a"), Exchange("udp", 900 * MS, MS, "a")]
    assert outage_intervals(exchanges, 1000 * MS) == ()


def test_a_fault_is_told_who_took_over_and_when():
    span = FaultSpan("kill", "a", 5 * PERIOD, 20 * PERIOD)
    (fault,) = judge(record(["a"] * 5 + [""] * 5 + ["b"] * 15, faults=[span])).faults
    assert (fault.owner_before, fault.taken_over_by, fault.takeover) == (None, "b", 5 * PERIOD)


def test_dual_and_outages_belong_to_the_fault_they_follow():
    spans = [FaultSpan("one", "a", 10 * PERIOD, 20 * PERIOD), FaultSpan("two", "a", 30 * PERIOD, 40 * PERIOD)]
    lost = [Exchange("udp", n * PERIOD, MS, None if n in (12, 13, 25) else "a") for n in range(50)]
    owners = ["a+b" if n in (14, 33, 34) else "a" for n in range(50)]
    one, two = judge(record(owners, faults=spans, exchanges=lost)).faults
    assert (one.dual, one.outage, one.outage_after) == (PERIOD, 2 * PERIOD, PERIOD)
    assert (two.dual, two.outage, two.outage_after) == (2 * PERIOD, 0, 0)
    assert (one.owner_before, one.taken_over_by, one.takeover) == ("a", "b", 4 * PERIOD)


def test_presence_follows_the_kernel_over_several_addresses():
    changes = [
        AddressChange(10, "a", "192.0.2.100", True),
        AddressChange(11, "a", "2001:db8::100", True),
        AddressChange(20, "a", "192.0.2.100", False),
        AddressChange(30, "a", "2001:db8::100", False),
        AddressChange(40, "b", "192.0.2.100", True),
    ]
    verdict = judge(record(["a"] * 2, addresses=changes))
    assert verdict.presence == {"a": (Interval(10, 30),), "b": (Interval(40, 2 * PERIOD),)}
