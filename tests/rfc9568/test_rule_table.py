"""The table of rules and tests is complete, and the document shows it."""

from __future__ import annotations

import re

import pytest
from rules import RULES
from table import DOCUMENT, numbered_tests, render
from vectors import FOLDER


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == render(), "run: python tests/rfc9568/table.py"


def test_every_rule_is_tested_or_says_where() -> None:
    tests = numbered_tests()
    assert [rule.number for rule in RULES if not tests.get(rule.number) and not rule.elsewhere] == []


def test_every_numbered_test_belongs_to_a_rule() -> None:
    numbers = [rule.number for rule in RULES]
    assert len(set(numbers)) == len(numbers)
    assert set(numbered_tests()) <= set(numbers)


def test_no_rule_of_the_research_is_forgotten() -> None:
    research = FOLDER.parents[1] / "research" / "vrrp-conformance.md"
    if not research.exists():
        pytest.skip("the list of rules is not at hand")
    listed = re.findall(r"^\| ([A-Z]{2}-[A-Z]?\d\d) \|", research.read_text(), re.MULTILINE)
    assert [rule.number for rule in RULES] == listed
