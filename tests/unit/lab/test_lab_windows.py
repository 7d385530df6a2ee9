"""A growing record cut into pieces: judged in pieces or whole, the sums are the same."""

import random

from haagent.core.units import MILLISECOND as MS
from haagent.lab.observations import AddressChange, Advert, Answer, Exchange, FaultSpan, Record, Round
from haagent.lab.verdict import judge
from haagent.lab.windows import cut

PERIOD = 20 * MS
LENGTH = 400


def whole():
    """Two nodes now and then, dual in rounds 150 to 154, an outage from 90 to 99; answers come 1 ms late."""
    made = Record(nodes=("a", "b"), begin=0, end=LENGTH * PERIOD, round_period=PERIOD)
    for number in range(LENGTH):
        at = number * PERIOD
        lost = 90 <= number < 100
        names = [] if lost else ["a", "b"] if 150 <= number < 155 else ["a"]
        made.rounds.append(Round(number, at))
        made.answers += [Answer(number, "arp", name, at + MS) for name in names]
        made.exchanges.append(Exchange("udp", at, MS, None if lost else "a"))
        made.adverts.append(Advert(at, "a", 3, 51, 150))
    return made


def pieces(record, count):
    step = record.end // count
    return [cut(record, step * number) for number in range(1, count)]


def test_pieces_add_up_to_the_whole():
    expected = judge(whole())
    assert expected.dual_total == 5 * PERIOD
    assert expected.outage_total == 10 * PERIOD
    record = whole()
    verdicts = [judge(piece) for piece in [*pieces(record, 5), record]]
    assert sum(v.dual_total for v in verdicts) == expected.dual_total
    assert sum(v.outage_total for v in verdicts) == expected.outage_total
    assert sum(v.rounds for v in verdicts) == expected.rounds
    assert sum(v.requests for v in verdicts) == expected.requests


def test_a_dual_answer_on_the_cut_itself_is_not_lost():
    """The answers of round 150 come after the cut that its question is before."""
    record = whole()
    piece = cut(record, 150 * PERIOD + MS // 2)
    assert judge(piece).dual_total == PERIOD
    assert judge(record).dual_total == 4 * PERIOD


def test_memory_does_not_grow():
    record = whole()
    cut(record, record.end - PERIOD)
    assert len(record.rounds) <= 2
    assert len(record.answers) <= 2
    assert len(record.exchanges) <= 2
    assert len(record.adverts) <= 2


def test_requests_are_cut_by_when_they_were_sent_not_written_down():
    record = whole()
    random.Random(1).shuffle(record.exchanges)
    piece = cut(record, 100 * PERIOD)
    assert {one.sent for one in piece.exchanges} == {n * PERIOD for n in range(100)}
    assert len(record.exchanges) == LENGTH - 100


def test_two_rounds_stay_for_who_asks_who_owns_it_now():
    record = whole()
    cut(record, record.end + 1)
    assert [one.number for one in record.rounds] == [LENGTH - 2, LENGTH - 1]
    assert [one.round for one in record.answers] == [LENGTH - 2, LENGTH - 1]


def test_an_address_that_is_still_there_is_there_in_the_next_piece():
    record = whole()
    record.addresses += [
        AddressChange(10, "a", "192.0.2.100", present=True),
        AddressChange(20, "b", "192.0.2.100", present=True),
        AddressChange(30, "b", "192.0.2.100", present=False),
    ]
    cut(record, 100 * PERIOD)
    assert record.addresses == [AddressChange(100 * PERIOD, "a", "192.0.2.100", present=True)]


def test_a_fault_goes_with_the_piece_it_began_in():
    record = whole()
    record.faults.append(FaultSpan("kill", "a", 50 * PERIOD, 60 * PERIOD))
    assert len(cut(record, 100 * PERIOD).faults) == 1
    assert record.faults == []
