"""docs/scenarios.md is true: every scenario is there, every fault and test it names exists, no fault is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from haagent.lab.rehearsal.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| (\d+) \|([^|]+)\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def rows() -> dict[int, tuple[list[str], list[str], str]]:
    """Return faults, tests and excuse by the scenario's number."""
    text = (ROOT / "docs" / "scenarios.md").read_text()
    return {
        int(number): (re.findall(r"`([^`]+)`", faults), re.findall(r"`([^`]+)`", tests), excuse.strip())
        for number, _, faults, tests, excuse in ROW.findall(text)
    }


def test_all_forty_are_answered():
    found = rows()
    assert list(found) == list(range(1, 41))
    assert [number for number, (faults, tests, _) in found.items() if not faults and not tests] == []


def test_the_faults_are_those_of_the_list():
    written = {(number, fault) for number, (faults, _, _) in rows().items() for fault in faults}
    listed = {(number, entry.name) for entry in CATALOGUE for number in entry.scenarios}
    others = {(27, "cut-lan")}  # said of another scenario, too
    assert written - others == listed


@pytest.mark.parametrize("name", sorted({test for _, tests, _ in rows().values() for test in tests}))
def test_the_tests_exist(name):
    path, _, function = name.partition("::")
    file = ROOT / "tests" / path
    assert file.exists()
    assert f"def {function}(" in file.read_text() if function else "def test_" in file.read_text()


def test_names_are_unique_and_said_in_a_few_words():
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(entry.scenarios and len(entry.says) < 70 for entry in CATALOGUE)
