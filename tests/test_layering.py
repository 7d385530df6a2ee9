"""What keeps the house in shape, checked by a machine: purity, the wall clock, and sizes.

The import contracts themselves are in pyproject.toml (import-linter); one test here makes sure they can fail.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "haagent" / "core").glob("*.py"))
SHIPPED = sorted(p for top in ("haagent", "arbiters") for p in (ROOT / top).rglob("*.py"))

# What the core may use of the standard library: values and arithmetic, nothing that can look at the world.
PURE = {
    "__future__", "base64", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq", "ipaddress", "itertools",
    "hmac", "json", "math", "operator", "struct", "typing", "urllib",
}  # fmt: skip

# The wall clock may be shown to people and compared with certificates; it may never decide.
WALL_CLOCK = re.compile(
    r"time\.time(_ns)?\(|datetime\.(now|today|utcnow)|CLOCK_REALTIME|from time import time\b"
)
MAY_SHOW_TIME = {
    "journal.py",
    "recorder.py",
    "recording.py",
    "report.py",
    "drawing.py",
    "render.py",
    "dumps.py",
    "smtp.py",
}


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_nothing_that_can_look_at_the_world(path: Path) -> None:
    assert imported(ast.parse(path.read_text())) <= PURE | {"haagent"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_no_function_of_the_core_is_longer_than_70_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 70, f"{path.name}: {node.name}"


def test_the_wall_clock_decides_nothing() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in SHIPPED
        if WALL_CLOCK.search(path.read_text()) and path.name not in MAY_SHOW_TIME
    }
    assert users == set()


def test_shipped_modules_stay_readable() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in SHIPPED
        if (lines := len(path.read_text().splitlines())) > 600
    }
    assert long == {}


def test_the_import_contracts_can_fail(tmp_path: Path) -> None:
    """A planted import of asyncio in the core must break exactly the purity contract."""
    for name in ("haagent", "arbiters"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "haagent" / "core" / "units.py"
    planted.write_text(planted.read_text().replace("from typing", "import asyncio\nfrom typing", 1))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "the core is pure BROKEN" in done.stdout
    assert done.stdout.count("BROKEN") == 1
