"""The sums of a campaign and what is said about them."""

import json
from xml.etree import ElementTree as ET

from haagent.core.units import MILLISECOND as MS
from haagent.core.units import SECOND
from haagent.lab import torture_report as report
from haagent.lab.budget import Budget
from haagent.lab.shots import Shot
from haagent.lab.torture import Hit, Tally


def hit(number, fault="kill", dual=0, outage=0, failure="", over=False):
    made = Shot(number, fault, "owner", 0, SECOND, SECOND)
    return Hit(made, "node1", dual, outage, 0, outage, Budget(SECOND, 0), over, 2 * SECOND, failure, 30 * MS)


def tally(*hits, rounds=100):
    made = Tally(0, 60 * SECOND, rounds=rounds, requests=400)
    for one in hits:
        made.hits.append(one)
        made.dual += one.dual
        made.outage += one.outage_sum
        made.failure = made.failure or one.failure
    return made


def test_the_headline_is_the_worst_there_is():
    assert report.headline(tally(hit(1))) == "never two owners at once, and always one in the end"
    assert report.headline(tally(hit(1, failure="daemon ended by itself on node1"))).startswith(
        "daemon ended"
    )
    assert report.headline(tally(hit(1, dual=40 * MS, failure="x"))) == "two owners at once for 40 ms in all"
    assert report.headline(tally(rounds=0)) == "nothing was observed"


def test_shots_of_one_kind_are_counted_together():
    rows = report.groups(
        tally(hit(1, outage=100 * MS), hit(2, "stop"), hit(3, outage=300 * MS, over=True, dual=20 * MS))
    )
    assert rows[0] == ("kill owner", "2", "20 ms", "400 ms", "200 ms", "300 ms", "1")
    assert rows[1][:2] == ("stop owner", "1")


def test_json_says_everything_in_ms():
    said = json.loads(report.as_json(tally(hit(1, outage=1500 * MS)), seed=7))
    assert (said["seed"], said["shots"], said["dual_ms"], said["outage_ms"]) == (7, 1, 0, 1500)
    assert said["hits"][0]["outage_ms"] == 1500
    assert said["hits"][0]["budget_ms"] == 1000
    assert said["hits"][0]["waited_ms"] == 30


def test_the_picture_is_xml_and_shows_every_shot_and_every_dual():
    svg = report.picture(tally(hit(1, outage=100 * MS), hit(2, dual=20 * MS), hit(3)))
    root = ET.fromstring(svg)
    assert len(root.findall(".//{*}circle")) == 3
    assert len(root.findall(".//{*}rect")) == 1


def test_the_page_is_self_contained_and_escapes():
    page = report.as_html(tally(hit(1)), "a <b> & c", "haagent torture --seed 7")
    assert "a &lt;b&gt; &amp; c" in page
    assert "--seed 7" in page
    assert "src=" not in page
    assert 'class="good"' in page
