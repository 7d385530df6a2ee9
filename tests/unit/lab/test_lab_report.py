"""Words, JSON and the picture of a verdict."""

import json
from xml.etree import ElementTree as ET

import pytest

from haagent.core.units import MILLISECOND as MS
from haagent.core.units import SECOND
from haagent.lab import report
from haagent.lab.drawing import BAD, GOOD, draw
from haagent.lab.observations import Answer, Exchange, FaultSpan, Record, Round
from haagent.lab.verdict import judge

SVG = "{http://www.w3.org/2000/svg}"


def verdict(*, dual, rounds=200):
    made = Record(nodes=("node1", "node2"), begin=7 * SECOND, end=11 * SECOND, round_period=20 * MS)
    for n in range(rounds):
        at = made.begin + n * 20 * MS
        made.rounds.append(Round(n, at))
        owners = ["node1"] if n < 100 else ["node2"]
        for node in ["node1", "node2"] if dual and 100 <= n < 110 else owners:
            made.answers.append(Answer(n, "arp", node, at))
        made.exchanges.append(Exchange("udp", at, MS, None if 95 <= n < 100 else owners[0]))
    made.faults.append(FaultSpan("kill", "node1", 8 * SECOND, 10 * SECOND, "kill -9 <all> & more"))
    return judge(made)


@pytest.mark.parametrize(
    ("duration", "words"),
    [(None, "–"), (0, "0 ms"), (310 * MS, "310 ms"), (1740 * MS, "1.74 s"), (12 * SECOND, "12.00 s")],
)
def test_durations_in_words(duration, words):
    assert report.in_words(duration) == words


def test_the_verdict_comes_first():
    assert report.text(verdict(dual=True)).startswith("Two owners at once for 200 ms\n")
    assert report.text(verdict(dual=False)).startswith("Never two owners at once\n")


def test_nothing_observed_is_not_a_clean_verdict():
    assert report.headline(verdict(dual=False, rounds=0)) == "nothing was observed"


def test_the_table_has_one_line_per_fault():
    last = report.text(verdict(dual=True)).splitlines()[-1].split()
    assert last == ["kill", "node1", "200", "ms", "100", "ms", "0", "ms", "node2", "1.00", "s"]


def test_json_counts_from_the_beginning_in_ms():
    document = json.loads(report.as_json(verdict(dual=True), daemon="keepalived"))
    assert document["daemon"] == "keepalived"
    assert document["dual"] == [[2000.0, 2200.0]]
    assert document["outages"] == [[1900.0, 2000.0]]
    assert document["faults"][0]["takeover_ms"] == 1000.0


@pytest.mark.parametrize(("dual", "colour"), [(True, BAD), (False, GOOD)])
def test_the_picture_is_xml_and_says_the_verdict_in_its_colour(dual, colour):
    root = ET.fromstring(draw(verdict(dual=dual), "a <title> & more"))
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "A <TITLE> & MORE" in words
    head = next(e for e in root.iter(f"{SVG}text") if e.get("class") == "head")
    assert head.text.lower() == report.headline(verdict(dual=dual))
    assert colour in head.get("style")


def test_the_picture_shows_dual_ownership_only_when_there_was_some():
    def red(document):
        blocks = ET.fromstring(document).iter(f"{SVG}rect")
        return [b for b in blocks if b.get("fill") == BAD and b.find(f"{SVG}title") is not None]

    assert len(red(draw(verdict(dual=True), ""))) == 1
    assert red(draw(verdict(dual=False), "")) == []


def test_the_picture_needs_nothing_from_elsewhere():
    document = draw(verdict(dual=True), "")
    assert "href" not in document
    assert "@import" not in document
    assert document.count("http") == 1  # the SVG namespace
