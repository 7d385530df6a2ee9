"""Every essential and common keyword has a test on a real kernel, and every keyword has a verdict that says why."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from haagent.config.grammar import TABLES, Verdict, lookup

TESTS = Path(__file__).parents[2] / "netns"
RESEARCH = Path(__file__).parents[4] / "shared" / "research" / "keepalived.md"
ROWS = runpy.run_path(str(TESTS / "keyword_coverage.py"))["ROWS"]
# Sections of the research page by context; keywords that are syntax, or blocks that are tables of their own.
SECTIONS = {"### 1.2": ("global_defs", "top"), "### 1.3": ("vrrp_script", "vrrp_track_process", "track_file")}
SECTIONS |= {"### 1.4": ("vrrp_sync_group",), "### 1.5": ("vrrp_instance",)}
SKIPPED = {"virtual_server", "virtual_server_group", "SSL", "group NAME {"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.context} {row.keyword}")
def test_the_tests_that_are_named_are_there(row):
    assert lookup(row.context, row.keyword) is not None
    for name in row.tests:
        module, _, what = name.partition("::")
        source = (TESTS / f"test_{'dropin_side_by_side' if module == 'side' else module}.py").read_text()
        assert f'    "{what}": Case(' in source if module == "side" else f"def {what}(" in source, name
        assert "pytest.mark.netns" in source


def test_no_keyword_stands_here_twice():
    assert len({(row.context, row.keyword) for row in ROWS}) == len(ROWS)


def test_every_keyword_that_is_not_implemented_says_why():
    """LVS has one reason for all."""
    silent = [
        row.name
        for table in TABLES.values()
        for row in table.values()
        if row.verdict in (Verdict.NOTE, Verdict.WARN, Verdict.REFUSE) and not row.remark
    ]
    assert silent == []


def test_every_essential_and_common_keyword_of_the_research_has_one():
    if not RESEARCH.exists():
        pytest.skip("the research page is not at hand")
    here = {row.keyword for row in ROWS}
    missing = [name for name in _important(RESEARCH.read_text()) if name not in here]
    assert missing == []


def _important(text: str) -> list[str]:
    """Return the keywords of class E or C (of several classes: the first) that haagent knows."""
    found: list[str] = []
    for heading, contexts in SECTIONS.items():
        section = text[text.index(heading) :].split("\n### ", maxsplit=1)[0]
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if len(cells) < 3 or not _is_important(cells):
                continue
            found += [
                word
                for word in re.findall(r"[a-z][a-z0-9_]{3,}", cells[0])
                if any((row := lookup(context, word)) and row.verdict is Verdict.DO for context in contexts)
            ]
    return [name for name in dict.fromkeys(found) if name not in SKIPPED]


def _is_important(cells: list[str]) -> bool:
    return any(re.match(r"[EC]( |$|\.|,)", cell) for cell in cells[2:4])
