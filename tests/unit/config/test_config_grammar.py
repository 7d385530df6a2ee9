"""The keyword tables: readable by the parser, complete, and published."""

from __future__ import annotations

import corpus_table
import keyword_table
import pytest

from haagent.config.grammar import TABLES, Body, Verdict, lookup, suggestion
from haagent.config.load import load
from haagent.config.messages import ConfigErrors


def test_words_and_bodies_are_read_from_the_usage() -> None:
    expected = {
        ("vrrp_instance", "priority"): (1, 1, Body.NONE),
        ("vrrp_instance", "notify"): (1, None, Body.NONE),
        ("vrrp_instance", "notify_deleted"): (0, None, Body.NONE),
        ("vrrp_instance", "accept"): (0, 0, Body.NONE),
        ("vrrp_instance", "virtual_ipaddress"): (0, 0, Body.LINES),
        ("vrrp_instance", "authentication"): (0, 0, Body.SECTION),
        ("vrrp_script", "weight"): (1, 2, Body.NONE),
        ("top", "vrrp_instance"): (1, 1, Body.SECTION),
        ("top", "arbiter"): (1, 1, Body.OPTIONAL),
        ("top", "virtual_server"): (1, None, Body.LINES),
    }
    for (context, name), shape in expected.items():
        row = lookup(context, name)
        assert row is not None
        assert (row.least, row.most, row.body) == shape, name


def test_whatever_is_warned_about_or_refused_says_why() -> None:
    rows = [row for table in TABLES.values() for row in table.values()]
    assert not [row.name for row in rows if row.verdict in (Verdict.WARN, Verdict.REFUSE) and not row.remark]


@pytest.mark.parametrize(
    ("context", "name", "remedy"),
    [
        ("vrrp_script", "fail", "did you mean fall?"),
        ("vrrp_instance", "virtual_routerid", "did you mean virtual_router_id?"),
        ("global_defs", "priority", "priority belongs into vrrp_instance"),
        ("top", "zzzz", ""),
    ],
)
def test_suggestions(context: str, name: str, remedy: str) -> None:
    assert suggestion(context, name) == remedy


@pytest.mark.skipif(not corpus_table.CORPUS.is_dir(), reason="the corpus of configurations is not here")
@pytest.mark.parametrize("name", ["synthetic-all-keywords-2.2.7.conf", "synthetic-new-keywords-2.4.3.conf"])
def test_every_keyword_of_both_versions_is_known(name: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load([corpus_table.CORPUS / name], config_id="none", environ={"HOME": "/root"})
    said = [*map(str, caught.value.errors), *caught.value.warnings]
    assert not [message for message in said if "unknown" in message]


def test_the_published_tables_are_current() -> None:
    document = keyword_table.DOCUMENT.read_text()
    assert document == keyword_table.renewed(document), (
        "run tests/unit/config/keyword_table.py docs/configuration.md"
    )
