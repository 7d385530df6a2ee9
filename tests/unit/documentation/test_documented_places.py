"""Links on the pages lead somewhere, files they name are there, and numbers they repeat are the code's."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.lab.rehearsal.catalogue import CATALOGUE
from tests.unit.documentation.pages import PAGES, ROOT, name, spans

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_OURS = re.compile(r"(?:arbiters|compose|docs|haagent|models|scripts|tests)/[\w./*-]+")
_NO_FILES = {"haagent/value"}  # an annotation in Kubernetes


def anchors(page: Path) -> Iterator[str]:
    """Yield the names that headings get on GitHub."""
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        yield re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_file_of_the_project_that_is_named_is_there(page: Path) -> None:
    for span in spans(page):
        if _OURS.fullmatch(span) and span not in _NO_FILES:
            assert list(ROOT.glob(span.rstrip("/"))), span


def test_a_module_that_is_to_be_run_is_there() -> None:
    named = {found for page in PAGES for found in re.findall(r"python -m ([\w.]+)", page.read_text())}
    assert named
    assert {module for module in named if importlib.util.find_spec(module) is None} == set()


def test_every_page_is_reached_from_the_index() -> None:
    linked = {
        (start.parent / link.partition("#")[0]).resolve()
        for start in (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "arbiters.md")
        for link in _LINK.findall(start.read_text())
    }
    assert {page for page in PAGES if page.parent.name != "example-plugin"} - linked <= {
        ROOT / "README.md",
        ROOT / "docs" / "index.md",
    }


def test_the_faults_of_a_rehearsal_are_counted() -> None:
    counted = re.findall(r"in\s+(\d+)\s+ways", "".join(page.read_text() for page in PAGES))
    assert counted
    assert set(map(int, counted)) == {len(CATALOGUE)}


def test_every_module_of_the_core_is_explained() -> None:
    explained = set(spans(ROOT / "docs" / "architecture.md"))
    assert {path.stem for path in (ROOT / "haagent" / "core").glob("*.py")} - explained <= {"__init__"}
